"""Which items a label's user has already."""

from __future__ import annotations

import numpy as np

from model.evaluation import seen
from model.evaluation.seen import SeenItems
from tests.model.window_of import histories

USERS = histories([[(3, 0.0), (1, 1.0), (3, 2.0), (2, 3.0)], [(3, 0.0), (3, 1.0)]], [[], []])
SEEN = SeenItems.of(USERS, np.array([0, 0, 1, 1, 0]), np.array([0, 3, 5, 6, 4]))


def test_each_item_of_the_visible_history_is_seen_once():
    found = SEEN.pairs(np.arange(5))
    assert found.label.tolist() == [1, 1, 2, 3, 4, 4, 4]
    assert found.item_index.tolist() == [3, 1, 3, 3, 3, 1, 2]
    assert SEEN.count.tolist() == [0, 2, 1, 1, 3]


def test_blocks_hold_all_pairs_and_no_more_than_allowed(monkeypatch):
    for most in (1, 2, 3, 100):
        monkeypatch.setattr(seen, "PAIRS_AT_ONCE", most)
        blocks = list(SEEN.blocks())
        whole = [np.concatenate(column).tolist() for column in zip(*blocks, strict=True)]
        assert whole == [column.tolist() for column in SEEN.pairs(np.arange(5))]
        assert all(block.label.size <= max(most, 3) for block in blocks)
