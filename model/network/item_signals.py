"""Item signals: what an item's recent events say about it at the instant of a request.

    a_i(τ) = decayed counts at several half-lives, total, share of high-value events, ages, from events
             strictly before τ
    score  += q(h)ᵀ F(a_i(τ)),   F(a) = [a; W₂ gelu(W₁ a)]

τ is the time of the request floored to a bucket. A signal is an item's alone, so the items of one instant
are still ranked by one inner product. Between its events an item's decayed count only decays, so that a
row per item and bucket with events is enough: the last row before τ gives the state at τ.

Shape legend
    N  items    R  rows of all items    H  half-lives    A = H + 7 signals of an item    d  hidden width
    B  instants    M  items    Z  pairs of an instant and an item
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FURTHER_SIGNALS = 7
"""Signals besides one a half-life: total, high-value share, age since the first event, age since launch,
launch unknown, launch later than τ, never seen."""
NONLINEAR_WIDTH, NONLINEAR_OUTPUT = 24, 8
SMOOTHING = 0.05
"""Added to a decayed count before its logarithm, so that an item without events has a finite signal."""
HIGH_VALUE_SMOOTHING, MIDDLE_SMOOTHING = 0.2, 0.4
INITIAL_POPULARITY = 2.0
"""Initial weight of the decayed count at the middle half-life: training starts as decayed popularity."""
SECONDS_A_DAY = 86_400
BUCKETS = 1 << 40
"""More than the buckets of any log, around 1970."""
NO_LOG = -60.0
"""Logarithm of a decayed count that is 0."""


@dataclass(frozen=True)
class ItemSignals:
    """States of all items: rows by item, then by the end of their bucket."""

    offset: Tensor
    """int64 [N + 1]; rows of item i are offset[i] to offset[i + 1]."""
    end_seconds: Tensor
    """float64 [R]; end of the row's bucket, seconds since 1970-01-01 UTC. The state counts all events before."""
    state: Tensor
    """float32 [R + 1, H + 2]; logarithms of the decayed counts, of the decayed high-value count and of the
    number of events. The last row is the state of an item without events."""
    first_seconds: Tensor
    """float64 [N]; time of the item's first event, NaN where it has none."""
    half_lives_days: tuple[float, ...]
    bucket_seconds: float
    """Δ; requests are floored to multiples of it."""

    @property
    def count(self) -> int:
        """N."""
        return self.offset.shape[0] - 1

    @property
    def bucket_us(self) -> int:
        """Δ in microseconds."""
        return round(self.bucket_seconds * 1_000_000)

    @property
    def size(self) -> int:
        """A: signals of an item."""
        return len(self.half_lives_days) + FURTHER_SIGNALS

    def to(self, device: torch.device | str) -> ItemSignals:
        """The same signals on a device."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return ItemSignals(
            **{name: part.to(device) if isinstance(part, Tensor) else part for name, part in parts.items()}
        )

    def with_unseen(self, items: int) -> ItemSignals:
        """The same signals, and so many further items without events."""
        last = self.offset[-1:].expand(items)
        unknown = self.first_seconds.new_full((items,), torch.nan)
        return replace(
            self,
            offset=torch.cat([self.offset, last]),
            first_seconds=torch.cat([self.first_seconds, unknown]),
        )

    def floor(self, at_seconds: Tensor) -> Tensor:
        """τ: instants floored to buckets, float64, any shape. An event at the instant itself never counts."""
        return torch.floor(at_seconds / self.bucket_seconds) * self.bucket_seconds

    def rows_of_all(self, items: Tensor, at_seconds: Tensor) -> Tensor:
        """Row in force of every item at every instant: int64 [M], ascending float64 [B] → int64 [B, M].

        Costs the rows of these items and B · M.
        """
        first, count = self.offset[items], self.offset[items + 1] - self.offset[items]
        column = torch.repeat_interleave(torch.arange(items.shape[0], device=items.device), count)
        index = torch.arange(column.shape[0], device=items.device)
        row = index - (count.cumsum(0) - count)[column] + first[column]
        # A row is in force from the first instant that is not before its end.
        begins = torch.searchsorted(at_seconds, self.end_seconds[row])
        kept = begins < at_seconds.shape[0]
        place = begins[kept] * items.shape[0] + column[kept]
        table = torch.full((at_seconds.shape[0] * items.shape[0],), -1, device=items.device)
        table = table.scatter_reduce(0, place, row[kept], "amax").view(at_seconds.shape[0], -1)
        table = torch.cummax(table, dim=0).values
        return torch.where(table >= 0, table, self.end_seconds.shape[0])

    def rows_of(self, items: Tensor, at_seconds: Tensor) -> Tensor:
        """Row in force of each pair: items int64 [Z] and instants float64 [Z] or [1] → int64 [Z], R for none.

        A binary search over (item, bucket) of all rows.
        """
        total = self.end_seconds.shape[0]
        row = torch.searchsorted(self.key, self._keys(items, at_seconds), right=True) - 1
        return torch.where(row >= self.offset[items], row, total)

    @cached_property
    def key(self) -> Tensor:
        """int64 [R], ascending; item and bucket of a row in one number."""
        rows = self.offset[1:] - self.offset[:-1]
        return self._keys(torch.repeat_interleave(rows), self.end_seconds)

    def _keys(self, items: Tensor, at_seconds: Tensor) -> Tensor:
        bucket = torch.round(at_seconds / self.bucket_seconds).long()
        return items * BUCKETS + (bucket + BUCKETS // 2)

    def as_of(self, items: Tensor, at_seconds: Tensor, launched_at_seconds: Tensor | None) -> Tensor:
        """a_i(τ) of pairs: items int64 [Z] and times of requests float64 [Z] or [1] → float32 [Z, A]. Launches as
        in `signals`."""
        at = self.floor(at_seconds)
        return self.signals(self.rows_of(items, at), items, at, launched_at_seconds)

    def signals(
        self, row: Tensor, items: Tensor, at_seconds: Tensor, launched_at_seconds: Tensor | None
    ) -> Tensor:
        """a_i(τ): rows int64, items int64 and τ float64, of shapes that broadcast → float32 [..., A].

        `launched_at_seconds` float64 [N], NaN where unknown; None: no launch is known.
        """
        is_seen = row < self.end_seconds.shape[0]
        kept = torch.where(is_seen, row, 0)
        ends = (
            F.embedding(kept, self.end_seconds[:, None])[..., 0] if self.end_seconds.numel() else at_seconds
        )
        elapsed = torch.where(is_seen, at_seconds - ends, 0.0).float() / SECONDS_A_DAY
        rates = [math.log(2) / days for days in self.half_lives_days]
        middle, half_lives = len(rates) // 2, len(rates)
        rate = torch.tensor([*rates, rates[middle], 0.0], device=row.device)
        decayed = F.embedding(row, self.state).addcmul_(elapsed[..., None], rate, value=-1).exp_()
        # Columns are filled in place: to concatenate along the last axis costs more than the arithmetic.
        signals = decayed.new_empty(*row.shape, self.size)
        share = torch.log(decayed[..., half_lives] + HIGH_VALUE_SMOOTHING)
        share -= torch.log(decayed[..., middle] + MIDDLE_SMOOTHING)
        signals[..., half_lives + 1] = share
        logs = decayed.add_(SMOOTHING).log_()
        signals[..., :half_lives] = logs[..., :half_lives]
        signals[..., half_lives] = logs[..., half_lives + 1]
        hours = torch.where(is_seen, at_seconds - self.first_seconds[items], 0.0).clamp_(min=0).div_(3600)
        signals[..., half_lives + 2] = hours.log1p_()
        signals[..., : half_lives + 3].add_(3).div_(3)
        _launch(signals[..., half_lives + 3 :], items, at_seconds, launched_at_seconds, is_seen)
        return signals


def _launch(
    filled: Tensor, items: Tensor, at_seconds: Tensor, launched: Tensor | None, is_seen: Tensor
) -> None:
    """Fills [..., 4] with: age since launch, launch unknown, launch more than a day later than τ, never seen."""
    filled[..., 3] = ~is_seen
    if launched is None:
        filled[..., :3] = torch.tensor([0.0, 1.0, 0.0], device=filled.device)
        return
    days = (at_seconds - launched[items]) / SECONDS_A_DAY
    filled[..., 1] = days.isnan()
    filled[..., 2] = days < -1
    filled[..., 0] = torch.log1p(days.nan_to_num(0.0).clamp(min=0)) / 4


class ItemTerm(nn.Module):
    """q and F: the score's second term."""

    def __init__(self, signals: int, half_lives: int, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(signals, NONLINEAR_WIDTH)
        self.outer = nn.Linear(NONLINEAR_WIDTH, NONLINEAR_OUTPUT)
        self.weights = nn.Linear(width, signals + NONLINEAR_OUTPUT)
        nn.init.normal_(self.weights.weight, std=0.02)
        nn.init.zeros_(self.weights.bias)
        with torch.no_grad():
            self.weights.bias[half_lives // 2] = INITIAL_POPULARITY

    def features(self, signals: Tensor) -> Tensor:
        """F(a): [..., A] → [..., A + 8]."""
        return torch.cat([signals, self.outer(F.gelu(self.inner(signals)))], dim=-1)

    def forward(self, activated: Tensor) -> Tensor:
        """q(h): gelu(h) [..., d] → [..., A + 8]."""
        return self.weights(activated)
