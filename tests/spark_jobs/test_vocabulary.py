"""`vocabulary`: which items get a token, which keep one, and the cold-start rate."""

from __future__ import annotations

from collections import Counter

import pytest

from expectations import tables
from spark_jobs import vocabulary
from tests.factories import CUTOFFS, WINDOW, events_frame, items_frame


def events_of(spark, **counts):
    """Events of one user: `a=3` is three events of item a."""
    return events_frame(spark, [("u", item, 1) for item, count in counts.items() for _ in range(count)])


def parent_frame(spark, *rows):
    """The parent's rows from (item_token, item_index, added_in, retired)."""
    full = [("before", token, index, 9, added_in, retired) for token, index, added_in, retired in rows]
    return spark.createDataFrame(full, tables.VOCABULARY.ddl)


def by_token(frame):
    return [tuple(row[1:]) for row in sorted(frame.collect(), key=lambda row: row["item_token"])]


def test_items_with_enough_events_get_tokens_most_events_first(spark):
    items = items_frame(spark, ["d", "c", "b", "a"])
    rows = vocabulary.vocabulary(events_of(spark, a=3, b=2, c=5, d=3), items, None, "now", 3)
    # Columns: item_token, item_index, event_count, added_in, retired. Equal counts go by item_id.
    assert by_token(rows) == [
        (0, 1, 5, "now", False),
        (1, 3, 3, "now", False),
        (2, 0, 3, "now", False),
    ]


def test_the_parents_tokens_are_kept_and_new_ones_follow(spark):
    items = items_frame(spark, ["a", "b", "c", "d"])
    parent = parent_frame(spark, (0, 2, "first", False), (1, 0, "before", True))
    rows = vocabulary.vocabulary(events_of(spark, a=1, b=9, d=4), items, parent, "now", 4)
    assert by_token(rows) == [
        (0, 2, 0, "first", False),
        (1, 0, 1, "before", True),
        (2, 1, 9, "now", False),
        (3, 3, 4, "now", False),
    ]


def test_an_item_is_retired_where_items_says_so_and_stays_as_it_was_where_it_says_nothing(spark):
    said = {"a": True, "b": False, "c": None, "d": None, "e": True}
    items = items_frame(spark, [{"item_id": name, "retired": retired} for name, retired in said.items()])
    parent = parent_frame(
        spark, (0, 0, "first", False), (1, 1, "first", True), (2, 2, "first", True), (3, 3, "first", False)
    )
    rows = vocabulary.vocabulary(events_of(spark, e=5), items, parent, "now", 4)
    assert [(row[1], row[4]) for row in by_token(rows)] == [
        (0, True),
        (1, False),
        (2, True),
        (3, False),
        (4, True),
    ]
    older = vocabulary.vocabulary(events_of(spark, e=5), items.drop("retired"), parent, "now", 4)
    assert [row[4] for row in by_token(older)] == [False, True, True, False, False]


def test_no_event_passes_through_python(spark, plan_of):
    events, items = events_of(spark, a=1), items_frame(spark, ["a"])
    parent = parent_frame(spark, (0, 0, "first", False))
    for rows in (
        vocabulary.vocabulary(events, items, parent, "now", 1),
        vocabulary.count_cold(events, items),
    ):
        plan = plan_of(rows)
        assert "HashAggregate" in plan and "Python" not in plan


def test_cold_events_are_those_of_items_outside_the_vocabulary(spark):
    high_value = events_of(spark, a=6, b=3, c=1)
    known = items_frame(spark, ["a", "x"])
    assert tuple(vocabulary.count_cold(high_value, known).first()) == (10, 4)


def test_masking_rate_is_the_cold_share_between_floor_and_ceiling():
    assert vocabulary.masking_rate(3, 10, 0.02, 0.5) == 3 / 10
    assert vocabulary.masking_rate(0, 10, 0.02, 0.5) == 0.02
    assert vocabulary.masking_rate(9, 10, 0.02, 0.5) == 0.5
    assert vocabulary.masking_rate(0, 0, 0.02, 0.5) == 0.02


def cold_share(events, known, after, until):
    """(cold labels, labels) of the log's lines in (after, until], counted in plain Python."""
    labels = [
        event["item"]
        for event in events
        if after < event["ts"] <= until and event["action"] in ("played", "wishlist")
    ]
    return sum(item not in known for item in labels), len(labels)


def test_planted_events_change_nothing_and_a_second_run_changes_nothing(
    spark, plain_lake, planted_lake, rows_of, same
):
    job = plain_lake.job()
    result, planted = vocabulary.main(spark, job), vocabulary.main(spark, planted_lake.job())
    rows = rows_of(job, tables.VOCABULARY, result)
    assert result.figures == planted.figures
    assert same(rows, rows_of(planted_lake.job(), tables.VOCABULARY, planted))
    again = vocabulary.main(spark, job)
    assert again.figures == result.figures
    assert same(rows, rows_of(job, tables.VOCABULARY, again))


def test_two_cycles_keep_tokens_and_measure_the_cold_start_rate(spark, plain_lake, rows_of):
    events, first = plain_lake.log.events, plain_lake.job()
    result = vocabulary.main(spark, first)
    window, split = WINDOW.total_seconds(), first.split.timestamp()
    counts = Counter(event["item"] for event in events if event["ts"] <= split - window)
    known = {item for item, count in counts.items() if count >= 3}
    cold, labels = cold_share(events, known, split - window, split)
    assert (result.figures.cold_labels, result.figures.labels) == (cold, labels)
    assert result.figures.cold_start_rate == cold / labels

    second = plain_lake.job(CUTOFFS[2], versions=result.versions, parent=CUTOFFS[0])
    grown = vocabulary.main(spark, second)
    before = by_token(rows_of(first, tables.VOCABULARY, result))
    after = by_token(rows_of(second, tables.VOCABULARY, grown))
    assert [row[:2] for row in after[: len(before)]] == [row[:2] for row in before]
    assert {row[3] for row in after[: len(before)]} == {first.cycle}
    assert {row[3] for row in after[len(before) :]} == {second.cycle}
    known = {plain_lake.log.items[row[1]]["item"] for row in before}
    cold, labels = cold_share(events, known, split, second.split.timestamp())
    assert (grown.figures.cold_labels, grown.figures.labels) == (cold, labels)
    assert grown.figures.cold_start_rate == cold / labels > 0


def test_a_parent_without_rows_is_an_error(spark, plain_lake):
    result = vocabulary.main(spark, plain_lake.job())
    orphan = plain_lake.job(CUTOFFS[2], versions=result.versions, parent=CUTOFFS[1])
    with pytest.raises(ValueError, match="the parent cycle 2024-02-20 has no rows"):
        vocabulary.main(spark, orphan)
