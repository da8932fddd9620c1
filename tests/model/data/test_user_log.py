"""Whole histories from rows that overlap."""

from __future__ import annotations

import numpy as np
import pytest

from expectations.tables import SEQUENCES
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.user_log import load_user_log
from tests.model import lake


def tables(home, users: dict[str, list[lake.Event]], **options) -> CycleTables:
    """Rows of `sequences` in no order."""
    rows = [row for user, events in users.items() for row in lake.chunks(user, events, **options)]
    lake.write(home, SEQUENCES, rows[::-1])
    return CycleTables(str(home), lake.SOURCE, lake.CYCLE, {"sequences": 0})


def test_each_event_is_held_once_in_stored_order(tmp_path):
    bob = [(number, number * lake.HOUR, float(number % 3)) for number in range(9)]
    ann = [(7, 5, 0.0), (3, 5, 2.0)]  # at one instant
    log = load_user_log(tables(tmp_path, {"bob": bob, "ann": ann}, max_length=4, context_length=2))
    assert log.user_id.to_pylist() == ["ann", "bob"]
    assert log.offset.tolist() == [0, 2, 11]
    assert log.item_index.tolist() == [7, 3, *range(9)]
    assert log.action.tolist() == [item % 3 for item in log.item_index.tolist()]
    assert log.reward.tolist() == [0.0, 2.0, *(number % 3 for number in range(9))]
    assert (log.item_index.dtype, log.action.dtype, log.reward.dtype) == (np.int32, np.int8, np.float32)


def test_how_rows_are_cut_does_not_matter(tmp_path):
    users = lake.histories(users=6, items=9)
    whole = load_user_log(tables(tmp_path / "whole", users, max_length=1000))
    cut = load_user_log(tables(tmp_path / "cut", users, max_length=5, context_length=3))
    for name in ("offset", "item_index", "action", "reward"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name
    assert whole.user_id == cut.user_id


def test_a_cycle_without_rows_is_an_error(tmp_path):
    there = tables(tmp_path, {"ann": [(1, 1, 1.0)]})
    with pytest.raises(DatasetError, match="no rows of cycle 1999-01-01"):
        load_user_log(CycleTables(there.lake, there.source, "1999-01-01", there.versions))
