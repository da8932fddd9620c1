"""`item_signals`: decayed counts as of any instant, beside sums over the events themselves."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expectations import tables
from expectations.instants import DAY_US, HOUR_US, SECOND_US, from_microseconds, microseconds
from spark_jobs import item_signals
from spark_jobs.config import EventMapping, Job, SignalsConfig, SourceConfig
from tests.factories import CUTOFFS, START, events_frame, items_frame
from tests.spark_jobs.random_logs import ITEMS, instants, logs, rows

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(files=("x",), format="jsonl", user="u", item="i", time="t", action="a"),
    actions=("seen", "liked"),
    high_value="action = 'liked'",
)
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
ACCURACY = 1e-12
"""Relative: 30 sums and powers of two of exponents up to 256, each within 256 * 2^-52."""


def signals(spark, log, half_lives=(1.0,), bucket=10 * MINUTE, split=START, items=ITEMS):
    """Rows as dictionaries by (item_index, bucket_end_us), from short rows of `events_frame`."""
    frame = item_signals.item_signals(
        events_frame(spark, log),
        items_frame(spark, items),
        split,
        "c",
        SOURCE,
        half_lives,
        bucket * SECOND_US,
    )
    found = [row.asDict() for row in frame.collect()]
    by_key = {(row["item_index"], row["bucket_end_us"]): row for row in found}
    assert len(by_key) == len(found)
    return by_key


def micros(seconds):
    return microseconds(START + timedelta(seconds=seconds))


def test_rows_by_hand(spark):
    # One half-life of a day, another of two; b's two events lie 36 hours and 12 hours before its second end.
    log = [("u", "b", 0, "liked"), ("v", "b", DAY, "seen"), ("u", "a", 5 * HOUR, "seen")]
    rows = signals(spark, log, half_lives=(1.0, 2.0), bucket=12 * HOUR, split=START + timedelta(hours=24))
    assert rows == {
        (1, micros(12 * HOUR)): {
            "cycle": "c",
            "after_split": False,
            "item_index": 1,
            "bucket_end_us": micros(12 * HOUR),
            "events": 1,
            "first_event_at_us": micros(0),
            "decayed": pytest.approx([2 ** (-1 / 2), 2 ** (-1 / 4)], rel=ACCURACY),
            "decayed_high_value": pytest.approx(2 ** (-1 / 4), rel=ACCURACY),
        },
        (1, micros(36 * HOUR)): {
            "cycle": "c",
            "after_split": True,
            "item_index": 1,
            "bucket_end_us": micros(36 * HOUR),
            "events": 2,
            "first_event_at_us": micros(0),
            "decayed": pytest.approx([2 ** (-3 / 2) + 2 ** (-1 / 2), 2 ** (-3 / 4) + 2 ** (-1 / 4)], rel=ACCURACY),
            "decayed_high_value": pytest.approx(2 ** (-3 / 4), rel=ACCURACY),
        },
        (0, micros(12 * HOUR)): {
            "cycle": "c",
            "after_split": False,
            "item_index": 0,
            "bucket_end_us": micros(12 * HOUR),
            "events": 1,
            "first_event_at_us": micros(5 * HOUR),
            "decayed": pytest.approx([2 ** (-7 / 24), 2 ** (-7 / 48)], rel=ACCURACY),
            "decayed_high_value": 0.0,
        },
    }  # fmt: skip


def test_a_bucket_excludes_its_end_and_a_split_inside_a_bucket_hides_it(spark):
    log = [("u", "a", 10 * MINUTE - 1, "seen"), ("u", "a", 10 * MINUTE, "seen")]
    split = START + timedelta(minutes=10)
    assert {
        (end, row["events"], row["after_split"]) for (_, end), row in signals(spark, log, split=split).items()
    } == {(micros(10 * MINUTE), 1, False), (micros(20 * MINUTE), 2, True)}
    late = signals(spark, log, split=split + timedelta(minutes=9))
    assert late[0, micros(20 * MINUTE)]["after_split"] is True


def as_of(found, item, instant_us, half_lives_us, middle):
    """What a reader knows of an item: (events, decayed, decayed high-value) from its last row, decayed on."""
    ends = [end for index, end in found if index == item and end <= instant_us]
    if not ends:
        return 0, [0.0] * len(half_lives_us), 0.0
    row, age = found[item, max(ends)], instant_us - max(ends)
    decayed = [value * 2 ** (-age / h) for value, h in zip(row["decayed"], half_lives_us, strict=True)]
    return row["events"], decayed, row["decayed_high_value"] * 2 ** (-age / half_lives_us[middle])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_as_of_any_instant_they_are_the_sums_over_the_events_before(spark, data):
    log = data.draw(logs())
    half_lives = data.draw(st.sampled_from([(1 / 24,), (1 / 24, 1 / 4, 1.0), (1 / 1440, 1.5, 30.0, 720.0)]))
    bucket = data.draw(st.sampled_from([10 * MINUTE, 6 * HOUR, DAY]))
    bucket_us, half_lives_us = bucket * SECOND_US, [days * DAY_US for days in half_lives]
    middle = len(half_lives) // 2
    split_us = data.draw(instants(log))
    found = signals(spark, rows(log), half_lives, bucket, from_microseconds(split_us))
    for (_, end), row in found.items():
        assert row["after_split"] == (end > split_us)
    for instant in [split_us, *(data.draw(instants(log)) for _ in range(8))]:
        now = instant // bucket_us * bucket_us
        known = {key: row for key, row in found.items() if key[1] <= now}
        for index, item in enumerate(ITEMS):
            before = [event for event in log if event.item == item and event.at_us < now]
            liked = [event for event in before if event.action == "liked"]
            events, decayed, high_value = as_of(known, index, now, half_lives_us, middle)
            assert events == len(before)
            expected = [sum(2 ** (-(now - event.at_us) / h) for event in before) for h in half_lives_us]
            assert decayed == pytest.approx(expected, rel=ACCURACY, abs=1e-70)
            expected = sum(2 ** (-(now - event.at_us) / half_lives_us[middle]) for event in liked)
            assert high_value == pytest.approx(expected, rel=ACCURACY, abs=1e-70)
            firsts = {row["first_event_at_us"] for (one, _), row in known.items() if one == index}
            assert firsts == ({min(before).at_us} if before else set())


def test_many_events_far_apart_neither_overflow_nor_vanish(spark):
    # Half-life one minute, an event every hour for a year: a segment holds four of them.
    log = [("u", "a", hour * HOUR, "seen") for hour in range(0, 24 * 365, 6)]
    found = signals(spark, log, half_lives=(1 / 1440, 3650.0), bucket=MINUTE)
    for row in found.values():
        # One minute old, and the one before it 360 half-lives older.
        assert row["decayed"][0] == pytest.approx(1 / 2, rel=ACCURACY)
        assert row["decayed"][1] == pytest.approx(row["events"], rel=0.1)


def test_rows_do_not_depend_on_the_order_in_which_events_arrive_to_the_bit(spark):
    log = [("u", ITEMS[number % 3], number * 977 % 5000, "liked") for number in range(400)]
    frame, items = events_frame(spark, log), items_frame(spark, ITEMS)
    options = (START, "c", SOURCE, (1 / 24, 1.0), 30 * MINUTE * SECOND_US)
    in_order = item_signals.item_signals(frame, items, *options)
    turned = item_signals.item_signals(frame.repartition(7, "line_number"), items, *options)
    assert in_order.exceptAll(turned).isEmpty() and turned.exceptAll(in_order).isEmpty()


def test_one_shuffle_by_item_one_sort_of_series_and_no_python(spark, plan_of):
    frame = item_signals.item_signals(
        events_frame(spark, [("u", "a", 1, "seen")]), items_frame(spark, ITEMS), START, "c", SOURCE, (1.0, 7.0),
        HOUR_US,
    )  # fmt: skip
    plan = plan_of(frame)
    shuffles = [line for line in plan.split("\n") if "Exchange hashpartitioning(item_index" in line]
    assert len(shuffles) == 1
    assert plan.count("Sort [item_index") == 2  # of events, and of series
    assert "Python" not in plan


def gaps(spark, days, count):
    """Events of one item with gaps of so many days."""
    return events_frame(spark, [("u", "a", number * days * DAY) for number in range(count)])


def test_half_lives_are_chosen_between_the_shortest_gaps_and_half_the_log(spark):
    chosen = item_signals.choose_half_lives(gaps(spark, 1, 729), 10 * MINUTE * SECOND_US)
    assert chosen == (1.0, 4.4, 19.0, 83.0, 360.0)
    # An hour at the least, and no shorter than a bucket.
    assert item_signals.choose_half_lives(gaps(spark, 1 / 1440, 6 * 1440), 10 * MINUTE * SECOND_US) == (
        0.042, 0.12, 0.35, 1.0, 3.0
    )  # fmt: skip
    assert item_signals.choose_half_lives(gaps(spark, 1 / 1440, 6 * 1440), DAY_US)[0] == 1.0


def test_a_log_without_gaps_or_with_little_time_gets_one_half_life(spark):
    assert item_signals.choose_half_lives(gaps(spark, 1, 1), HOUR_US) == (0.042,)
    assert item_signals.choose_half_lives(gaps(spark, 1, 0), HOUR_US) == (0.042,)
    assert item_signals.choose_half_lives(gaps(spark, 1 / 1440, 60), HOUR_US) == (0.042,)


def with_signals(job: Job, **options) -> Job:
    return job.model_copy(update={"signals": SignalsConfig(**options)})


def test_main_counts_and_a_second_run_changes_nothing(spark, plain_lake, rows_of, same):
    job = with_signals(plain_lake.job(), half_lives_days=(0.5, 7.0), bucket_minutes=60)
    result = item_signals.main(spark, job)
    until = [event for event in plain_lake.log.events if event["ts"] <= job.cutoff.timestamp()]
    ends = defaultdict(set)
    for event in until:
        ends[event["item"]].add(event["ts"] // HOUR * HOUR + HOUR)
    late = [end for item in ends.values() for end in item if end > job.split.timestamp()]
    figures = result.figures
    assert (figures.half_lives_days, figures.bucket_us) == ((0.5, 7.0), HOUR_US)
    assert (figures.events, figures.items) == (len(until), len(ends))
    assert (figures.rows, figures.rows_after_split) == (sum(map(len, ends.values())), len(late))
    assert figures.bytes_on_disk > 0
    again = item_signals.main(spark, job)
    assert again.figures == figures
    assert same(rows_of(job, tables.ITEM_SIGNALS, result), rows_of(job, tables.ITEM_SIGNALS, again))


def test_planted_events_change_no_row_and_no_half_life_that_training_reads(
    spark, plain_lake, planted_lake, rows_of, same
):
    found = []
    for lake in (plain_lake, planted_lake):
        result = item_signals.main(spark, lake.job())
        rows = rows_of(lake.job(), tables.ITEM_SIGNALS, result)
        found.append((rows, result.figures))
    (plain, figures), (planted, planted_figures) = found
    assert figures.half_lives_days == planted_figures.half_lives_days
    assert len(figures.half_lives_days) == item_signals.CHOSEN
    assert planted_figures.events > figures.events
    assert same(plain.where("not after_split"), planted.where("not after_split"))
    assert not same(plain.where("after_split"), planted.where("after_split"))
    split_us = microseconds(plain_lake.job().split)
    assert planted.where(f"not after_split and bucket_end_us > {split_us}").isEmpty()


def test_a_later_cycle_keeps_its_parents_half_lives_unless_it_is_given_its_own(spark, plain_lake):
    later = plain_lake.job(CUTOFFS[2], parent=CUTOFFS[0])
    inherited = later.model_copy(update={"parent_half_lives_days": (2.0, 9.0)})
    assert item_signals.main(spark, inherited).figures.half_lives_days == (2.0, 9.0)
    own = with_signals(inherited, half_lives_days=(3.0,))
    assert item_signals.main(spark, own).figures.half_lives_days == (3.0,)
    # A parent whose record has none: chosen, as by a first cycle.
    assert len(item_signals.main(spark, later).figures.half_lives_days) == item_signals.CHOSEN


def test_an_event_whose_item_is_unknown_is_an_error(spark, plain_lake):
    before_any_item = plain_lake.job(versions={"items": 0})
    with pytest.raises(ValueError, match="is `items` older than `events`"):
        item_signals.main(spark, before_any_item)
