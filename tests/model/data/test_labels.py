"""Label sets by hand and against brute force."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.instants import HOUR_US
from model.config import ObjectiveConfig
from model.data.labels import (
    NO_ITEM,
    SMALLEST_WEIGHT,
    HighValueEvents,
    LabelSets,
    Positions,
    label_sets,
    label_weight,
)

A, B, C, D = 1, 2, 3, 4


def _hours(*hours: float) -> np.ndarray:
    return np.array([round(hour * HOUR_US) for hour in hours], dtype=np.int64)


def _positions(*positions: tuple[int, int, float]) -> Positions:
    """Positions as (row, item, hour)."""
    row, item, hour = zip(*positions, strict=True)
    return Positions(np.array(row), np.array(item), _hours(*hour))


def _events(*events: tuple[int, int, float, float]) -> HighValueEvents:
    """Events as (row, item, hour, reward)."""
    row, item, hour, reward = zip(*events, strict=True) if events else ((), (), (), ())
    integer = np.int64
    return HighValueEvents(
        np.array(row, integer), np.array(item, integer), _hours(*hour), np.array(reward, np.float64)
    )


def _pairs(sets: LabelSets) -> dict[int, list[tuple[int, float]]]:
    """Position → its (item, weight) pairs."""
    return {
        int(position): [(int(i), float(w)) for i, w in zip(items, weights, strict=True) if w > 0]
        for position, items, weights in zip(sets.position, sets.item_index, sets.weight, strict=True)
    }


def test_labels_are_the_first_distinct_later_items_without_the_positions_own():
    objective = ObjectiveConfig(label_window=2, half_life_hours=1.0)
    events = _events((0, B, 10, 1), (0, C, 11, 1), (0, C, 12, 1), (0, A, 13, 1), (0, D, 14, 1))
    sets = label_sets(_positions((0, A, 10)), events, objective, None, None)
    assert _pairs(sets) == {0: [(C, 1 / 2), (D, 1 / 16)]}
    kept = label_sets(
        _positions((0, A, 10)), events, objective.model_copy(update={"keep_own_item": True}), None, None
    )
    assert _pairs(kept) == {0: [(C, 1 / 2), (A, 1 / 8)]}


def test_rewards_horizon_and_equal_times():
    objective = ObjectiveConfig(label_window=5, horizon_hours=2.0, half_life_hours=None)
    events = _events((0, B, 1, 3), (0, C, 3, 2), (0, D, 3.001, 1))
    sets = label_sets(_positions((0, A, 1), (0, A, 0.5), (0, A, 4)), events, objective, None, None)
    # From 1 h: B is not later, C is exactly at the horizon, D beyond it. From 0.5 h: B alone.
    assert _pairs(sets) == {0: [(C, 2)], 1: [(B, 3)]}
    assert sets.weight.dtype == np.float32 and sets.item_index.shape == (2, 5)


def test_the_interval_is_half_open_and_does_not_shift_the_window():
    objective = ObjectiveConfig(label_window=2, half_life_hours=None)
    events = _events((0, B, 1, 1), (0, C, 2, 1), (0, D, 3, 1))
    parent_split, split = (int(hour) for hour in _hours(1, 2))
    sets = label_sets(_positions((0, A, 0), (0, A, 1), (0, A, 2)), events, objective, parent_split, split)
    # From 0 h the window is B, C: B is the parent's. From 1 h it is C, D: D lies past the split.
    assert _pairs(sets) == {0: [(C, 1)], 1: [(C, 1)]}
    # B is the first position's label of an earlier cycle; D is not known yet, so it is no label of any.
    assert sets.earlier_item.tolist() == [[B, NO_ITEM], [NO_ITEM, NO_ITEM]]


def test_rows_do_not_mix_and_a_start_token_sees_the_first_event():
    objective = ObjectiveConfig(label_window=2, half_life_hours=1.0)
    events = _events((0, B, 5, 1), (1, C, 1, 1), (1, D, 2, 1))
    just_before = 1 - 1 / HOUR_US
    sets = label_sets(_positions((1, NO_ITEM, just_before), (0, A, 6)), events, objective, None, None)
    assert _pairs(sets) == {0: [(C, 1), (D, 1 / 2)]}


def test_a_label_always_has_a_weight():
    weight = label_weight(np.array([1.0]), _hours(24 * 365), half_life_hours=1.0)
    assert weight[0] == SMALLEST_WEIGHT and np.float32(weight[0]) > 0
    assert label_weight(np.array([3.0]), _hours(2), half_life_hours=1.0)[0] == 3 / 4


def test_without_events_there_are_no_labels():
    sets = label_sets(_positions((0, A, 0)), _events(), ObjectiveConfig(label_window=3), None, None)
    assert sets.position.shape == (0,) and sets.item_index.shape == (0, 3) and sets.weight.shape == (0, 3)


def test_unordered_events_and_rewards_of_0_are_refused():
    with pytest.raises(ValueError, match="not in order of row, then of time"):
        label_sets(_positions((0, A, 0)), _events((0, B, 2, 1), (0, C, 1, 1)), ObjectiveConfig(), None, None)
    with pytest.raises(ValueError, match="reward that is not above 0"):
        label_sets(_positions((0, A, 0)), _events((0, B, 2, 0)), ObjectiveConfig(), None, None)


EVENT = st.tuples(st.integers(1, 4), st.integers(0, 6), st.sampled_from([0.5, 1.0, 2.0]))
ROWS = st.lists(st.lists(EVENT, max_size=12), min_size=1, max_size=3)


def _brute_force(item, hour, events, objective, after, until) -> list[tuple[int, float]]:
    labels: list[tuple[int, float]] = []
    counted: set[int] = set()
    for other, at, reward in events:
        far = objective.horizon_hours is not None and at - hour > objective.horizon_hours
        own = other == item and not objective.keep_own_item
        if at <= hour or far or own or other in counted or len(counted) == objective.label_window:
            continue
        counted.add(other)
        if (after is None or at > after) and (until is None or at <= until):
            beta = objective.half_life_hours
            labels.append((other, reward if beta is None else reward * 2 ** (-(at - hour) / beta)))
    return labels


@settings(max_examples=200, deadline=None)
@given(
    ROWS,
    st.builds(
        ObjectiveConfig,
        label_window=st.integers(1, 4),
        horizon_hours=st.sampled_from([None, 1.0, 3.0]),
        half_life_hours=st.sampled_from([None, 0.5, 1.0]),
        keep_own_item=st.booleans(),
    ),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 3, 5]),
)
def test_label_sets_equal_brute_force(rows, objective, after, until):
    rows = [sorted(row, key=lambda event: event[1]) for row in rows]
    flat = [(number, *event) for number, row in enumerate(rows) for event in row]
    if not flat:
        return
    positions = _positions(*[(row, item, hour) for row, item, hour, _ in flat])
    bounds = [None if bound is None else int(_hours(bound)[0]) for bound in (after, until)]
    sets = label_sets(positions, _events(*flat), objective, *bounds)
    expected = {
        number: labels
        for number, (row, item, hour, _) in enumerate(flat)
        if (labels := _brute_force(item, hour, rows[row], objective, after, until))
    }
    assert _pairs(sets) == expected  # powers of two: exact in float32
    assert all(first < second for first, second in pairwise(sets.position.tolist()))
