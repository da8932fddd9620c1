"""The groups that label events count for, and the history that each is ranked from."""

from __future__ import annotations

import numpy as np
import pytest

from expectations.instants import HOUR_US
from model.evaluation.examples import (
    ExamplesError,
    history_ends,
)
from tests.model.window_of import examples

DAY = 24.0


def test_tasks_are_predicates_over_the_gap_and_the_age_of_the_item():
    # Gaps of the labels: none (first event), 24 h, 1 h, 2 h, 0 h. Item 1 is launched at 10 h.
    user = [(0, 0.0), (0, DAY), (1, DAY + 1), (2, DAY + 3), (2, DAY + 3)]
    window = examples([user], [[0, 1, 2, 3, 4]], items=3, launched_hours={1: 10.0})
    assert window.tasks["A"].tolist() == [False, True, False, False, False]
    assert window.tasks["B"].tolist() == [False, False, True, False, True]
    assert window.tasks["C"].tolist() == [False, False, True, False, False]
    assert window.not_applicable == ()


def test_an_item_counts_as_new_for_28_days_and_not_before_its_launch():
    labels = [(1, 9.0), (1, 10.0), (1, 10.0 + 28 * DAY), (1, 11.0 + 28 * DAY)]
    window = examples([labels], [[0, 1, 2, 3]], items=2, launched_hours={1: 10.0})
    assert window.tasks["C"].tolist() == [False, True, True, False]


def test_a_task_without_gaps_or_launches_does_not_apply():
    no_launches = examples([[(0, 0.0), (1, 1.0)]], [[1]], items=2)
    assert no_launches.not_applicable == ("C",)
    one_event_each = examples([[(0, 0.0)], [(1, 1.0)]], [[0], [0]], items=2, launched_hours={0: 0.0})
    assert one_event_each.not_applicable == ("A", "B")
    assert list(one_event_each.tasks) == ["C"]


def test_cold_start_items_are_outside_both_vocabularies_and_weak_id_items_inside_with_few_events():
    user = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    window = examples([user], [[0, 1, 2, 3]], items=4, counts={0: 100, 1: 19}, reference={0: 90, 2: 5})
    assert window.slices["cold_start"].tolist() == [False, False, False, True]
    assert window.slices["weak_id"].tolist() == [False, True, False, False]
    first_cycle = examples([user], [[0, 1, 2, 3]], items=4, counts={0: 100, 1: 19})
    assert first_cycle.slices["cold_start"].tolist() == [False, False, True, True]


def test_a_context_field_gives_one_slice_per_value():
    window = examples([[(1, 0.0), (5, 1.0), (2, 2.0)]], [[0, 1, 2]], items=6, slices=("page", "country"))
    assert {name: flags.tolist() for name, flags in window.slices.items()} == {
        "page=1": [True, True, False],
        "page=2": [False, False, True],
    }


def test_an_unknown_slice_is_refused_with_what_is_allowed():
    with pytest.raises(ExamplesError, match="'planet' is unknown; allowed are cold_start"):
        examples([[(0, 0.0)]], [[0]], items=1, slices=("planet",))


def test_replay_sees_events_strictly_before_the_label_minus_the_delay():
    users = [[(0, 0.0), (1, 1.0), (2, 1.0), (0, 3.0)], [(1, 2.0)]]
    window = examples(users, [[1, 2, 3], [0]], items=3)
    offset = window.histories.offset[window.user]
    seen = {
        hours: (history_ends(window, "replay", hours, 0) - offset).tolist() for hours in (0.0, 1.0, 2.0, 2.5)
    }
    assert seen == {0.0: [1, 1, 3, 0], 1.0: [0, 0, 3, 0], 2.0: [0, 0, 1, 0], 2.5: [0, 0, 1, 0]}


def test_cutoff_sees_events_up_to_the_split():
    users = [[(0, 0.0), (1, 1.0), (2, 2.0)], [(1, 2.0)]]
    window = examples(users, [[1, 2], [0]], items=3)
    ends = history_ends(window, "cutoff", 0.0, round(1.0 * HOUR_US))
    assert (ends - window.histories.offset[window.user]).tolist() == [2, 2, 0]


def test_history_ends_agree_with_a_linear_search():
    generator = np.random.default_rng(1)
    users = [
        [(0, hour) for hour in sorted(generator.integers(0, 12, size))]
        for size in generator.integers(1, 9, 60)
    ]
    window = examples(users, [list(range(len(user))) for user in users], items=1)
    ends = history_ends(window, "replay", 2.0, 0)
    by_hand = [sum(earlier < hour - 2 for _, earlier in user) for user in users for _, hour in user]
    assert (ends - window.histories.offset[window.user]).tolist() == by_hand
