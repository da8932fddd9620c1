"""What the recommender is given: a packed batch of event tokens, its label sets, and the catalogue.

Shape legend
    R  packed rows of a batch        L  slots of a row (several sequences share a row)
    C  context fields                P  loss positions of the batch
    K  labels of a position at most  N  items of the catalogue
    V  rows of the ID table

Vocabulary membership is applied here and not in the stored sequences: an item outside the
vocabulary keeps its index, and with it its own semantic vector.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

OUT_OF_VOCABULARY = -1
"""Token of an item that has no row in the ID table."""


@dataclass(frozen=True)
class Batch:
    """Sequences packed end to end; slots with `segment` 0 are padding."""

    item_index: Tensor
    """int64 [R, L]; 0 at start tokens and padding."""
    is_start: Tensor
    """bool [R, L]; true where a sequence's start token lies."""
    action: Tensor
    """int64 [R, L]; index into the source's actions."""
    context: Tensor
    """int64 [R, L, C]; hashed codes, 0 when missing."""
    reward: Tensor
    """float32 [R, L]; reward weight of the event, 0 when it is not high-value."""
    gap_seconds: Tensor
    """float32 [R, L]; time since the user's previous event, 0 at the first."""
    event_at_seconds: Tensor
    """float64 [R, L]; seconds since 1970-01-01 UTC. At a start token that of the request, or 0: then
    the time of the sequence's first event stands in, and without one the time is unknown."""
    segment: Tensor
    """int64 [R, L]; number of the sequence within its row from 1, 0 for padding."""
    label_slot: Tensor
    """int64 [P]; flat index into R · L of every loss position that has a label."""
    label_item: Tensor
    """int64 [P, K]; item_index of the labels, 0 where there is none."""
    label_weight: Tensor
    """float32 [P, K]; w of equation 2 (reward times decay): above 0 for a label, 0 where there is none."""
    label_at_seconds: Tensor | None = None
    """float64 [P]; time of the position's first label, seconds since 1970-01-01 UTC: an item that is
    launched later is no negative there. None: every candidate may be one."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: part if part is None else part.to(device) for name, part in parts.items()})

    @property
    def is_event(self) -> Tensor:
        """bool [R, L]; slots that hold an event (neither a start token nor padding)."""
        return (self.segment > 0) & ~self.is_start

    @property
    def clock_seconds(self) -> Tensor:
        """float64 [R, L]; the time at which every slot looks out for labels, NaN where unknown."""
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


@dataclass(frozen=True)
class Catalogue:
    """Frozen facts about every item, indexed by `item_index`."""

    item_token: Tensor
    """int64 [N]; row of the ID table, OUT_OF_VOCABULARY where there is none."""
    features: dict[str, Tensor]
    """float32 [N, width] for every modality."""
    launched_at_seconds: Tensor | None = None
    """float64 [N]; launch in seconds since 1970-01-01 UTC, NaN where unknown. None: no launch is known."""

    @property
    def items(self) -> int:
        """N."""
        return self.item_token.shape[0]

    @property
    def vocabulary_size(self) -> int:
        """V: rows that the ID table must have."""
        return int(self.item_token.max()) + 1 if self.items else 0

    def to(self, device: torch.device | str) -> Catalogue:
        """The same catalogue on a device."""
        launched = self.launched_at_seconds
        return Catalogue(
            self.item_token.to(device),
            {name: matrix.to(device) for name, matrix in self.features.items()},
            None if launched is None else launched.to(device),
        )
