"""The candidate catalogue: which items may be recommended at an instant, in order of launch.

In: launch times and retirements of all items. Out: `Candidates`, in which the catalogue of any
instant is a prefix, so that nobody who ranks needs a mask of users × items. It does not know how
items are scored.

Shape legend
    N  items ever seen     M  candidates ever (N less the retired)     X  label events
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

UNKNOWN_LAUNCH = np.iinfo(np.int64).min
"""Launch time of an item whose launch is unknown: it is a candidate throughout."""


@dataclass(frozen=True)
class Candidates:
    """Items that can be candidates, unknown launches first, then by launch time, then by index."""

    item_index: Ints
    """int64 [M]."""
    launched_at_us: Ints
    """int64 [M], ascending; microseconds since 1970-01-01 UTC."""
    column: Ints
    """int64 [N]; an item's place in `item_index`, M where it is never a candidate."""

    @classmethod
    def of(cls, launched_at_us: Ints, retired: NDArray[np.bool_]) -> Candidates:
        """From the launch time of every item, int64 [N], and the tombstones, bool [N]."""
        kept = np.flatnonzero(~retired)
        ordered = kept[np.argsort(launched_at_us[kept], kind="stable")]
        column = np.full(launched_at_us.size, ordered.size, dtype=np.int64)
        column[ordered] = np.arange(ordered.size)
        return cls(ordered, launched_at_us[ordered], column)

    def sizes_at(self, time_us: Ints) -> Ints:
        """|C| at each instant, int64 [X]: items launched by then, and those of unknown launch."""
        return np.searchsorted(self.launched_at_us, time_us, side="right").astype(np.int64)


def tied_rank(higher: NDArray[np.number], equal_others: NDArray[np.number]) -> NDArray[np.float64]:
    """1 + number scored higher + half of the number of others scored equal, float64 [X].

    Two higher and three others equal give 1 + 2 + 3/2 = 9/2.
    """
    return 1.0 + np.asarray(higher, dtype=np.float64) + np.asarray(equal_others, dtype=np.float64) / 2.0
