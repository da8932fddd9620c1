"""The request: how a user's state depends on when recommendations are asked for.

    h ← h + W₂ gelu(W₁ [h; gap since the last event; time of week])

Shape legend
    d  backbone width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.event_encoder import GAP_KNOTS, WEEK_HARMONICS, gap_features, week_features

WIDTH = GAP_KNOTS + 2 * len(WEEK_HARMONICS) + 1
"""Gap, time of week, and whether there is a last event."""


class Request(nn.Module):
    """Zero-initialised, so an untrained model ignores when a request is made."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width + WIDTH, width)
        self.outer = nn.Linear(width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, hidden: Tensor, at_seconds: Tensor, last_seconds: Tensor) -> Tensor:
        """Hidden [X, d], times of the request and of the last event float64 [X], NaN where unknown → [X, d].

        Where the time of the request is unknown the state stays as it is.
        """
        known, has_last = at_seconds.isfinite(), last_seconds.isfinite()
        at = at_seconds.nan_to_num(0.0)
        gap = torch.where(known & has_last, at - last_seconds.nan_to_num(0.0), 0.0)
        features = torch.cat(
            [gap_features(gap) * has_last[:, None], week_features(at), has_last[:, None]], dim=1
        ).to(hidden.dtype)
        change = self.outer(F.gelu(self.inner(torch.cat([hidden, features], dim=1))))
        return hidden + change * known[:, None]
