"""Which items are eligible at an instant, and in training."""

from __future__ import annotations

import numpy as np
import torch

from expectations.instants import HOUR_US
from model.data.cycle_items import CycleItems
from model.data.eligible_items import eligible_for_training
from model.network.catalogue import Catalogue
from tests.model.window_of import eligible, item_table, vocabulary


def test_eligible_items_grow_with_launches_and_include_unknown_launches_throughout():
    # Items 0 and 3 are of unknown launch, 1 is launched at 5 h, 2 at 2 h.
    items = eligible(4, {1: 5.0, 2: 2.0})
    assert items.item_index.tolist() == [0, 3, 2, 1]
    hours = np.array([0.0, 2.0, 4.9, 5.0]) * HOUR_US
    assert items.sizes_at(hours.astype(np.int64)).tolist() == [2, 3, 3, 4]


def test_a_retired_item_is_never_eligible():
    items = eligible(3, retired=(1,))
    assert items.item_index.tolist() == [0, 2]
    assert items.column.tolist() == [0, 2, 1]


def test_items_known_by_the_split_and_not_retired_are_eligible_in_training():
    # 0 to 2 are in the vocabulary, 2 is retired; 2 and 3 were seen; 4 is launched at 9 h, 5 at 99 h.
    known = vocabulary(6, {0: 5, 1: 5, 2: 5}, retired=(2,))
    cycle = CycleItems(
        item_table(6, {4: 9.0, 5: 99.0}), known, Catalogue(torch.from_numpy(known.item_token), {})
    )
    seen = np.array([False, False, True, True, False, False])
    assert eligible_for_training(cycle, seen, split_us=20 * HOUR_US).tolist() == [0, 1, 3, 4]
    assert eligible_for_training(cycle, seen, split_us=8 * HOUR_US).tolist() == [0, 1, 3]
