"""The items that the user of each label has already, as pairs of label and item in bounded blocks.

Shape legend
    X  labels     F  first events of a user with an item     P  pairs of a block
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.arrays import Ints, stretches
from model.data.histories import Histories

PAIRS_AT_ONCE = 1_048_576
"""Pairs held at once, or those of one label if it has more."""


class Pairs(NamedTuple):
    """A label and an item that its user has; int64 [P] each."""

    label: Ints
    item_index: Ints


@dataclass(frozen=True)
class SeenItems:
    """The distinct items of each label's visible history."""

    item_index: Ints
    """int64 [F]; user after user, in order of their first events."""
    first: Ints
    """int64 [X]; where a label's items begin among the F."""
    count: Ints
    """int64 [X]; how many they are."""

    @classmethod
    def of(cls, histories: Histories, user: Ints, end: Ints) -> SeenItems:
        """`user` and `end` int64 [X]: whose history each label has, and one past its last visible event."""
        pair = histories.owner * (int(histories.item_index.max(initial=0)) + 1) + histories.item_index
        event = np.sort(np.unique(pair, return_index=True)[1])
        first = np.searchsorted(event, histories.offset[user])
        return cls(histories.item_index[event], first, np.searchsorted(event, end) - first)

    def pairs(self, label: Ints) -> Pairs:
        """The pairs of some labels, in their order; `label` are indices among the X."""
        number, place = stretches(self.first[label], self.count[label])
        return Pairs(label[number], self.item_index[place])

    def blocks(self) -> Iterator[Pairs]:
        """The pairs of all labels, block by block."""
        total = np.cumsum(self.count)
        start = 0
        while start < total.size:
            before = total[start] - self.count[start]
            end = max(start + 1, int(np.searchsorted(total, before + PAIRS_AT_ONCE, side="right")))
            yield self.pairs(np.arange(start, end))
            start = end
