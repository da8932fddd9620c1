"""Windows of histories: where each requested state is, and how much it has seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.instants import SECOND_US
from model.serving.windows import batches, plan_windows
from tests.model.window_of import histories


def plan(lengths, states, max_length=4, context_length=2, first_position=None):
    """Users of `lengths` events; `states` are (user, events seen)."""
    users = [[(item, float(item)) for item in range(length)] for length in lengths]
    found = histories(users, [[] for _ in users], first_position)
    user = np.array([user for user, _ in states], dtype=np.int64)
    end = found.offset[user] + np.array([seen for _, seen in states], dtype=np.int64)
    return found, plan_windows(found, user, end, max_length, context_length)


def test_the_states_of_a_short_history_share_one_window_after_the_start_token():
    _, windows = plan([3], [(0, 0), (0, 2), (0, 3)])
    assert windows.lengths.tolist() == [4]
    assert windows.slot.tolist() == [0, 2, 3]


def test_a_long_history_continues_in_windows_that_repeat_context():
    # max_length 4, context 2: events 0–3 first, then 2–5 (states after 5 and 6), then 4–7.
    _, windows = plan([8], [(0, 4), (0, 5), (0, 6), (0, 7)])
    assert windows.first.tolist() == [0, 2, 4]
    assert windows.end.tolist() == [4, 6, 7]
    assert windows.has_start.tolist() == [True, False, False]
    assert windows.window.tolist() == [0, 1, 1, 2]
    assert windows.slot.tolist() == [4, 2, 3, 2]


def test_only_windows_with_a_requested_state_are_planned_and_end_at_it():
    _, windows = plan([100, 100], [(1, 6)])
    assert (windows.first - 100).tolist() == [2]
    assert windows.lengths.tolist() == [4]


def test_a_capped_history_has_no_start_token_unless_no_event_is_seen():
    _, windows = plan([3, 3], [(0, 2), (1, 0)], first_position=[5, 5])
    assert windows.has_start.tolist() == [False, True]
    assert windows.slot.tolist() == [1, 0]


@settings(max_examples=60, deadline=None)
@given(
    states=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=20, unique=True),
    max_length=st.integers(2, 9),
    data=st.data(),
)
def test_every_state_has_seen_its_last_event_and_enough_context(states, max_length, data):
    context_length = data.draw(st.integers(0, max_length - 1))
    found, windows = plan([30, 30, 30], states, max_length, context_length)
    assert (windows.lengths <= max_length + 1).all()
    for number, (user, seen) in enumerate(states):
        window, slot = windows.window[number], windows.slot[number]
        first = windows.first[window] - found.offset[user]
        last = first + slot - windows.has_start[window]  # index of the event at the state's slot
        assert last == seen - 1
        assert seen - first == seen if seen <= max_length else context_length < seen - first <= max_length


def test_batches_hold_every_window_once_with_its_own_events():
    found, windows = plan([3, 1, 7], [(0, 3), (1, 1), (2, 7), (2, 0)])
    numbers = []
    for chosen, batch in batches(found, windows, ("page",), slots=8):
        numbers += chosen.tolist()
        for row, window in enumerate(chosen):
            events = batch.is_event[row]
            span = slice(windows.first[window], windows.end[window])
            assert batch.item_index[row][events].tolist() == found.item_index[span].tolist()
            assert batch.context[row][events][:, 0].tolist() == found.context["page"][span].tolist()
            assert bool(batch.is_start[row].any()) == windows.has_start[window]
            gap_us = np.diff(found.event_at_us[span], prepend=found.event_at_us[span][:1])
            assert batch.gap_seconds[row][events].tolist() == (gap_us / SECOND_US).tolist()
    assert sorted(numbers) == list(range(windows.first.size))


@pytest.mark.parametrize("context_length", [-1, 4, 5])
def test_windows_that_would_not_advance_are_refused(context_length):
    with pytest.raises(ValueError, match=r"at least 0 and below max_length \(4\), given"):
        plan([9], [(0, 9)], context_length=context_length)
