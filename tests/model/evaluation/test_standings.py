"""Ranks among changing scores, by hand and against counting every item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.instants import HOUR_US
from model.evaluation.standings import ALWAYS, NEVER, Changes, Standings, count_above
from tests.model.window_of import eligible


def changes(*rows: tuple[int, int, int]) -> Changes:
    """Changes as (item, hour, level)."""
    item, hour, level = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return Changes(item, hour * HOUR_US, level)


def at(*hours: int) -> np.ndarray:
    return np.array(hours, dtype=np.int64) * HOUR_US


def test_entries_of_a_prefix_above_and_equal_to_a_value():
    above, equal = count_above(np.array([3, 1, 2, 3]), np.array([3, 4, 0, 4]), np.array([2, 3, 2, 0]))
    assert above.tolist() == [1, 0, 0, 4]
    assert equal.tolist() == [1, 2, 0, 0]


def test_a_level_holds_from_its_change_on_and_the_last_of_one_instant_wins():
    standings = Standings.of(
        changes((0, 5, 2), (0, 5, 3), (1, 6, 3), (0, 7, 0)), eligible(3), ALWAYS, NEVER - 1
    )
    times = at(4, 5, 6, 7)
    assert standings.level_of(np.zeros(4, np.int64), times).tolist() == [0, 3, 3, 0]
    higher, equal = standings.counts(np.full(4, 0), times)
    assert higher.tolist() == [0, 1, 2, 1]
    assert equal.tolist() == [3, 2, 1, 2]
    higher, equal = standings.counts(np.full(4, 1), times)  # a level that no item has
    assert (higher.tolist(), equal.tolist()) == ([0, 1, 2, 1], [0, 0, 0, 0])


def test_items_take_part_from_their_launch_and_retired_ones_never():
    standings = Standings.of(changes((1, 1, 5), (2, 1, 9)), eligible(3, {1: 4.0}, retired=(2,)), 0, NEVER - 1)
    assert standings.level_of(np.array([1, 1, 2]), at(3, 4, 4)).tolist() == [-1, 5, -1]
    assert standings.counts(np.zeros(2, np.int64), at(3, 4))[0].tolist() == [0, 1]


def test_no_label_and_no_item_count_nothing():
    nothing = Changes(*[np.empty(0, np.int64)] * 3)
    none = Standings.of(nothing, eligible(1, retired=(0,)), 0, 1)
    assert none.level_of(np.array([0]), at(0)).tolist() == [-1]
    assert none.counts(np.array([0]), at(0)) == (0, 0)
    higher, equal = Standings.of(nothing, eligible(2), NEVER, ALWAYS).counts(np.empty(0, np.int64), at())
    assert higher.size == equal.size == 0
    assert none.top(at(0), 2).tolist() == [[-1, -1]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counts_are_those_of_going_through_every_item(seed):
    draw = np.random.default_rng(seed)
    items, size = 8, int(draw.integers(0, 60))
    hours = np.sort(draw.integers(0, 40, size))
    rows = [(int(draw.integers(0, items)), int(hour), int(draw.integers(0, 5))) for hour in hours]
    launched = {2: 11.0, 5: 30.0}
    pool, times = eligible(items, launched, retired=(3,)), at(*sorted(draw.integers(5, 45, 12)))
    standings = Standings.of(changes(*rows, (0, 99, 1)), pool, int(times[0]), int(times[-1]))
    counted = [standings.counts(np.full(12, level), times) for level in range(6)]
    for number, time in enumerate(times):
        now = np.zeros(items, np.int64)
        for item, hour, value in rows:
            if hour * HOUR_US <= time:
                now[item] = value
        there = np.array([i != 3 and launched.get(i, 0) * HOUR_US <= time for i in range(items)])
        for level, (higher, equal) in enumerate(counted):
            assert higher[number] == (now[there] > level).sum()
            assert equal[number] == (now[there] == level).sum()
        order = sorted(np.flatnonzero(there), key=lambda item: (-now[item], launched.get(item, 0), item))
        for k in (1, 3, items):
            assert standings.top(times, k)[number].tolist() == [*order, *[-1] * k][:k]
        found = standings.level_of(np.arange(items), np.full(items, time))
        assert found.tolist() == np.where(there, now, -1).tolist()


@pytest.mark.parametrize("bits", [0, 1, 7])
def test_values_of_any_width(bits):
    sequence = np.arange(2**bits, dtype=np.int64)[::-1].copy()
    above, equal = count_above(sequence, np.full(sequence.size, sequence.size), sequence)
    assert above.tolist() == list(range(sequence.size))
    assert set(equal.tolist()) == {1}
