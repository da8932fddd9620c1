"""Label sets: the first K high-value events after every position, from references stored by Spark.

Comes in: positions and high-value events of many rows, flat. Goes out: labels and weights of every
position that has any. K, H, the half-life and the interval of the labels are applied here, so that
they can change without running Spark again. It knows neither tables nor tensors.

Shape legend
    n  positions given    T  high-value events given    K  labels of a position at most
    P  positions that have a label
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model.config import ObjectiveConfig

NO_ITEM = -1
"""Item of a start token: no label is its own item."""
MICROSECONDS_AN_HOUR = 3_600_000_000
LATEST_US = int(np.iinfo(np.int64).max)
SMALLEST_WEIGHT = float(np.finfo(np.float32).tiny)
"""A label's weight is never below this, so that a weight of 0 always means "no label"."""


@dataclass(frozen=True)
class Positions:
    """Where labels are asked for; any order. A start token stands one microsecond before its
    user's first event, with NO_ITEM, so that the first event can be its label."""

    row: np.ndarray
    """int64 [n]; number of the `sequences` row."""
    item_index: np.ndarray
    """int64 [n]"""
    at_us: np.ndarray
    """int64 [n]; microseconds since 1970-01-01 UTC."""


@dataclass(frozen=True)
class HighValueEvents:
    """High-value events of the rows and of their look-ahead tails, in order of row, then of time."""

    row: np.ndarray
    """int64 [T]"""
    item_index: np.ndarray
    """int64 [T]"""
    at_us: np.ndarray
    """int64 [T]; microseconds since 1970-01-01 UTC."""
    reward: np.ndarray
    """float [T]; reward weight r, above 0."""


@dataclass(frozen=True)
class LabelSets:
    """Labels of the positions that have any."""

    position: np.ndarray
    """int64 [P]; index into the positions given, ascending."""
    item_index: np.ndarray
    """int64 [P, K]; 0 where there is no label."""
    weight: np.ndarray
    """float32 [P, K]; w of Xu et al., 2026, eq. 2, above 0 for every label, 0 where there is none."""
    first_at_us: np.ndarray
    """int64 [P]; time of the position's first label."""


def label_sets(
    positions: Positions,
    events: HighValueEvents,
    objective: ObjectiveConfig,
    after_us: int | None,
    until_us: int | None,
) -> LabelSets:
    """First K high-value events strictly later than a position and within H, one per item.

    The position's own item is left out unless the objective keeps it. Of these, only labels with
    after_us < time ≤ until_us are kept (None does not bind); the K are counted before that, so a
    label belongs to the same positions in every cycle. Raises ValueError when the events are not
    in order of row and time, or a reward is not above 0.

    Position at 10:00 on item a; events b 10:00, c 11:00, c 12:00, a 13:00, d 14:00; K = 2 → c
    (11:00) and d; with β = 1 h and r = 1 they weigh 1/2 and 1/16.
    """
    _check(events)
    chosen = _first_distinct(positions, events, objective)  # [n, K], -1 where there is none
    if not len(events.row):
        none = np.empty(0, np.int64)
        return LabelSets(none, chosen[:0], chosen[:0].astype(np.float32), none)
    at_us = events.at_us[chosen]
    kept = chosen >= 0
    if after_us is not None:
        kept &= at_us > after_us
    if until_us is not None:
        kept &= at_us <= until_us
    position = np.flatnonzero(kept.any(axis=1))
    kept, chosen = kept[position], chosen[position]
    elapsed_us = np.where(kept, at_us[position] - positions.at_us[position, None], 0)
    weight = label_weight(events.reward[chosen], elapsed_us, objective.half_life_hours)
    return LabelSets(
        position=position,
        item_index=np.where(kept, events.item_index[chosen], 0),
        weight=np.where(kept, weight, 0).astype(np.float32),
        first_at_us=np.where(kept, at_us[position], LATEST_US).min(axis=1, initial=LATEST_US),
    )


def label_weight(reward: np.ndarray, elapsed_us: np.ndarray, half_life_hours: float | None) -> np.ndarray:
    """w = r · exp(−ln 2 · elapsed / β) (Xu et al., 2026, eq. 2), float64, not below SMALLEST_WEIGHT.

    Reward 3, two hours later, β = 1 h → 3/4. Without a half-life w = r.
    """
    if half_life_hours is None:
        return np.asarray(reward, dtype=np.float64)
    half_lives = elapsed_us / (half_life_hours * MICROSECONDS_AN_HOUR)
    return np.maximum(reward * np.exp2(-half_lives), SMALLEST_WEIGHT)


def _check(events: HighValueEvents) -> None:
    if not np.all(events.reward > 0):
        raise ValueError("a high-value event has a reward that is not above 0")
    row_step, time_step = np.diff(events.row), np.diff(events.at_us)
    if np.any((row_step < 0) | ((row_step == 0) & (time_step < 0))):
        raise ValueError("high-value events must be in order of row, then of time")


def _first_distinct(positions: Positions, events: HighValueEvents, objective: ObjectiveConfig) -> np.ndarray:
    """Index of the first K admissible events after every position, one per item: int64 [n, K].

    All positions walk through their events side by side; a walk ends with K labels, at the horizon
    or at the row's end. An event repeats its item within a position's window when the event of
    that item before it lies in the window too.
    """
    first, end = _ranges(positions, events)
    before = _previous_of_same_item(events)
    horizon_us = math.inf
    if objective.horizon_hours is not None:
        horizon_us = objective.horizon_hours * MICROSECONDS_AN_HOUR
    chosen = np.full((len(first), objective.label_window), -1, dtype=np.int64)
    found = np.zeros(len(first), dtype=np.int64)
    pointer = first.copy()
    walking = np.flatnonzero(pointer < end)
    while len(walking):
        event = pointer[walking]
        near = events.at_us[event] - positions.at_us[walking] <= horizon_us
        admissible = near & (before[event] < first[walking])
        if not objective.keep_own_item:
            admissible &= events.item_index[event] != positions.item_index[walking]
        taking = walking[admissible]
        chosen[taking, found[taking]] = event[admissible]
        found[taking] += 1
        pointer[walking] += 1
        unfinished = (found[walking] < objective.label_window) & (pointer[walking] < end[walking])
        walking = walking[near & unfinished]
    return chosen


def _ranges(positions: Positions, events: HighValueEvents) -> tuple[np.ndarray, np.ndarray]:
    """Of every position: its row's first event strictly later, and the end of its row's events."""
    instants = np.unique(np.concatenate([positions.at_us, events.at_us]))
    stride = len(instants) + 1
    # Row and instant as one ascending number, so that one binary search serves all rows.
    event_key = events.row * stride + np.searchsorted(instants, events.at_us)
    position_key = positions.row * stride + np.searchsorted(instants, positions.at_us)
    first = np.searchsorted(event_key, position_key, side="right")
    end = np.searchsorted(event_key, positions.row * stride + stride - 1, side="right")
    return first, end


def _previous_of_same_item(events: HighValueEvents) -> np.ndarray:
    """Index of the event before in the same row with the same item, −1 where there is none."""
    order = np.lexsort((events.item_index, events.row))  # stable: time order within (row, item)
    row, item = events.row[order], events.item_index[order]
    same = (row[1:] == row[:-1]) & (item[1:] == item[:-1])
    previous = np.full(len(order), -1, dtype=np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous
