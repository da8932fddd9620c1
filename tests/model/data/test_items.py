"""The table `items` as arrays in order of item_index."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from expectations.tables import ITEMS, SEQUENCES
from model.data.delta import TableError
from model.data.items import UNKNOWN_LAUNCH, item_indices, read_items
from tests.model import lake as tiny


def test_items_are_read_in_order_of_item_index(tmp_path):
    rows = [
        {"item_index": 1, "item_id": "b", "launched_at": None, "title": "Bee"},
        {"item_index": 0, "item_id": "a", "launched_at": 3_000_000},
    ]
    version = tiny.write(tmp_path, ITEMS, rows)
    items = read_items(str(tmp_path), tiny.SOURCE, version)
    assert items.count == 2
    assert items.item_id.to_pylist() == ["a", "b"] and items.title.to_pylist() == [None, "Bee"]
    assert items.launched_at_us.tolist() == [3_000_000, UNKNOWN_LAUNCH]


@pytest.mark.parametrize("indices", [(1, 2), (0, 0), (0, 2)])
def test_an_item_index_with_a_gap_or_a_repeat_is_refused(tmp_path, indices):
    rows = [{"item_index": index, "item_id": f"i{number}"} for number, index in enumerate(indices)]
    version = tiny.write(tmp_path, ITEMS, rows)
    with pytest.raises(TableError, match="item_index of items does not count 0 … 1 without a gap"):
        read_items(str(tmp_path), tiny.SOURCE, version)


def test_an_index_that_items_does_not_have_is_refused():
    assert item_indices(pa.array([0, 4], pa.int32()), 5, SEQUENCES).dtype == np.int64
    for bad in (-1, 5):
        with pytest.raises(TableError, match=f"sequences names item_index {bad}, but items has 5"):
            item_indices(pa.array([0, bad], pa.int32()), 5, SEQUENCES)
