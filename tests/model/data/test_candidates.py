"""The catalogue at an instant."""

from __future__ import annotations

import numpy as np

from model.data.candidates import tied_rank
from model.evaluation.examples import HOUR_US
from tests.model.window_of import candidates


def test_the_catalogue_grows_with_launches_and_holds_unknown_launches_throughout():
    # Items 0 and 3 are of unknown launch, 1 is launched at 5 h, 2 at 2 h.
    found = candidates(4, {1: 5.0, 2: 2.0})
    assert found.item_index.tolist() == [0, 3, 2, 1]
    hours = np.array([0.0, 2.0, 4.9, 5.0]) * HOUR_US
    assert found.sizes_at(hours.astype(np.int64)).tolist() == [2, 3, 3, 4]


def test_a_retired_item_is_never_a_candidate():
    found = candidates(3, retired=(1,))
    assert found.item_index.tolist() == [0, 2]
    assert found.column.tolist() == [0, 2, 1]


def test_a_rank_counts_the_higher_and_half_of_the_other_equals():
    assert tied_rank(np.array([0, 2]), np.array([0, 3])).tolist() == [1, 9 / 2]
