"""Two states of a table are the same to the last bit, or the first difference is named."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pyspark.sql import functions as F

from expectations.tables import EVENTS, ITEMS
from spark_jobs.lake.comparison import compare
from tests.factories import START, events_frame, items_frame

EDGE = {"edges": [("genre", "a"), ("genre", "b")]}


def items(spark, *rows):
    return items_frame(spark, rows)


def test_the_order_of_rows_and_columns_counts_for_nothing(spark):
    rows = items(spark, "i1", {"item_id": "i2", **EDGE}, {"item_id": "i3", "title": None})
    found = compare(rows, rows.orderBy(F.desc("item_id")).select(*reversed(rows.columns)), ITEMS)
    assert found.same and found.rows == (3, 3) and found.differing == 0 and found.first is None


def test_a_column_that_an_older_state_lacks_counts_as_null(spark):
    rows = items(spark, "i1")
    assert compare(rows.drop("retired"), rows, ITEMS).same
    assert not compare(rows.drop("retired"), items(spark, {"item_id": "i1", "retired": True}), ITEMS).same


@pytest.mark.parametrize(
    ("one", "other", "first"),
    [
        ({"title": "x"}, {"title": None}, "title"),
        ({"title": "x", "description": None}, {"title": None, "description": "x"}, "title, description"),
        (EDGE, {"edges": [("genre", "b"), ("genre", "a")]}, "edges"),
        ({"edges": [("genre", "a, b")]}, {"edges": [("genre", "a"), ("b", "")]}, "edges"),
        ({"launched_at": START}, {"launched_at": START + timedelta(microseconds=1)}, "launched_at"),
    ],
    ids=["null", "columns", "order", "separator", "microsecond"],
)
def test_a_row_that_differs_is_named_with_its_columns(spark, one, other, first):
    states = (items(spark, "i0", {"item_id": "i1", **values}) for values in (one, other))
    found = compare(*states, ITEMS)
    assert not found.same and found.rows == (2, 2)
    assert (found.differing, found.first) == (1, f"item_id = i1: {first}")


def test_missing_and_new_rows_are_counted_and_the_smallest_key_is_named(spark):
    some, more = ([("u", "i", second) for second in range(count)] for count in (1, 3))
    missing = compare(events_frame(spark, more), events_frame(spark, some), EVENTS)
    assert (missing.rows, missing.differing) == ((3, 1), 2)
    assert missing.first == "event_id = e000002, which is missing"
    new = compare(events_frame(spark, some), events_frame(spark, more), EVENTS)
    assert new.first == "event_id = e000002, a new row"


def test_a_row_that_is_there_twice_is_a_difference(spark):
    rows = items(spark, "i1")
    found = compare(rows, rows.unionByName(rows), ITEMS)
    assert not found.same and found.rows == (1, 2)
