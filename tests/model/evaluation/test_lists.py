"""Coverage and concentration of lists, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.figures import Lists
from model.evaluation.lists import describe, gini


@pytest.mark.parametrize(
    ("counts", "value"),
    [([3, 3, 3], 0), ([0, 2], 1 / 2), ([0, 0, 0, 8], 3 / 4), ([1, 3], 1 / 4), ([0, 0], 0), ([], 0)],
)
def test_gini_of_a_few_counts(counts, value):
    assert gini(np.array(counts, dtype=np.int64)) == pytest.approx(value)


def test_items_that_are_not_eligible_do_not_count():
    shown = np.array([0, 5, 0, 5, 0])
    assert describe(shown, np.array([0, 1, 3, 4])) == Lists(shown=10, covered=1 / 2, gini=1 / 2)
    assert describe(np.zeros(2, np.int64), np.array([0, 1])) == Lists(0, 0.0, 0.0)
