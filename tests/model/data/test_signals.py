"""The tables of signals, read up to the split and up to the cutoff."""

from __future__ import annotations

import pytest
import torch

from model.data.cycle_tables import CycleTables, DatasetError
from model.data.signals import SignalsShape, training_signals, window_signals
from tests.model import lake
from tests.model.signal_rows import BUCKET_US, HALF_LIVES

SHAPE = SignalsShape(HALF_LIVES, BUCKET_US)
SPLIT_US = 5 * lake.HOUR + 1
USERS = {
    "ann": [(1, lake.HOUR, 1.0), (2, 2 * lake.HOUR, 0.0), (1, 9 * lake.HOUR, 1.0)],
    "bob": [(0, 3 * lake.HOUR, 1.0), (2, SPLIT_US, 1.0), (0, 8 * lake.HOUR, 1.0)],
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> CycleTables:
    """Two users, each with one event after the split, beside a cycle with more events."""
    home = tmp_path_factory.mktemp("lake")
    versions = lake.write_cycle(home, USERS, items=4, in_vocabulary=4, split_us=SPLIT_US)
    later = {"eve": [(3, hour * lake.HOUR, 1.0) for hour in range(9)]}
    lake.write_cycle(home, later, items=4, in_vocabulary=4, cycle="later")
    return CycleTables(str(home), lake.SOURCE, lake.CYCLE, versions)


def test_training_sees_what_lies_before_the_split_alone(tables):
    signals = training_signals(tables, SHAPE, 4)
    assert signals.successors.item_index.tolist() == [2, 2]  # bob's, at the split itself, is the second
    assert signals.successors.event_at_us.tolist() == [2 * lake.HOUR, SPLIT_US]
    # The bucket of the split ends after it, so the event of item 2 in it is in no row yet.
    assert (signals.items.end_seconds * lake.SECOND <= SPLIT_US).all()
    assert torch.diff(signals.items.offset).tolist() == [1, 1, 1, 0]
    assert signals.items.state[2, -1].exp().item() == pytest.approx(1.0)


def test_events_after_the_split_change_nothing_that_training_sees(tables, tmp_path):
    """Also those of an item, and of a user, that had none before."""
    later = {
        "ann": [(3, SPLIT_US + 1, 1.0)],
        "bob": [(2, 6 * lake.HOUR, 1.0)],
        "eve": [(3, SPLIT_US + 1, 1.0), (1, 7 * lake.HOUR, 1.0)],
    }
    users = {
        name: sorted(USERS.get(name, []) + events, key=lambda event: event[1])
        for name, events in later.items()
    }
    versions = lake.write_cycle(tmp_path, users, items=4, in_vocabulary=4, split_us=SPLIT_US)
    planted = CycleTables(str(tmp_path), lake.SOURCE, lake.CYCLE, versions)
    before, after = (training_signals(one, SHAPE, 4) for one in (tables, planted))
    for name in ("offset", "end_seconds", "state", "first_seconds"):
        expected, found = getattr(before.items, name), getattr(after.items, name)
        assert torch.equal(found.nan_to_num(-1.0), expected.nan_to_num(-1.0))
    for name in ("item_index", "event_at_us", "previous"):
        assert getattr(after.successors, name).tolist() == getattr(before.successors, name).tolist()


def test_a_window_sees_what_lies_before_the_cutoff(tables):
    signals = window_signals(tables.lake, tables.source, tables.cycle, tables.versions, SHAPE, 4)
    assert sorted(signals.successors.item_index.tolist()) == [0, 1, 2, 2]
    assert torch.diff(signals.items.offset).tolist() == [2, 2, 2, 0]
    assert (signals.items.bucket_us, signals.items.half_lives_days) == (BUCKET_US, HALF_LIVES)
    totals = signals.items.state[signals.items.offset[1:4] - 1, -1].exp()
    assert totals.tolist() == pytest.approx([2.0, 2.0, 2.0])


def test_before_the_split_both_say_the_same(tables):
    training = training_signals(tables, SHAPE, 4)
    window = window_signals(tables.lake, tables.source, tables.cycle, tables.versions, SHAPE, 4)
    items, at = torch.arange(4), torch.full((4,), 5 * 3600.0, dtype=torch.float64)
    values = [
        signals.items.signals(signals.items.rows_of(items, at), items, at, None)
        for signals in (training, window)
    ]
    assert torch.equal(*values)


def test_a_cycle_whose_stage_has_not_run_is_an_error(tables):
    without = CycleTables(tables.lake, tables.source, tables.cycle, {})
    with pytest.raises(DatasetError, match="has no version of item_signals; run its stage first"):
        training_signals(without, SHAPE, 4)
