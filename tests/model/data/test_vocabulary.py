"""The table `vocabulary` spread over all items."""

from __future__ import annotations

import pytest

from expectations.tables import VOCABULARY
from model.data.delta import TableError
from model.data.vocabulary import read_vocabulary
from model.network.catalogue import OUT_OF_VOCABULARY
from tests.model import lake as tiny


def row(cycle: str, token: int, item: int, retired: bool = False) -> dict[str, object]:
    return {"cycle": cycle, "item_token": token, "item_index": item, "event_count": 6, "retired": retired}


def test_one_cycles_rows_are_spread_over_all_items(tmp_path):
    rows = [row("now", 0, 2, retired=True), row("now", 1, 0), row("before", 0, 1)]
    version = tiny.write(tmp_path, VOCABULARY, rows)
    vocabulary = read_vocabulary(str(tmp_path), tiny.SOURCE, "now", version, items=3)
    assert vocabulary.item_token.tolist() == [1, OUT_OF_VOCABULARY, 0]
    assert vocabulary.member.tolist() == [True, False, True]
    assert vocabulary.event_count.tolist() == [6, 0, 6]
    assert vocabulary.retired.tolist() == [False, False, True]


def test_an_item_outside_the_items_is_refused(tmp_path):
    version = tiny.write(tmp_path, VOCABULARY, [row("now", 0, 3)])
    with pytest.raises(TableError, match="vocabulary names item_index 3, but items has 3 rows"):
        read_vocabulary(str(tmp_path), tiny.SOURCE, "now", version, items=3)
