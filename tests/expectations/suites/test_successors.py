"""The suite on successors: rows that continue one another pass; each broken row is found and named."""

from __future__ import annotations

from datetime import UTC, datetime

from expectations.instants import microseconds
from expectations.runner import judge
from expectations.suites import successors as suite
from expectations.tables import EVENTS, ITEMS, SUCCESSORS
from tests.expectations.suites.frames import failing, frame, names, outcomes

DAY = datetime(2024, 1, 9, tzinfo=UTC)
LIMITS = suite.Limits(split=DAY.replace(hour=10), cutoff=DAY.replace(hour=12), items=9, reach=2)


def row(user, position, hour, item, *previous, **values):
    return {
        "cycle": "2024-01-10",
        "after_split": hour > 10,
        "user_id": user,
        "position": position,
        "item_index": item,
        "event_at_us": microseconds(DAY.replace(hour=hour)),
        "previous_items": list(previous),
    } | values


def judged(spark, successors, histories):
    """`histories`: by user, (hour, item) of each event."""
    events = [
        {"user_id": user, "item_id": f"i{item}", "event_at": DAY.replace(hour=hour)}
        for user, moments in histories.items()
        for hour, item in [*moments, (13, 0)]  # the last one is past the cutoff
    ]
    items = frame(spark, ITEMS, [{"item_id": f"i{index}", "item_index": index} for index in range(9)])
    rows = frame(spark, SUCCESSORS, successors).coalesce(1)
    batches = suite.batches(rows, frame(spark, EVENTS, events), items, LIMITS)
    return judge("successors", batches, suite.expectations(LIMITS), suite.AGGREGATES)


SOUND = [row("u", 1, 3, 5, 4), row("u", 2, 3, 5, 5, 4), row("u", 3, 11, 0, 5, 5), row("v", 1, 10, 1, 1)]
HISTORIES = {"u": [(1, 4), (3, 5), (3, 5), (11, 0)], "v": [(9, 1), (10, 1)], "single": [(2, 7)]}


def test_sound_rows_pass(spark):
    assert outcomes(judged(spark, SOUND, HISTORIES)) == {}


def test_users_of_one_event_each_leave_an_empty_table_that_passes_and_a_log_without_events_does_not(spark):
    assert outcomes(judged(spark, [], {"u": [(1, 4)], "v": [(2, 4)]})) == {}
    assert outcomes(judged(spark, [], {})) == {"events_not_empty": "failed"}


def test_each_broken_row_is_found(spark):
    rows = [
        row("bounds", 1, 1, 9, -1),
        row("empty", 1, 1, 0),
        row("late", 1, 11, 0, 1, after_split=False),
        row("later", 1, 13, 0, 1),
        row("hidden", 1, 2, 0, 1, after_split=True),
        row("list", 1, 1, 2, 1),
        row("list", 2, 2, 3, 1, 1),
        row("list", 3, 1, 4, 3, 1, 1),
        row("twice", 1, 1, 0, 1),
        row("twice", 1, 1, 0, 1),
        row("starts", 2, 1, 0, 1, 1),
    ]
    histories = {name: [(0, 1), (1, 0)] for name in ("bounds", "empty", "twice", "missing")}
    histories |= {"late": [(0, 1), (11, 0)], "hidden": [(0, 1), (2, 0)]}
    histories |= {"list": [(0, 1), (1, 2), (2, 3), (3, 4)], "starts": [(0, 1), (1, 0)]}
    result = judged(spark, rows, histories)
    assert outcomes(result) == dict.fromkeys(
        (
            "user_id_position_unique",
            "smallest_previous_item_in_range",
            "largest_item_index_in_range",
            "previous_items_complete",
            "nothing_past_the_split",
            "nothing_hidden",
            "nothing_past_the_cutoff",
            "neighbours_agree",
            "rows_add_up",
            "times_add_up",
            "items_add_up",
            "total_rows",
        ),
        "failed",
    )
    assert names(suite.expectations(LIMITS)) - set(outcomes(result)) == {"events_not_empty"}
    assert failing(result, "previous_items_complete") == [("empty", 1, 0, 1), ("list", 3, 3, 2)]
    assert failing(result, "nothing_past_the_split") == [("late", 1, "2024-01-09T11:00:00+00:00")]
    assert failing(result, "neighbours_agree") == [
        ("list", 2, False),
        ("list", 3, False),
        ("starts", 2, False),
        ("twice", 1, False),
    ]
    assert failing(result, "rows_add_up") == [("later", 1, 0), ("missing", 0, 1), ("twice", 2, 1)]
    assert failing(result, "total_rows") == [(18, 8, 11, 10)]
