"""Item signals are those of a plain loop over events in float64, at any instant."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.item_signals import item_signals
from model.network.item_signals import (
    HIGH_VALUE_SMOOTHING,
    MIDDLE_SMOOTHING,
    SMOOTHING,
    ItemSignals,
    ItemTerm,
)

DAY = 86_400
ITEMS, HALF_LIVES, BUCKET = 4, (0.25, 1.0, 400.0), 3600.0
EVENTS = st.lists(
    st.tuples(st.integers(0, ITEMS - 2), st.floats(0, 200), st.booleans()), max_size=30
)  # item, hours, high-value


def table_of(events: list[tuple[int, float, bool]]) -> ItemSignals:
    """The rows that the data plane writes for some events."""
    rows = []
    for item in range(ITEMS):
        own = [(hours * 3600, high) for other, hours, high in events if other == item]
        for end in sorted({(math.floor(at / BUCKET) + 1) * BUCKET for at, _ in own}):
            before = [(at, high) for at, high in own if at < end]
            decayed = [sum(2 ** (-(end - at) / DAY / h) for at, _ in before) for h in HALF_LIVES]
            high = sum(2 ** (-(end - at) / DAY / HALF_LIVES[1]) for at, is_high in before if is_high)
            rows.append((item, int(end * 1e6), len(before), int(min(before)[0] * 1e6), decayed, high))
    rows = rows[::-1]
    kinds = (pa.int32(), pa.int64(), pa.int64(), pa.int64(), pa.list_(pa.float64()), pa.float64())
    columns = zip(*rows, strict=True) if rows else ([],) * 6
    names = ("item_index", "bucket_end_us", "events", "first_event_at_us", "decayed", "decayed_high_value")
    batch = pa.record_batch(
        {name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)}
    )
    return item_signals([batch], ITEMS, HALF_LIVES, int(BUCKET * 1e6))


def oracle(events: list[tuple[int, float, bool]], item: int, at: float, launch: float) -> list[float]:
    own = [(hours * 3600, high) for other, hours, high in events if other == item and hours * 3600 < at]
    counts = [sum(2 ** (-(at - time) / DAY / h) for time, _ in own) for h in HALF_LIVES]
    high = sum(2 ** (-(at - time) / DAY / HALF_LIVES[1]) for time, is_high in own if is_high)
    share = math.log(high + HIGH_VALUE_SMOOTHING) - math.log(counts[1] + MIDDLE_SMOOTHING)
    age = math.log1p((at - min(own)[0]) / 3600) if own else 0.0
    smooth = [*(math.log(count + SMOOTHING) for count in (*counts, len(own))), share, age]
    days = (at - launch) / DAY
    known = not math.isnan(launch)
    launched = [math.log1p(max(days, 0)) / 4 if known else 0.0, not known, known and days < -1, not own]
    return [(value + 3) / 3 for value in smooth] + [float(value) for value in launched]


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, hours=st.lists(st.floats(0, 260), min_size=1, max_size=4))
def test_signals_as_of_any_instant_are_those_of_a_loop(events, hours):
    signals = table_of(events)
    launches = torch.tensor([math.nan, 0.0, 90.0 * 3600, 500.0 * 3600], dtype=torch.float64)
    instants = signals.floor(torch.tensor(sorted(hours), dtype=torch.float64) * 3600).unique()
    items = torch.tensor([2, 0, 3, 1])
    rows = signals.rows_of_all(items, instants)
    shared = signals.signals(rows, items, instants[:, None], launches)
    pairs = torch.cartesian_prod(torch.arange(len(instants)), items)
    at = instants[pairs[:, 0]]
    assert torch.equal(signals.rows_of(pairs[:, 1], at), rows.flatten())
    own = signals.signals(rows.flatten(), pairs[:, 1], at, launches)
    assert torch.equal(own.view_as(shared), shared)
    for (number, item), values in zip(pairs.tolist(), own.tolist(), strict=True):
        expected = oracle(events, item, float(instants[number]), float(launches[item]))
        assert values == pytest.approx(expected, abs=2e-5)


def test_an_event_in_the_bucket_of_the_request_or_later_does_not_count():
    events = [(0, 1.5, True), (1, 2.2, False)]
    planted = [*events, (0, 5.0, True), (0, 5.4, True), (1, 7.0, False)]
    at = torch.tensor([5.5 * 3600], dtype=torch.float64)
    values = []
    for log in (events, planted):
        signals = table_of(log)
        floor = signals.floor(at)
        items = torch.arange(ITEMS)
        values.append(signals.signals(signals.rows_of_all(items, floor), items, floor[:, None], None))
    assert torch.equal(*values)


def test_an_untouched_item_stays_finite_after_thousands_of_half_lives():
    signals = table_of([(0, 0.0, True)])
    at = torch.tensor([10_000.0 * DAY], dtype=torch.float64)
    items = torch.arange(ITEMS)
    values = signals.signals(signals.rows_of_all(items, at), items, at[:, None], None)
    assert values.isfinite().all()
    assert values[0, 0, :2].tolist() == pytest.approx([(math.log(SMOOTHING) + 3) / 3] * 2, abs=1e-6)


def test_training_starts_as_decayed_popularity():
    torch.manual_seed(0)
    term = ItemTerm(signals=10, half_lives=3, width=8)
    with torch.no_grad():
        term.weights.weight.zero_()
        values = torch.rand(5, 10)
        scores = term.features(values) @ term(torch.zeros(8))
    assert np.argsort(scores.numpy()).tolist() == np.argsort(values[:, 1].numpy()).tolist()
