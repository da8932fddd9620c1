"""`successors`: what came before every event, and what the split hides."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expectations import tables
from expectations.instants import from_microseconds, microseconds
from spark_jobs import successors
from spark_jobs.config import EventMapping, SignalsConfig, SourceConfig
from spark_jobs.histories import tokens
from tests.factories import START, events_frame, items_frame
from tests.spark_jobs.random_logs import ITEMS, instants, logs, rows

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(files=("x",), format="jsonl", user="u", item="i", time="t", action="a"),
    actions=("seen", "liked"),
)


def frame(spark, log, reach=3, split=START):
    """The frame of `successors` from short rows of `events_frame`."""
    events = tokens.tokens(events_frame(spark, log), items_frame(spark, ITEMS), SOURCE, 8)
    return successors.successors(events, split, "c", reach)


def micros(seconds):
    return microseconds(START + timedelta(seconds=seconds))


def test_rows_by_hand(spark):
    log = [
        ("u", "a", 10, "seen"),
        ("u", "b", 30, "liked"),
        ("u", "c", 20, "seen"),
        ("u", "b", 30, "seen"),  # tied with the other b: lines decide
        ("v", "a", 40, "seen"),
        ("u", "a", 50, "liked"),
    ]
    found = frame(spark, log, split=START + timedelta(seconds=30)).collect()
    assert sorted(tuple(row) for row in found) == [
        # cycle, after_split, user_id, position, item_index, event_at_us, previous_items
        ("c", False, "u", 1, 2, micros(20), [0]),
        ("c", False, "u", 2, 1, micros(30), [2, 0]),
        ("c", False, "u", 3, 1, micros(30), [1, 2, 0]),
        ("c", True, "u", 4, 0, micros(50), [1, 1, 2]),
    ]


def pairs_as_of(found, instant_us):
    """How often j followed i at each distance before an instant: counts by (i, j, distance)."""
    counts = Counter()
    for row in found:
        if row["event_at_us"] < instant_us:
            for distance, item in enumerate(row["previous_items"], 1):
                counts[item, row["item_index"], distance] += 1
    return counts


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_as_of_any_instant_they_are_the_pairs_of_the_histories(spark, data):
    log, reach = data.draw(logs()), data.draw(st.sampled_from([1, 3, 10]))
    split_us = data.draw(instants(log))
    found = frame(spark, rows(log), reach, from_microseconds(split_us)).collect()
    assert all(row["after_split"] == (row["event_at_us"] > split_us) for row in found)
    histories = defaultdict(list)
    for event in log:  # in the order of time, then of lines
        histories[event.user].append(event)
    assert len(found) == len(log) - len(histories)
    for instant in [split_us, *(data.draw(instants(log)) for _ in range(5))]:
        expected = Counter(
            (ITEMS.index(history[place - distance].item), ITEMS.index(event.item), distance)
            for history in histories.values()
            for place, event in enumerate(history)
            for distance in range(1, min(place, reach) + 1)
            if event.at_us < instant
        )
        assert pairs_as_of(found, instant) == expected


def test_rows_do_not_depend_on_the_order_in_which_events_arrive(spark):
    log = [(f"u{number % 5}", ITEMS[number % 3], number * 977 % 500, "seen") for number in range(200)]
    events = tokens.tokens(events_frame(spark, log), items_frame(spark, ITEMS), SOURCE, 8)
    in_order = successors.successors(events, START, "c", 4)
    turned = successors.successors(events.repartition(5, "line_number"), START, "c", 4)
    assert in_order.exceptAll(turned).isEmpty() and turned.exceptAll(in_order).isEmpty()


def test_one_shuffle_by_user_and_no_python(spark, plan_of):
    plan = plan_of(frame(spark, [("u", "a", 1, "seen")]))
    shuffles = [line for line in plan.split("\n") if "Exchange hashpartitioning(user_id" in line]
    assert len(shuffles) == 1
    assert "Python" not in plan


def test_main_counts_and_a_second_run_changes_nothing(spark, plain_lake, rows_of, same):
    job = plain_lake.job().model_copy(update={"signals": SignalsConfig(reach=2)})
    result = successors.main(spark, job)
    until = [event for event in plain_lake.log.events if event["ts"] <= job.cutoff.timestamp()]
    lengths = Counter(event["user"] for event in until)
    figures = result.figures
    assert (figures.events, figures.users) == (len(until), len(lengths))
    assert figures.rows == len(until) - len(lengths)
    assert figures.pairs == sum(min(place, 2) for length in lengths.values() for place in range(length))
    found = rows_of(job, tables.SUCCESSORS, result)
    assert figures.rows_after_split == found.where("after_split").count() > 0
    assert figures.bytes_on_disk > 0
    again = successors.main(spark, job)
    assert again.figures == figures
    assert same(found, rows_of(job, tables.SUCCESSORS, again))


def test_files_are_sorted_by_time(spark, plain_lake, rows_of):
    result = successors.main(spark, plain_lake.job())
    found = rows_of(plain_lake.job(), tables.SUCCESSORS, result)
    by_file = defaultdict(list)
    for row in found.select("_metadata.file_path", "event_at_us").collect():
        by_file[row["file_path"]].append(row["event_at_us"])
    assert all(times == sorted(times) for times in by_file.values())


def test_events_and_items_planted_after_the_split_change_no_row_that_training_reads(
    spark, plain_lake, planted_lake, rows_of, same
):
    plain, planted = (
        rows_of(lake.job(), tables.SUCCESSORS, successors.main(spark, lake.job()))
        for lake in (plain_lake, planted_lake)
    )
    assert same(plain.where("not after_split"), planted.where("not after_split"))
    assert not same(plain.where("after_split"), planted.where("after_split"))
    split_us = microseconds(plain_lake.job().split)
    assert planted.where(f"not after_split and event_at_us > {split_us}").isEmpty()


def test_an_event_whose_item_is_unknown_is_an_error(spark, plain_lake):
    before_any_item = plain_lake.job(versions={"items": 0})
    with pytest.raises(ValueError, match="is `items` older than `events`"):
        successors.main(spark, before_any_item)
