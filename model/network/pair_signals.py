"""Pair signals: what a user's history says about the few items that it points to.

    score += [i ∈ N(u)] · r(h)ᵀ G(φ(u, i), a_i(τ)),   G = [φ; p(φ, a) − p(0, a)]

N(u) are the items of the history and those that followed its last events most often in all users'
histories before τ (`model.data.pair_signals` counts them). φ says how the user had the item, and what the
counts say. G is 0 where φ is 0, so that an item outside N(u) is scored as if it had no pair signals.

Shape legend
    P  positions    z  pairs of all positions    φ  pair signals of a pair    A  item signals    d  hidden width
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NONLINEAR_WIDTH, NONLINEAR_OUTPUT = 24, 8
COUNTS = 4
"""φ ends with four counts of what followed the last events."""
FURTHER_SIGNALS = 4
"""φ begins with: seen as high-value, seen otherwise, 1 / √(events since), is the last item. Between these
and the counts is a flag for each action."""
INITIAL_COUNTS = 0.3
"""Initial weight of the counts."""


@dataclass(frozen=True)
class Pairs:
    """N(u) of every position, end to end."""

    position: Tensor
    """int64 [z], ascending; the position of each pair."""
    item: Tensor
    """int64 [z]"""
    signals: Tensor
    """float32 [z, φ]"""
    log_weight: Tensor
    """float32 [z]; logarithm of each pair's weight in the normaliser: −log of the probability that it was kept, 0
    for one that is always kept."""
    label: Tensor
    """int64 [P, K]; the pair of the position that is the label, −1 where it is not in N(u) or there is no label."""

    def to(self, device: torch.device | str) -> Pairs:
        """The same pairs on a device."""
        return Pairs(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def positions(self, chosen: Tensor) -> Pairs:
        """Those of some positions, int64 [p] ascending, without labels."""
        number = torch.full((int(self.label.shape[0]),), -1, device=chosen.device)
        number[chosen] = torch.arange(chosen.shape[0], device=chosen.device)
        kept = number[self.position] >= 0
        label = torch.full((chosen.shape[0], self.label.shape[1]), -1, device=chosen.device)
        position = number[self.position[kept]]
        return Pairs(position, self.item[kept], self.signals[kept], self.log_weight[kept], label)


def pair_signal_count(actions: int) -> int:
    """Number of pair signals for a source with this many actions."""
    return FURTHER_SIGNALS + actions + COUNTS


class PairTerm(nn.Module):
    """r and G: the score's third term."""

    def __init__(self, pair_signals: int, item_signals: int, width: int) -> None:
        super().__init__()
        self.pair_signals = pair_signals
        self.from_pair = nn.Linear(pair_signals, NONLINEAR_WIDTH)
        self.from_item = nn.Linear(item_signals, NONLINEAR_WIDTH, bias=False) if item_signals else None
        self.outer = nn.Linear(NONLINEAR_WIDTH, NONLINEAR_OUTPUT, bias=False)
        self.weights = nn.Linear(width, pair_signals + NONLINEAR_OUTPUT)
        nn.init.normal_(self.weights.weight, std=0.02)
        nn.init.zeros_(self.weights.bias)
        with torch.no_grad():
            self.weights.bias[pair_signals - COUNTS : pair_signals] = INITIAL_COUNTS

    def features(self, pair_signals: Tensor, item_signals: Tensor | None) -> Tensor:
        """G: φ [..., φ] and a [..., A] (None without item signals) → [..., φ + 8].

        W₂ is linear, so p(φ, a) − p(0, a) needs it only once.
        """
        absent = self.from_pair.bias
        if item_signals is not None:
            absent = absent + self.from_item(item_signals)
        present = F.linear(pair_signals, self.from_pair.weight) + absent
        difference = self.outer(F.gelu(present) - F.gelu(absent))
        return torch.cat([pair_signals, difference], dim=-1)

    def forward(self, activated: Tensor) -> Tensor:
        """r(h): gelu(h) [..., d] → [..., φ + 8]."""
        return self.weights(activated)
