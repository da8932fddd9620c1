"""Label sets: the first K high-value events after each position, with their weights.

The data plane stores targets by reference. K, the horizon H, the half-life and the interval of the labels
are applied here, so that they can change without running Spark again.

Shape legend
    n  positions given    T  high-value events given    K  most labels of a position
    P  positions that have a label
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expectations.instants import HOUR_US
from model.arrays import Flags, Floats, Ints
from model.config import ObjectiveConfig

NO_ITEM = -1
"""Item of a start token, so that no label is its own item."""
LATEST_US = int(np.iinfo(np.int64).max)
SMALLEST_WEIGHT = float(np.finfo(np.float32).tiny)
"""Smallest weight of a label, so that a weight of 0 always means "no label"."""


@dataclass(frozen=True)
class Positions:
    """Positions that labels are wanted for, in any order. A start token has NO_ITEM and lies one microsecond
    before its user's first event, so that the first event can be its label."""

    row: Ints
    """int64 [n]; number of the `sequences` row."""
    item_index: Ints
    """int64 [n]"""
    at_us: Ints
    """int64 [n]; microseconds since 1970-01-01 UTC."""


@dataclass(frozen=True)
class HighValueEvents:
    """High-value events of the rows and of their look-ahead tails, in order of row, then of time."""

    row: Ints
    """int64 [T]"""
    item_index: Ints
    """int64 [T]"""
    at_us: Ints
    """int64 [T]; microseconds since 1970-01-01 UTC."""
    reward: NDArray[np.floating]
    """float [T]; reward weight r, above 0."""


@dataclass(frozen=True)
class LabelSets:
    """Labels of the positions that have any."""

    position: Ints
    """int64 [P]; index into the positions given, ascending."""
    item_index: Ints
    """int64 [P, K]; 0 where there is no label."""
    weight: NDArray[np.float32]
    """float32 [P, K]; w of Xu et al., 2026, eq. 2, above 0 for every label, 0 where there is none."""
    first_at_us: Ints
    """int64 [P]; time of the position's first label."""
    earlier_item: Ints
    """int64 [P, K]; the position's labels that lie before the interval, NO_ITEM elsewhere. They were trained on in an
    earlier cycle, so they are no negatives now."""

    def only(self, kept: Flags) -> LabelSets:
        """The sets of some positions, bool [P]."""
        return LabelSets(
            self.position[kept],
            self.item_index[kept],
            self.weight[kept],
            self.first_at_us[kept],
            self.earlier_item[kept],
        )


def label_sets(
    positions: Positions,
    events: HighValueEvents,
    objective: ObjectiveConfig,
    after_us: int | None,
    until_us: int | None,
) -> LabelSets:
    """The first K high-value events strictly after a position and within H, one per item.

    The position's own item is skipped unless the objective keeps it. Of the K, only labels with
    after_us < time ≤ until_us are kept (None: no bound); K is counted first, so that a label belongs to
    the same positions in every cycle. Raises ValueError when the events are not in order of row and time,
    or a reward is not above 0.

    Position at 10:00 on item a; events b 10:00, c 11:00, c 12:00, a 13:00, d 14:00; K = 2 → c
    (11:00) and d; with β = 1 h and r = 1 they weigh 1/2 and 1/16.
    """
    _check(events)
    chosen = _first_distinct(positions, events, objective)  # [n, K]
    if not len(events.row):
        none = np.empty(0, np.int64)
        return LabelSets(none, chosen[:0], chosen[:0].astype(np.float32), none, chosen[:0])
    at_us = events.at_us[chosen]
    kept = chosen >= 0
    earlier = np.zeros_like(kept)
    if after_us is not None:
        earlier = kept & (at_us <= after_us)
        kept &= ~earlier
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
        earlier_item=np.where(earlier[position], events.item_index[chosen], NO_ITEM),
    )


def label_weight(reward: NDArray[np.floating], elapsed_us: Ints, half_life_hours: float | None) -> Floats:
    """w = r · exp(−ln 2 · elapsed / β) (Xu et al., 2026, eq. 2), float64, at least SMALLEST_WEIGHT.

    Reward 3, two hours later, β = 1 h → 3/4. Without a half-life w = r.
    """
    if half_life_hours is None:
        return np.asarray(reward, dtype=np.float64)
    half_lives = elapsed_us / (half_life_hours * HOUR_US)
    return np.maximum(reward * np.exp2(-half_lives), SMALLEST_WEIGHT)


def _check(events: HighValueEvents) -> None:
    if not np.all(events.reward > 0):
        raise ValueError("a high-value event has a reward that is not above 0")
    row_step, time_step = np.diff(events.row), np.diff(events.at_us)
    if np.any((row_step < 0) | ((row_step == 0) & (time_step < 0))):
        raise ValueError("high-value events are not in order of row, then of time")


def _first_distinct(positions: Positions, events: HighValueEvents, objective: ObjectiveConfig) -> Ints:
    """Indices of the first K admissible events after each position, one per item: int64 [n, K], −1 for none.

    All positions step through their events together; a position is done at K labels, at the horizon or
    at the row's end. An event repeats an item of the position's window if the previous event of that item
    lies in the window too.
    """
    first, end = _ranges(positions, events)
    before = _previous_of_same_item(events)
    horizon_us = math.inf
    if objective.horizon_hours is not None:
        horizon_us = objective.horizon_hours * HOUR_US
    chosen = np.full((len(first), objective.label_window), -1, dtype=np.int64)
    count = np.zeros(len(first), dtype=np.int64)
    pointer = first.copy()
    active = np.flatnonzero(pointer < end)
    while len(active):
        event = pointer[active]
        near = events.at_us[event] - positions.at_us[active] <= horizon_us
        admissible = near & (before[event] < first[active])
        if not objective.keep_own_item:
            admissible &= events.item_index[event] != positions.item_index[active]
        taking = active[admissible]
        chosen[taking, count[taking]] = event[admissible]
        count[taking] += 1
        pointer[active] += 1
        unfinished = (count[active] < objective.label_window) & (pointer[active] < end[active])
        active = active[near & unfinished]
    return chosen


def _ranges(positions: Positions, events: HighValueEvents) -> tuple[Ints, Ints]:
    """For each position: its row's first strictly later event, and the end of its row's events."""
    instants = np.unique(np.concatenate([positions.at_us, events.at_us]))
    stride = len(instants) + 1
    # Row and instant as one ascending key, so that one binary search serves all rows.
    event_key = events.row * stride + np.searchsorted(instants, events.at_us)
    position_key = positions.row * stride + np.searchsorted(instants, positions.at_us)
    first = np.searchsorted(event_key, position_key, side="right")
    end = np.searchsorted(event_key, positions.row * stride + stride - 1, side="right")
    return first, end


def _previous_of_same_item(events: HighValueEvents) -> Ints:
    """Index of the previous event of the same item in the same row, −1 where there is none."""
    order = np.lexsort((events.item_index, events.row))  # stable: time order within (row, item)
    row, item = events.row[order], events.item_index[order]
    same = (row[1:] == row[:-1]) & (item[1:] == item[:-1])
    previous = np.full(len(order), -1, dtype=np.int64)
    previous[order[1:][same]] = order[:-1][same]
    return previous
