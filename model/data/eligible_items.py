"""Eligible items: what may be recommended at an instant, and what negatives are sampled from.

Items are kept in order of launch, so that the eligible items of any instant are a prefix and ranking
needs no mask of users × items.

Shape legend
    N  items ever seen     M  items that are ever eligible (N less the retired)     X  label events
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import Flags, Ints
from model.data.cycle_items import CycleItems
from model.data.items import UNKNOWN_LAUNCH


@dataclass(frozen=True)
class EligibleItems:
    """Items that may be recommended: unknown launches first, then by launch time, then by index."""

    item_index: Ints
    """int64 [M]."""
    launched_at_us: Ints
    """int64 [M], ascending; microseconds since 1970-01-01 UTC."""
    column: Ints
    """int64 [N]; an item's position in `item_index`, M for a retired one."""

    @classmethod
    def of(cls, launched_at_us: Ints, retired: Flags) -> EligibleItems:
        """From the launch of every item, int64 [N], and the tombstones, bool [N]."""
        kept = np.flatnonzero(~retired)
        ordered = kept[np.argsort(launched_at_us[kept], kind="stable")]
        column = np.full(launched_at_us.size, ordered.size, dtype=np.int64)
        column[ordered] = np.arange(ordered.size)
        return cls(ordered, launched_at_us[ordered], column)

    def sizes_at(self, time_us: Ints) -> Ints:
        """|C| at each instant, int64 [X]: items launched by then, and those of unknown launch."""
        return np.searchsorted(self.launched_at_us, time_us, side="right").astype(np.int64)


def eligible_for_training(cycle: CycleItems, seen: Flags, split_us: int) -> Ints:
    """Items known by the split, which negatives are sampled from: ascending `item_index`, int64.

    `seen` bool [N]: items with an event up to the split. An item is known if it is in the vocabulary, was
    seen, or was launched by then. An unseen item of unknown launch may be from the future, and a retired
    one is no longer scored: neither is eligible.
    """
    launched_at_us = cycle.items.launched_at_us
    launched = (launched_at_us != UNKNOWN_LAUNCH) & (launched_at_us <= split_us)
    return np.flatnonzero((cycle.vocabulary.member | seen | launched) & ~cycle.vocabulary.retired)
