"""The projected head by hand."""

from __future__ import annotations

import math

import torch

from model.network.head import ProjectedHead


def test_activation_then_linear_map():
    head = ProjectedHead(2, 1)
    with torch.no_grad():
        head.output.weight.copy_(torch.tensor([[2.0, 4.0]]))
        head.output.bias.fill_(3)
    phi = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # gelu(1) = Φ(1), gelu(0) = 0
    result = head(torch.tensor([[[1.0, 0.0]]]))
    assert result.shape == (1, 1, 1)
    assert abs(result.item() - (2 * phi + 3)) < 16 * torch.finfo(torch.float32).eps
