"""Lists of ten: how much of the catalogue they cover, and on how few items they are concentrated.

Shape legend
    N  items     M  eligible items
"""

from __future__ import annotations

import numpy as np

from model.arrays import Ints
from model.evaluation.figures import Lists

LIST_ITEMS = 10
"""Items of a list."""


def describe(shown: Ints, eligible_items: Ints) -> Lists:
    """Figures of lists, from the number of lists that each item is in: `shown` int64 [N], `eligible_items`
    int64 [M] the items that could have been. All 0 without a list."""
    counts = shown[eligible_items]
    return Lists(
        shown=int(counts.sum()),
        covered=float((counts > 0).mean()) if counts.size else 0.0,
        gini=gini(counts),
    )


def gini(counts: Ints) -> float:
    """Gini coefficient of some counts: 0 when all are equal, near 1 when one item has everything.

    Σ (2 i − M − 1) x_i / (M Σ x) over the counts in ascending order, i from 1. The counts 0 and 2 give
    (−1 · 0 + 1 · 2) / (2 · 2) = 1/2. Excludes nothing: an eligible item in no list counts as 0.
    """
    size, total = counts.size, counts.sum()
    if total == 0:
        return 0.0
    return float(((2 * np.arange(1, size + 1) - size - 1) * np.sort(counts)).sum() / (size * total))
