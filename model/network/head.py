"""The projected head g: hidden state → user vector in the decoding space.

An activation, then a linear map d → d_out, so that the product with every item costs d_out
multiply-adds instead of d (Xu et al., 2026, section 4.1).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ProjectedHead(nn.Module):
    """g(h) = W · gelu(h) + b."""

    def __init__(self, width: int, output_width: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, output_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., d] → [..., d_out]."""
        return self.output(F.gelu(hidden))
