"""The suite on item signals: counts of the events pass; each broken row is found and named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from expectations.instants import HOUR_US, microseconds
from expectations.runner import judge
from expectations.suites import item_signals as suite
from expectations.tables import EVENTS, ITEM_SIGNALS, ITEMS
from tests.expectations.suites.frames import failing, frame, names, outcomes

DAY = datetime(2024, 1, 9, tzinfo=UTC)
LIMITS = suite.Limits(
    split=DAY.replace(hour=10, minute=30),
    cutoff=DAY.replace(hour=12),
    items=9,
    half_lives_days=(1 / 24, 1 / 12),
    bucket_us=HOUR_US,
)


def at(hour, minute=0):
    return microseconds(DAY.replace(hour=hour, minute=minute))


def row(item, hour, *ages, **values):
    """The row of an item whose bucket ends at this hour, after events of these ages in hours, the first the
    oldest; each is high-value."""
    end = at(hour)
    long = sum(2 ** (-age / 2) for age in ages)
    return {
        "cycle": "2024-01-10",
        "after_split": hour > 10,
        "item_index": item,
        "bucket_end_us": end,
        "events": len(ages),
        "first_event_at_us": end - int(ages[0] * HOUR_US),
        "decayed": [sum(2**-age for age in ages), long],
        "decayed_high_value": long,
    } | values


def judged(spark, signals, histories):
    """`histories`: by item, (hour, minute) of its events."""
    events = [
        {"item_id": f"i{item}", "event_at": DAY.replace(hour=hour, minute=minute)}
        for item, moments in histories.items()
        for hour, minute in moments
    ]
    events.append({"item_id": "i0", "event_at": DAY.replace(hour=12, minute=1)})  # past the cutoff
    items = frame(spark, ITEMS, [{"item_id": f"i{index}", "item_index": index} for index in range(9)])
    rows = frame(spark, ITEM_SIGNALS, signals).coalesce(1)
    batches = suite.batches(rows, frame(spark, EVENTS, events), items, LIMITS)
    return judge("item_signals", batches, suite.expectations(LIMITS), suite.AGGREGATES)


SOUND = [row(0, 1, 0.5), row(0, 3, 2.5, 0.75, 0.25), row(4, 11, 0.25), row(4, 13, 2.25, 1)]
HISTORIES = {0: [(0, 30), (2, 15), (2, 45)], 4: [(10, 45), (12, 0)]}


def test_sound_rows_pass(spark):
    assert outcomes(judged(spark, SOUND, HISTORIES)) == {}


def test_each_broken_row_is_found(spark):
    rows = [
        row(0, 1, 0.5, item_index=9),
        row(1, 2, 0.5, decayed=[0.5], after_split=True),
        row(2, 12, 0.5, after_split=False),
        row(3, 15, 0.5),
        row(4, 4, 0.5, decayed=[float("inf"), float("inf")]),
        row(5, 5, 0.5, decayed=[-0.5, 0.1], decayed_high_value=-0.1),
        row(6, 6, 0.5, decayed=[0.9, 0.8]),
        row(6, 6, 0.5),
        row(7, 7, 0.5, events=0, first_event_at_us=at(7)),
        row(8, 8, 0.5, decayed_high_value=0.99, bucket_end_us=at(8, 1)),
    ]
    result = judged(spark, rows, {item: [(item, 30)] for item in range(2, 7)} | {8: [(7, 30), (7, 31)]})
    assert outcomes(result) == dict.fromkeys(
        (
            "item_index_bucket_end_us_unique",
            "item_index_in_range",
            "half_lives_in_range",
            "decayed_finite",
            "decayed_at_most_events",
            "high_value_at_most_all",
            "longer_half_lives_keep_more",
            "on_the_grid",
            "nothing_past_the_split",
            "nothing_hidden",
            "nothing_past_the_cutoff",
            "buckets_add_up",
            "events_add_up",
            "first_event_true",
            "decayed_true",
        ),
        "failed",
    )
    rest = {"item_signals_not_empty", "first_event_constant"}
    assert names(suite.expectations(LIMITS)) - set(outcomes(result)) == rest


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"events": 4}, "events_add_up"),
        ({"first_event_at_us": at(0, 29)}, "first_event_constant"),
        ({"decayed": [1.0, 2.0]}, "decayed_true"),
        ({"decayed": [None, 2.0]}, "half_lives_in_range"),
    ],
)
def test_one_wrong_value_in_a_sound_table_is_found(spark, change, name):
    result = judged(spark, [SOUND[0], SOUND[1] | change, *SOUND[2:]], HISTORIES)
    assert outcomes(result)[name] == "failed"


def test_a_missing_row_and_a_missing_item_are_found(spark):
    result = judged(spark, SOUND[1:3], HISTORIES)
    assert failing(result, "buckets_add_up") == [
        (0, "2024-01-09T01:00:00+00:00", 0, 1),
        (0, "2024-01-09T03:00:00+00:00", 3, 2),
        (4, "2024-01-09T13:00:00+00:00", 0, 1),
    ]
    assert failing(result, "events_add_up") == [(4, 1, 2)]
    assert [keys[0] for keys in failing(result, "decayed_true")] == [4]


def test_an_empty_table_does_not_pass(spark):
    result = judged(spark, [], HISTORIES)
    failed = {"item_signals_not_empty", "buckets_add_up", "events_add_up", "first_event_true", "decayed_true"}
    assert outcomes(result) == dict.fromkeys(failed, "failed")
