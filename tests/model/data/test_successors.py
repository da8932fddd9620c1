"""Counts of what followed what are those of a plain loop over the log, as of any instant."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.successors import BACKWARD, NONE, SKIP_DECAY, Counts, SuccessorLog, successor_log

ITEMS = 6
REACH = 3
EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, ITEMS - 1), st.integers(0, 20)), min_size=1, max_size=40
)


def log_of(events: list[tuple[int, int, int]]) -> SuccessorLog:
    """The log of (user, item, time) triples."""
    histories: dict[int, list[int]] = {}
    rows = []
    for user, item, at in sorted(events, key=lambda event: event[2]):
        before = histories.setdefault(user, [])
        if before:
            rows.append((item, at, before[::-1][:REACH]))
        before.append(item)
    return batch_log(rows)


def batch_log(rows: list[tuple[int, int, list[int]]]) -> SuccessorLog:
    item, at, previous = zip(*rows, strict=True) if rows else ((), (), ())
    batch = pa.record_batch(
        {
            "item_index": pa.array(item, pa.int32()),
            "event_at_us": pa.array(at, pa.int64()),
            "previous_items": pa.array(previous, pa.list_(pa.int32())),
        }
    )
    return successor_log([batch])


def oracle(log: SuccessorLog, at: int) -> tuple[np.ndarray, np.ndarray]:
    """N and K of the events before an instant."""
    followed, near = np.zeros((ITEMS, ITEMS)), np.zeros((ITEMS, ITEMS))
    for item, time, previous in zip(log.item_index, log.event_at_us, log.previous, strict=True):
        if time >= at:
            continue
        if previous[0] != item:
            followed[previous[0], item] += 1
        for distance, before in enumerate(previous):
            if before not in (NONE, item):
                near[before, item] += SKIP_DECAY**distance
                near[item, before] += BACKWARD * SKIP_DECAY**distance
    return followed, near


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, instants=st.lists(st.integers(0, 22), min_size=1, max_size=5))
def test_counts_as_of_any_instant_are_those_of_a_loop(events, instants):
    log = log_of(events)
    counts = Counts(log, ITEMS)
    counts._most_recent = 4  # so that pairs are merged more than once
    begin = min(instants)
    for first, last in itertools.pairwise([begin, *sorted(instants)]):
        counts.move(first, last)
        for at in (first, last):
            wanted = np.array([4, 0, 2])
            for get, expected in zip((counts.followed, counts.near), oracle(log, at), strict=True):
                matrix, added = get(wanted, np.full(3, at))
                rows = matrix.merged[wanted].toarray().astype(float)
                np.add.at(rows, (added.query, added.target), added.weight)
                assert rows == pytest.approx(expected[wanted], rel=1e-6)
                total = matrix.total[wanted] + added.total
                assert total == pytest.approx(expected[wanted].sum(axis=1), abs=1e-9)


def test_the_order_of_rows_does_not_matter():
    rows = [(1, 5, [0]), (2, 5, [1, 0]), (0, 3, [2])]
    one, other = batch_log(rows), batch_log(rows[::-1])
    assert one.event_at_us.tolist() == [3, 5, 5] == other.event_at_us.tolist()
    assert one.item_index.tolist() == other.item_index.tolist()
    assert one.previous.tolist() == [[2, NONE], [0, NONE], [1, 0]] == other.previous.tolist()


def test_an_empty_table_gives_no_counts():
    counts = Counts(successor_log([]), ITEMS)
    counts.move(0, 10)
    matrix, added = counts.near(np.array([0, 1]), np.array([5, 5]))
    assert matrix.merged.nnz == 0 and not matrix.total.any() and added.query.size == 0
