"""Which label events are examples, what they count for, and what they may be ranked from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.tables import location
from model.data.candidates import UNKNOWN_LAUNCH
from model.evaluation.examples import (
    HOUR_US,
    ExamplesError,
    history_ends,
    read_histories,
    read_item_facts,
    read_vocabulary,
)
from tests.model.window_of import examples

DAY = 24.0


def test_tasks_are_predicates_over_the_gap_and_the_age_of_the_item():
    # Gaps of the labels: none (first event), 24 h, 1 h, 2 h, 0 h. Item 1 is launched at 10 h.
    user = [(0, 0.0), (0, DAY), (1, DAY + 1), (2, DAY + 3), (2, DAY + 3)]
    found = examples([user], [[0, 1, 2, 3, 4]], items=3, launched_hours={1: 10.0})
    assert found.tasks["A"].tolist() == [False, True, False, False, False]
    assert found.tasks["B"].tolist() == [False, False, True, False, True]
    assert found.tasks["C"].tolist() == [False, False, True, False, False]
    assert found.not_applicable == ()


def test_an_item_counts_as_new_for_28_days_and_not_before_its_launch():
    labels = [(1, 9.0), (1, 10.0), (1, 10.0 + 28 * DAY), (1, 11.0 + 28 * DAY)]
    found = examples([labels], [[0, 1, 2, 3]], items=2, launched_hours={1: 10.0})
    assert found.tasks["C"].tolist() == [False, True, True, False]


def test_a_task_that_the_source_cannot_have_is_not_applicable():
    no_launches = examples([[(0, 0.0), (1, 1.0)]], [[1]], items=2)
    assert no_launches.not_applicable == ("C",)
    one_event_each = examples([[(0, 0.0)], [(1, 1.0)]], [[0], [0]], items=2, launched_hours={0: 0.0})
    assert one_event_each.not_applicable == ("A", "B")
    assert list(one_event_each.tasks) == ["C"]


def test_cold_items_are_outside_both_vocabularies_and_weak_ones_inside_with_few_events():
    user = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    found = examples([user], [[0, 1, 2, 3]], items=4, counts={0: 100, 1: 19}, champion={0: 90, 2: 5})
    assert found.slices["cold_start"].tolist() == [False, False, False, True]
    assert found.slices["weak_id"].tolist() == [False, True, False, False]
    first_cycle = examples([user], [[0, 1, 2, 3]], items=4, counts={0: 100, 1: 19})
    assert first_cycle.slices["cold_start"].tolist() == [False, False, True, True]


def test_a_context_field_gives_one_slice_a_code():
    found = examples([[(1, 0.0), (5, 1.0), (2, 2.0)]], [[0, 1, 2]], items=6, slices=("page", "country"))
    assert {name: flags.tolist() for name, flags in found.slices.items()} == {
        "page=1": [True, True, False],
        "page=2": [False, False, True],
    }


def test_an_unknown_slice_is_refused_with_what_is_allowed():
    with pytest.raises(ExamplesError, match="'planet' is unknown; allowed are cold_start"):
        examples([[(0, 0.0)]], [[0]], items=1, slices=("planet",))


def test_replay_sees_events_strictly_before_the_label_minus_the_delay():
    users = [[(0, 0.0), (1, 1.0), (2, 1.0), (0, 3.0)], [(1, 2.0)]]
    found = examples(users, [[1, 2, 3], [0]], items=3)
    offset = found.histories.offset[found.user]
    seen = {
        hours: (history_ends(found, "replay", hours, 0) - offset).tolist() for hours in (0.0, 1.0, 2.0, 2.5)
    }
    assert seen == {0.0: [1, 1, 3, 0], 1.0: [0, 0, 3, 0], 2.0: [0, 0, 1, 0], 2.5: [0, 0, 1, 0]}


def test_cutoff_sees_events_up_to_the_split():
    users = [[(0, 0.0), (1, 1.0), (2, 2.0)], [(1, 2.0)]]
    found = examples(users, [[1, 2], [0]], items=3)
    ends = history_ends(found, "cutoff", 0.0, round(1.0 * HOUR_US))
    assert (ends - found.histories.offset[found.user]).tolist() == [2, 2, 0]


def test_ends_agree_with_a_search_by_hand_for_many_users():
    generator = np.random.default_rng(1)
    users = [
        [(0, hour) for hour in sorted(generator.integers(0, 12, size))]
        for size in generator.integers(1, 9, 60)
    ]
    found = examples(users, [list(range(len(user))) for user in users], items=1)
    ends = history_ends(found, "replay", 2.0, 0)
    by_hand = [sum(other < hour - 2 for _, other in user) for user in users for _, hour in user]
    assert (ends - found.histories.offset[found.user]).tolist() == by_hand


def test_tables_are_read_back_as_arrays(tmp_path):
    lake = str(tmp_path)
    rows = {
        "cycle": ["now", "now", "before"],
        "user_id": ["b", "a", "a"],
        "first_position": [7, 0, 0],
        "item_index": [[3, 4], [5], [0]],
        "action": [[0, 1], [2], [0]],
        "event_at_us": [[10, 20], [15], [0]],
        "reward": [[0.0, 1.0], [0.5], [0.0]],
        "page": [[1, 2], [3], [0]],
        "position": [None, None, None],
        "country": [None, None, None],
        "device": [None, None, None],
        "label_positions": [[1], [0], [0]],
    }
    lists = {"item_index": pa.int32(), "action": pa.int8(), "event_at_us": pa.int64(), "reward": pa.float32()}
    lists |= dict.fromkeys(("page", "position", "country", "device"), pa.int16()) | {
        "label_positions": pa.int32()
    }
    table = pa.table(
        {name: pa.array(v, pa.list_(lists[name]) if name in lists else None) for name, v in rows.items()}
    )
    write_deltalake(location(lake, "s", "evaluation_sequences"), table, partition_by=["cycle"])
    found = read_histories(lake, "s", "now", 0)
    assert found.user_id.tolist() == ["a", "b"]
    assert found.offset.tolist() == [0, 1, 3]
    assert found.item_index.tolist() == [5, 3, 4]
    assert found.label.tolist() == [0, 2]
    assert found.first_position.tolist() == [0, 7]
    assert {name: codes.tolist() for name, codes in found.context.items()} == {"page": [3, 1, 2]}
    with pytest.raises(ExamplesError, match="no user with a label event"):
        read_histories(lake, "s", "later", 0)


def test_items_and_vocabulary_are_read_in_order_of_item_index(tmp_path):
    lake = str(tmp_path)
    launched = pa.array([None, 3_000_000], pa.timestamp("us", tz="UTC"))
    items = pa.table(
        {"item_index": pa.array([1, 0], pa.int32()), "item_id": ["b", "a"], "launched_at": launched}
    )
    write_deltalake(location(lake, "s", "items"), items)
    facts = read_item_facts(lake, "s", 0)
    assert facts.item_id.to_pylist() == ["a", "b"]
    assert facts.launched_at_us.tolist() == [3_000_000, UNKNOWN_LAUNCH]
    rows = pa.table({"cycle": ["now"], "item_index": [1], "event_count": [6], "retired": [True]})
    write_deltalake(location(lake, "s", "vocabulary"), rows, partition_by=["cycle"])
    known = read_vocabulary(lake, "s", "now", 0, 2)
    assert (known.member.tolist(), known.event_count.tolist()) == ([False, True], [0, 6])
    assert known.retired.tolist() == [False, True]
    gap = items.set_column(0, "item_index", pa.array([1, 2], pa.int32()))
    write_deltalake(location(lake, "gap", "items"), gap)
    with pytest.raises(ExamplesError, match="without a gap"):
        read_item_facts(lake, "gap", 0)
