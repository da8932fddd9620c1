"""Histories of the evaluation window as flat arrays."""

from __future__ import annotations

import pytest

from expectations.tables import EVALUATION_SEQUENCES
from model.data.delta import TableError
from model.data.histories import read_histories
from tests.model import lake as tiny
from tests.model.window_of import histories

ROWS = [
    {
        "cycle": cycle, "user_id": user, "first_position": first, "item_index": items,
        "action": [0] * len(items), "event_at_us": [10 * item for item in items],
        "reward": [item / 2 for item in items], "page": pages, "label_positions": labels,
    }
    for cycle, user, first, items, pages, labels in (
        ("now", "b", 7, [3, 4], [1, 2], [1]),
        ("now", "a", 0, [5], [3], [0]),
        ("before", "a", 0, [0], [0], [0]),
    )
]  # fmt: skip


def test_one_cycles_users_are_read_in_order_with_the_context_fields_that_the_source_has(tmp_path):
    version = tiny.write(tmp_path, EVALUATION_SEQUENCES, ROWS)
    found = read_histories(str(tmp_path), tiny.SOURCE, "now", version)
    assert found.user_id.tolist() == ["a", "b"]
    assert found.offset.tolist() == [0, 1, 3]
    assert found.first_position.tolist() == [0, 7]
    assert found.item_index.tolist() == [5, 3, 4]
    assert found.event_at_us.tolist() == [50, 30, 40]
    assert found.reward.tolist() == [2.5, 1.5, 2]
    assert found.label.tolist() == [0, 2]
    assert {name: codes.tolist() for name, codes in found.context.items()} == {"page": [3, 1, 2]}


def test_a_cycle_without_a_label_event_is_refused(tmp_path):
    version = tiny.write(tmp_path, EVALUATION_SEQUENCES, ROWS)
    with pytest.raises(TableError, match="cycle later of tiny has no user with a label event"):
        read_histories(str(tmp_path), tiny.SOURCE, "later", version)


def test_every_event_has_an_owner():
    found = histories([[(0, 0.0), (1, 1.0)], [], [(2, 0.0)]], [[], [], [0]])
    assert found.owner.tolist() == [0, 0, 2]
