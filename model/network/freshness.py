"""Freshness: how a score depends on the time from an item's launch to the event, as one inner product.

Launch phases depend on the item alone, their counterpart on the user's side alone. For every frequency ω

    a cos ω(t − l) + b sin ω(t − l) = (a cos ωt + b sin ωt) · cos ωl + (a sin ωt − b cos ωt) · sin ωl

so any smooth function of an item's age t − l is an inner product of a user vector that depends on the
event's time t and an item vector that depends on the launch l. The amplitudes a and b are computed from
the hidden state, so that users differ in how much they prefer new items. Without an event's time only the
constant term remains. An item of unknown launch has zeros: age does not change its score. Only the
age counts, so an item launched after training is scored as new too.

Shape legend
    N  items    F  frequencies    d  backbone width    FRESHNESS_WIDTH = 2 F + 1
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import FRESHNESS_FREQUENCIES, FRESHNESS_WIDTH

SHORTEST_DAYS, LONGEST_DAYS = 14, 8000
PERIODS_DAYS = tuple(
    SHORTEST_DAYS * (LONGEST_DAYS / SHORTEST_DAYS) ** (number / (FRESHNESS_FREQUENCIES - 1))
    for number in range(FRESHNESS_FREQUENCIES)
)
"""From two weeks to 22 years, evenly spaced in log time."""
SECONDS_A_DAY = 24 * 3600
ORIGIN_DAYS = 15_000
"""Origin of the angles, days since 1970; scores do not depend on it."""


def launch_features(launched_at_seconds: Tensor) -> Tensor:
    """float64 [N] seconds since 1970 UTC, NaN where unknown → float32 [N, FRESHNESS_WIDTH].

    Cosines and sines of ω l, and a 1; zeros for an item of unknown launch.
    """
    known = launched_at_seconds.isfinite().unsqueeze(-1).double()
    return torch.cat([clock(launched_at_seconds), known], dim=-1).float()


def clock(at_seconds: Tensor) -> Tensor:
    """Cosines and sines of ω t: float64 [...] seconds since 1970 UTC → float64 [..., 2 F], zeros for NaN."""
    days = at_seconds.double() / SECONDS_A_DAY - ORIGIN_DAYS
    periods = torch.tensor(PERIODS_DAYS, dtype=torch.float64, device=at_seconds.device)
    angle = 2 * math.pi * days.unsqueeze(-1) / periods
    return torch.cat([angle.cos(), angle.sin()], dim=-1).nan_to_num()


class Freshness(nn.Module):
    """The user's side. Zero-initialised, so an untrained model ignores item age."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.amplitudes = nn.Linear(width, FRESHNESS_WIDTH)
        nn.init.zeros_(self.amplitudes.weight)
        nn.init.zeros_(self.amplitudes.bias)

    def forward(self, hidden: Tensor, phases: Tensor) -> Tensor:
        """Hidden [..., d] and the event's clock [..., 2 F] → [..., FRESHNESS_WIDTH]."""
        amplitudes = self.amplitudes(F.gelu(hidden))
        a, b, level = amplitudes.split([FRESHNESS_FREQUENCIES, FRESHNESS_FREQUENCIES, 1], dim=-1)
        cosine, sine = phases.to(amplitudes.dtype).chunk(2, dim=-1)
        return torch.cat([a * cosine + b * sine, a * sine - b * cosine, level], dim=-1)
