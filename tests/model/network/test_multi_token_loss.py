"""The multi-token loss by hand."""

from __future__ import annotations

import math

import pytest
import torch

from model.network.multi_token_loss import label_figures, multi_token_loss


def test_the_loss_sums_over_labels_and_averages_over_positions_that_have_any():
    log_probability = torch.tensor([[1 / 2, 1 / 4], [1 / 8, 1.0], [1.0, 1.0]], dtype=torch.float64).log()
    weight = torch.tensor([[1, 1 / 2], [2, 0], [0, 0]], dtype=torch.float64)
    # Position 0: 1 log 2 + 1/2 log 4 = 2 log 2; position 1: 2 log 8 = 6 log 2; position 2 has none.
    assert multi_token_loss(log_probability, weight).item() == pytest.approx(4 * math.log(2), rel=1e-15)


def test_next_token_prediction_is_cross_entropy():
    logits = torch.randn(6, 9, dtype=torch.float64)
    target = torch.randint(9, (6,))
    loss = multi_token_loss(logits.log_softmax(1).gather(1, target[:, None]), torch.ones(6, 1).double())
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, target).item(), rel=1e-14)


def test_a_batch_without_labels_has_loss_0():
    assert multi_token_loss(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0
    assert label_figures(torch.zeros(0, 3))["negligible_label_fraction"].item() == 0


def test_label_figures():
    figures = label_figures(torch.tensor([[1.0, 2.0**-48], [0.5, 0.0], [0.0, 0.0]]))
    assert figures["positions"].item() == 2
    assert figures["labels_per_position"].item() == 3 / 2
    assert figures["mean_label_weight"].item() == pytest.approx(1 / 2)
    assert figures["negligible_label_fraction"].item() == pytest.approx(1 / 3)
