"""Rows of `item_signals` become states by item and time."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
import torch

from model.data.delta import TableError
from model.data.item_signals import COLUMNS, item_signals
from model.network.item_signals import NO_LOG

KINDS = (
    pa.int32(),
    pa.int64(),
    pa.int64(),
    pa.int64(),
    pa.list_(pa.float64()),
    pa.float64(),
)
ROWS = [
    (2, 20_000_000, 4, 5_000_000, [1.5, 3.0], 1.0),
    (0, 30_000_000, 2, 3_000_000, [0.5, 1.0], 0.0),
    (2, 10_000_000, 1, 5_000_000, [1.0, 1.0], 1.0),
]
"""item_index, bucket_end_us, events, first_event_at_us, decayed, decayed_high_value."""


def batch(*rows: tuple) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        {name: pa.array(column, kind) for name, column, kind in zip(COLUMNS, columns, KINDS, strict=True)}
    )


def test_states_are_ordered_by_item_and_time_however_rows_come():
    signals = item_signals([batch(*ROWS)], 4, (1.0, 2.0), 10_000_000)
    assert signals.offset.tolist() == [0, 1, 1, 3, 3]
    assert signals.end_seconds.tolist() == [30.0, 10.0, 20.0]
    expected = [
        [math.log(0.5), 0.0, NO_LOG, math.log(2)],
        [0.0, 0.0, 0.0, 0.0],
        [math.log(1.5), math.log(3), 0.0, math.log(4)],
        [NO_LOG] * 4,
    ]
    assert torch.allclose(signals.state, torch.tensor(expected))
    assert signals.first_seconds[[0, 2]].tolist() == [3.0, 5.0]
    assert signals.first_seconds[[1, 3]].isnan().all()
    assert (signals.half_lives_days, signals.bucket_seconds, signals.count) == ((1.0, 2.0), 10.0, 4)
    apart = item_signals([batch(row) for row in ROWS[::-1]], 4, (1.0, 2.0), 10_000_000)
    assert torch.equal(apart.state, signals.state) and torch.equal(apart.end_seconds, signals.end_seconds)


def test_without_rows_no_item_has_an_event():
    signals = item_signals([], 2, (1.0,), 10_000_000)
    assert signals.offset.tolist() == [0, 0, 0] and signals.state.tolist() == [[NO_LOG] * 3]
    assert signals.first_seconds.isnan().all()


def test_an_unknown_item_is_an_error():
    with pytest.raises(TableError, match="item_signals"):
        item_signals([batch(*ROWS)], 2, (1.0, 2.0), 10_000_000)
