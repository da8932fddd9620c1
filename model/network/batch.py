"""A packed batch of event tokens with its label sets.

Shape legend
    R  packed rows        L  slots of a row (several sequences share a row)
    C  context fields     P  loss positions of the batch     K  most labels of a position
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from model.network.pair_signals import Pairs


@dataclass(frozen=True)
class Batch:
    """Sequences packed end to end; slots with `segment` 0 are padding."""

    item_index: Tensor
    """int64 [R, L]; 0 at start tokens and padding."""
    is_start: Tensor
    """bool [R, L]; whether the slot holds a sequence's start token."""
    action: Tensor
    """int64 [R, L]; index into the source's actions."""
    context: Tensor
    """int64 [R, L, C]; hashed codes, 0 when missing."""
    reward: Tensor
    """float32 [R, L]; reward weight of the event, 0 when it is not high-value."""
    gap_seconds: Tensor
    """float32 [R, L]; time since the user's previous event, 0 at the first."""
    event_at_seconds: Tensor
    """float64 [R, L]; seconds since 1970-01-01 UTC. At a start token the time of the request, or 0 when
    that is unknown (see `clock_seconds`)."""
    segment: Tensor
    """int64 [R, L]; number of the sequence within its row from 1, 0 for padding."""
    label_slot: Tensor
    """int64 [P]; flat index into R · L of every loss position that has a label."""
    label_item: Tensor
    """int64 [P, K]; item_index of the labels, 0 where there is none."""
    label_weight: Tensor
    """float32 [P, K]; w of equation 2 (reward times decay): above 0 for a label, 0 where there is none."""
    earlier_item: Tensor | None = None
    """int64 [P, K]; labels of the position that an earlier cycle trained on, −1 where there is none: they are no
    negatives. None: there are none at all."""
    label_at_seconds: Tensor | None = None
    """float64 [P]; time of the position's first label, seconds since 1970-01-01 UTC: the time of the request
    that the position trains. Items that did not exist yet are not its negatives. None: every eligible item
    may be one, and no signal is read."""
    pairs: Pairs | None = None
    """Pair signals of the loss positions; None for a model without."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: part if part is None else part.to(device) for name, part in parts.items()})

    def positions(self, chosen: Tensor) -> Batch:
        """The same sequences with some of the loss positions, int64 [p]."""
        at = self.label_at_seconds
        return replace(
            self,
            label_slot=self.label_slot[chosen],
            label_item=self.label_item[chosen],
            label_weight=self.label_weight[chosen],
            earlier_item=None if self.earlier_item is None else self.earlier_item[chosen],
            label_at_seconds=None if at is None else at[chosen],
            pairs=None if self.pairs is None else self.pairs.positions(chosen),
        )

    @property
    def is_event(self) -> Tensor:
        """bool [R, L]; slots that hold an event (neither a start token nor padding)."""
        return (self.segment > 0) & ~self.is_start

    @property
    def clock_seconds(self) -> Tensor:
        """float64 [R, L]; the time from which a slot predicts, NaN where unknown.

        At a start token it is the time of the request; without one, that of the sequence's first event.
        """
        later = torch.roll(self.event_at_seconds, -1, dims=1)
        followed = torch.roll(self.segment, -1, dims=1) == self.segment
        followed[:, -1] = False
        at_start = torch.where(self.event_at_seconds != 0, self.event_at_seconds, later)
        known = self.is_event | (self.is_start & (followed | (self.event_at_seconds != 0)))
        return torch.where(self.is_start, at_start, self.event_at_seconds).where(known, torch.nan)

    @property
    def tokens(self) -> int:
        """Slots that hold an event or a start token."""
        return int((self.segment > 0).sum())
