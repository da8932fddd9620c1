"""Vectors of `item_features` over those that items have already."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from expectations.tables import ITEM_FEATURES
from model.data.cycle_tables import CycleTables
from model.data.delta import TableError
from model.data.item_features import fill_features
from tests.model import lake as tiny


def tables(folder, *items: int) -> CycleTables:
    rows = [
        {"cycle": "now", "item_index": item, "language": [item, 1], "graph": [0.5] * 3, "annotation": [0]}
        for item in items
    ]
    return CycleTables(
        str(folder), tiny.SOURCE, "now", {"item_features": tiny.write(folder, ITEM_FEATURES, rows)}
    )


def names(items: int) -> pa.Array:
    return pa.array([f"i{item}" for item in range(items)])


def zeros(items: int, **widths: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((items, width), np.float32) for name, width in widths.items()}


def test_items_with_a_row_take_its_vectors_and_the_others_keep_theirs(tmp_path):
    features = zeros(4, language=2, graph=3)
    features["language"][0] = 9
    fill_features(tables(tmp_path, 2, 1), names(4), features)
    assert features["language"].tolist() == [[9, 9], [1, 1], [2, 1], [0, 0]]
    assert features["graph"].tolist() == [[0] * 3, [0.5] * 3, [0.5] * 3, [0] * 3]


def test_vectors_of_another_width_are_refused(tmp_path):
    with pytest.raises(TableError, match=r"graph vectors \[3\] wide; model.modalities has 2"):
        fill_features(tables(tmp_path, 0), names(1), zeros(1, graph=2))


def test_an_item_outside_the_items_is_refused(tmp_path):
    with pytest.raises(TableError, match="item_features names item_index 5, but items has 2 rows"):
        fill_features(tables(tmp_path, 5), names(2), zeros(2, graph=3))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_with_its_table_item_and_modality(tmp_path, number):
    vectors = {"language": [0.0, 0.0], "graph": [0.0] * 3, "annotation": [0.0]}
    rows = [{"cycle": "now", "item_index": item, **vectors} for item in range(3)]
    rows[1]["graph"] = [0.0, number, 0.0]
    version = tiny.write(tmp_path, ITEM_FEATURES, rows)
    broken = CycleTables(str(tmp_path), tiny.SOURCE, "now", {"item_features": version})
    with pytest.raises(TableError, match="item_features of cycle now has a graph vector .* for item 'i1'$"):
        fill_features(broken, names(3), zeros(3, graph=3))
    fill_features(broken, names(3), zeros(3, language=2))
