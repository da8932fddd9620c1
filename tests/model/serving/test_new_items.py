"""Items given with a call: what is read of them, and how they stand in the catalogue."""

from __future__ import annotations

import pytest
import torch

from model.data.items import UNKNOWN_LAUNCH
from model.serving.new_items import NewItems
from model.serving.records import HistoryError
from tests.model import tiny

CONFIG = tiny.config()
VECTOR = [0.5] * 6


def read(*records, known=("a", "b")) -> NewItems:
    return NewItems.of(list(records), known, CONFIG)


def test_what_is_not_given_is_unknown_or_zero():
    items = read(
        {"item_id": 7},
        {"item_id": "x", "title": "X", "launched_at": 86_400, "features": {"language": VECTOR}},
    )
    assert items.item_id == ["7", "x"] and items.title == [None, "X"]
    assert items.launched_at_us.tolist() == [UNKNOWN_LAUNCH, 86_400_000_000]
    assert torch.equal(items.features["language"], torch.tensor([[0.0] * 6, VECTOR]))
    assert not items.features["graph"].any()


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{"title": "X"}], "new item 0 has no item_id"),
        ([{"item_id": "a"}], "'a', which this version knows"),
        ([{"item_id": "x"}, {"item_id": "x"}], "new item 1 is 'x', as is new item 0"),
        ([{"item_id": "x", "launched_at": "soon"}], "soon"),
        ([{"item_id": "x", "features": {"audio": VECTOR}}], "audio"),
        ([{"item_id": "x", "features": {"language": [1.0]}}], "language"),
        ([{"item_id": "x", "features": {"language": [float("nan")] * 6}}], "language"),
    ],
)
def test_a_record_that_cannot_be_read_is_refused_with_its_name(records, words):
    with pytest.raises(HistoryError, match=words):
        read(*records)
