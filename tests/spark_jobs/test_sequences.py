"""`sequences`: how histories are cut, which targets rows refer to, and what the split hides."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from unittest.mock import ANY

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from expectations import tables
from expectations.instants import microseconds
from spark_jobs import sequences
from spark_jobs.config import Continued, EventMapping, SequencesConfig, SourceConfig
from spark_jobs.histories import tokens
from spark_jobs.lake import delta
from tests.factories import CUTOFFS, START, events_frame, items_frame, lake_of, tiny_job, tiny_log

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(
        files=("x",), format="jsonl", user="u", item="i", time="t", action="a", page="p", position="n"
    ),
    actions=("seen", "liked"),
    high_value="action = 'liked'",
    reward="coalesce(rating, 1)",
)
ITEMS = [f"i{number}" for number in range(12)]


def config(max_length=8, context_length=3, max_targets=2, context_buckets=8):
    """SequencesConfig of a hand-checkable size."""
    return SequencesConfig(
        max_length=max_length,
        context_length=context_length,
        max_targets=max_targets,
        context_buckets=context_buckets,
    )


def cut(spark, rows, settings, source=SOURCE):
    """Rows of `sequences` as a dictionary by (user, chunk)."""
    log = tokens.tokens(
        events_frame(spark, rows), items_frame(spark, ITEMS), source, settings.context_buckets
    )
    frame = sequences.sequences(tokens.numbered(log), "2024-02-10", source, settings)
    return {(row["user_id"], row["chunk"]): row.asDict() for row in frame.collect()}


def micros(seconds):
    return microseconds(START + timedelta(seconds=seconds))


def test_one_short_history_is_one_row_with_every_field(spark):
    rows = cut(
        spark,
        [
            ("u", "i3", 20, "liked", {"page": "home", "position": 2, "rating": 2.5}),
            ("u", "i1", 10, "seen", {"position": 99}),
            ("u", "i2", 30, "liked", {"page": "home"}),
        ],
        config(),
    )
    row = rows["u", 0]
    home = row["page"][1]
    assert 1 <= home <= 7
    assert row == {
        "cycle": "2024-02-10",
        "user_id": "u",
        "chunk": 0,
        "first_position": 0,
        "item_index": [1, 3, 2],
        "action": [0, 1, 1],
        "event_at_us": [micros(10), micros(20), micros(30)],
        "reward": [0.0, 2.5, 1.0],
        "page": [0, home, home],
        "position": [7, 3, 0],  # 99 is clamped to the last of eight codes, 2 becomes 1 + 2
        "country": None,
        "device": None,
        "watch_seconds": None,
        "completion_fraction": None,
        "rating": None,
        "loss_start": 0,
        "target_positions": [1, 2],
        "tail_item_index": [],
        "tail_event_at_us": [],
        "tail_reward": [],
    }


def test_a_long_history_is_cut_with_context_and_tails(spark):
    # Fifteen events; high-value are places 2, 9, 13, 14. M = 8, C = 3: loss positions 0-7, 8-12, 13-14.
    liked = {2, 9, 13, 14}
    log = [("u", f"i{place % 12}", place, "liked" if place in liked else "seen") for place in range(15)]
    rows = cut(spark, log, config())
    assert sorted(rows) == [("u", 0), ("u", 1), ("u", 2)]
    spans = [(row["first_position"], row["loss_start"], len(row["item_index"])) for row in rows.values()]
    assert sorted(spans) == [(0, 0, 8), (5, 3, 8), (10, 3, 5)]
    assert [rows["u", chunk]["target_positions"] for chunk in range(3)] == [[2], [4], [3, 4]]
    assert [rows["u", chunk]["tail_item_index"] for chunk in range(3)] == [[9, 1], [1, 2], []]
    assert rows["u", 0]["tail_event_at_us"] == [micros(9), micros(13)]
    assert rows["u", 0]["tail_reward"] == [1.0, 1.0]


def test_tails_reach_over_several_chunks_and_a_full_row_adds_no_empty_one(spark):
    far = [("far", "i1", place, "liked" if place == 39 else "seen") for place in range(40)]
    full = [("full", "i1", place, "seen") for place in range(8)]
    rows = cut(spark, far + full, config())
    assert sorted(rows) == [("far", chunk) for chunk in range(8)] + [("full", 0)]
    tails = [rows["far", chunk]["tail_event_at_us"] for chunk in range(8)]
    assert tails == [[micros(39)]] * 7 + [[]]


def random_log(seed, users=30, longest=70):
    """Users of every length; ties of up to three events, half of the events high-value."""
    rng = random.Random(seed)
    log = []
    for user in range(users):
        seconds, tied = 0, 0
        for _ in range(rng.randint(1, longest) if user else longest):
            tied = tied + 1 if tied < 2 and rng.random() < 0.3 else 0
            seconds += 0 if tied else rng.randint(1, 9)
            log.append((f"u{user}", rng.choice(ITEMS), seconds, rng.choice(("seen", "liked"))))
    return log


def labels_of(targets, at, own_item, window):
    """The first K high-value (time, item) strictly later than `at`, one per item, not the own item."""
    chosen = []
    for time, item in targets:
        if time > at and item != own_item and item not in chosen and len(chosen) < window:
            chosen.append(item)
    return chosen


@pytest.mark.parametrize(("max_length", "context_length"), [(8, 3), (8, 0), (8, 7), (64, 32)])
def test_loss_positions_partition_the_events_and_labels_equal_brute_force(spark, max_length, context_length):
    log = random_log(seed=max_length + context_length)
    histories = defaultdict(list)
    for user, item, seconds, action in log:
        histories[user].append((micros(seconds), ITEMS.index(item), action == "liked"))
    settings = config(max_length, context_length, max_targets=40)
    rows = cut(spark, log, settings)
    seen = defaultdict(list)
    for (user, _), row in rows.items():
        whole = histories[user]
        events = list(zip(row["event_at_us"], row["item_index"], strict=True))
        first = row["first_position"]
        assert events == [event[:2] for event in whole[first : first + len(events)]]
        assert len(events) <= max_length
        in_row = [events[place] for place in row["target_positions"]]
        tail = list(zip(row["tail_event_at_us"], row["tail_item_index"], strict=True))
        later = [event[:2] for event in whole[first + len(events) :] if event[2]]
        assert tail == later[: settings.max_targets]
        for place in range(row["loss_start"], len(events)):
            seen[user].append(first + place)
            at, own_item = events[place]
            everything = [event[:2] for event in whole if event[2]]
            assert labels_of(in_row + tail, at, own_item, 4) == labels_of(everything, at, own_item, 4)
    assert {user: sorted(places) for user, places in seen.items()} == {
        user: list(range(len(whole))) for user, whole in histories.items()
    }


def test_rows_do_not_depend_on_the_order_in_which_events_arrive(spark):
    settings = config()
    log = tokens.tokens(events_frame(spark, random_log(3)), items_frame(spark, ITEMS), SOURCE, 8)
    in_order = sequences.sequences(tokens.numbered(log), "c", SOURCE, settings)
    turned = log.repartition(5, "line_number").orderBy("item_index")
    again = sequences.sequences(tokens.numbered(turned), "c", SOURCE, settings)
    assert in_order.exceptAll(again).isEmpty() and again.exceptAll(in_order).isEmpty()


def test_one_shuffle_by_user_and_no_python(spark, plan_of):
    events = events_frame(spark, [("u", "i1", 1, "seen")])
    log = tokens.tokens(events, items_frame(spark, ITEMS), SOURCE, 8)
    rows = sequences.sequences(tokens.numbered(log), "c", SOURCE, config())
    plan = plan_of(rows)
    shuffles = [line for line in plan.split("\n") if "Exchange hashpartitioning(user_id" in line]
    assert len(shuffles) == 1
    assert "Python" not in plan


def test_main_counts_and_a_second_run_changes_nothing(spark, plain_lake, rows_of, same):
    job = plain_lake.job()
    result = sequences.main(spark, job)
    until = [event for event in plain_lake.log.events if event["ts"] <= job.split.timestamp()]
    assert result.figures.events == result.figures.loss_positions == len(until)
    assert result.figures.targets == sum(event["action"] != "viewed" for event in until)
    assert result.figures.stored_tokens > len(until)
    again = sequences.main(spark, job)
    assert again.figures == result.figures
    assert same(rows_of(job, tables.SEQUENCES, result), rows_of(job, tables.SEQUENCES, again))


def test_events_and_items_planted_after_the_split_change_nothing(
    spark, plain_lake, planted_lake, rows_of, same
):
    frames = []
    for lake in (plain_lake, planted_lake):
        result = sequences.main(spark, lake.job())
        frames.append(rows_of(lake.job(), tables.SEQUENCES, result))
    assert same(*frames)
    rows = frames[1].select("event_at_us", "tail_event_at_us").collect()
    assert max(max(row[0] + row[1]) for row in rows) <= microseconds(planted_lake.job().split)


def test_an_event_whose_item_is_unknown_is_an_error(spark, plain_lake):
    before_any_item = plain_lake.job(versions={"items": 0})
    with pytest.raises(ValueError, match="is `items` older than `events`"):
        sequences.main(spark, before_any_item)


@st.composite
def changed_logs(draw):
    """A log and what became of it, as rows of `events_frame`, and the seconds of the parent's split. Events come late
    or on time, leave, or give way to others; a user may lose all or be new."""
    whole = random_log(draw(st.integers(0, 10_000)), users=draw(st.integers(1, 8)), longest=40)
    until = draw(st.integers(0, 200))
    became = draw(st.lists(st.sampled_from("kkkkkkkklrc"), min_size=len(whole), max_size=len(whole)))
    gone = draw(st.sampled_from(("u0", "u1", "nobody")))
    before, after = [], []
    for (user, item, seconds, action), what in zip(whole, became, strict=True):
        row = (user, item, seconds, action)
        if seconds <= until and what != "l":
            before.append(row)
        if user != gone and what != "r":
            after.append((user, item, seconds, "seen" if what == "c" and seconds <= until else action))
    return before, after, until


def numbered_tokens(spark, rows):
    """Tokens of an empty or filled log; every event is of a file of its own, in whose order ties are."""
    frame = events_frame(spark, rows) if rows else events_frame(spark, [("u", "i1", 1, "seen")]).limit(0)
    named = frame.withColumn("file_id", F.sha2(F.concat_ws("|", "user_id", "item_id", "event_at"), 256))
    return tokens.tokens(
        named.withColumn("line_number", F.lit(1).cast("bigint")), items_frame(spark, ITEMS), SOURCE, 8
    )


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(changed_logs(), st.sampled_from([(8, 3, 2), (8, 0, 40), (16, 15, 4)]))
def test_rows_that_continue_the_parents_equal_rows_made_from_all_events(spark, log, sizes):
    # One event a user, item and instant, so that no two events are tied in everything.
    before, after = ([*{row[:3]: row for row in rows}.values()] for rows in log[:2])
    until = log[2]
    cut = config(*sizes)

    def made(rows):
        return sequences.sequences(tokens.numbered(numbered_tokens(spark, rows)), "second", SOURCE, cut)

    old, now = ({row for row in rows if row[2] <= until} for rows in (before, after))
    users = sorted({row[0] for row in old ^ now})
    changed = spark.createDataFrame([(user,) for user in users], "user_id string")
    rows = sequences.continuing(
        made(before).withColumn("cycle", F.lit("first")),
        numbered_tokens(spark, [row for row in after if row[2] > until]),
        numbered_tokens(spark, [row for row in after if row[0] in users]),
        changed,
        "second",
        SOURCE,
        cut,
    )
    assert sorted(rows.collect(), key=repr) == sorted(made(after).collect(), key=repr)


@pytest.fixture(scope="module")
def grown_lake(spark, tmp_path_factory):
    """A lake of its own, and the job of a first cycle whose sequences are written."""
    folder = tmp_path_factory.mktemp("grown")
    log = tiny_log(folder / "landing")
    path, versions = lake_of(spark, log, folder / "lake")
    job = tiny_job(log, path, CUTOFFS[0], versions=versions)
    return log, job, sequences.main(spark, job)


def next_job(log, first, made, events_version):
    """The job of the second cycle, which continues the first."""
    versions = first.versions | made.versions | {"events": events_version}
    job = tiny_job(log, first.lake, CUTOFFS[1], parent=CUTOFFS[0], versions=versions)
    continued = Continued(events_version=first.versions["events"], events=made.figures.events)
    return job.model_copy(update={"continued": continued})


def test_a_cycle_without_corrections_reads_only_the_events_since_its_parent(spark, grown_lake, rows_of):
    log, first, made = grown_lake
    job = next_job(log, first, made, first.versions["events"])
    again = sequences.main(spark, job.model_copy(update={"continued": None}))
    rows, events = sequences._rows(spark, job, sequences._parent(spark, job))
    assert sorted(rows.collect(), key=repr) == sorted(
        rows_of(job, tables.SEQUENCES, again).collect(), key=repr
    )
    assert events == again.figures.events == sum(event["ts"] <= job.split.timestamp() for event in log.events)
    # Every scan of `events` skips files by the parent's split.
    plan = rows._jdf.queryExecution().optimizedPlan().toString().split("\n")
    scans = [number for number, line in enumerate(plan) if "Relation [event_id#" in line]
    assert scans
    for number in scans:
        assert re.search(r"event_at#\d+ > ", plan[number - 1]), plan[number - 1]


def test_late_corrected_and_erased_events_change_the_rows_of_their_users_only(spark, grown_lake, rows_of):
    log, first, made = grown_lake
    place, events = (first.lake, first.source.name), delta.read_pinned(spark, first, tables.EVENTS)
    users = sorted({event["user"] for event in log.events})
    late = (
        events.where(F.col("user_id") == users[3])
        .limit(4)
        .withColumns(
            {
                "event_id": F.concat("event_id", F.lit("-late")),
                "event_at": F.col("event_at") - F.expr("interval 90 minutes"),
                "file_id": F.lit("late"),
            }
        )
    )
    late = late.withColumn("event_date", F.to_date("event_at"))
    delta.append_once(spark, late, tables.EVENTS, *place, "late")
    delta.delete(spark, F.col("user_id") == users[0], tables.EVENTS, *place)
    delta.delete(spark, (F.col("user_id") == users[1]) & (F.minute("event_at") < 20), tables.EVENTS, *place)
    now = delta.compact(spark, tables.EVENTS, *place, 2**30, 2**30)
    job = next_job(log, first, made, now)
    parent = sequences._parent(spark, job)
    assert {row[0] for row in parent.changed.collect()} == {users[0], users[1], users[3]}
    parent.earlier.unpersist()
    result = sequences.main(spark, job)
    continued = rows_of(job, tables.SEQUENCES, result).collect()
    again = sequences.main(spark, job.model_copy(update={"continued": None}))
    assert again.figures == replace(result.figures, bytes_on_disk=ANY, bytes_per_token=ANY)
    assert sorted(continued, key=repr) == sorted(rows_of(job, tables.SEQUENCES, again).collect(), key=repr)


@pytest.mark.parametrize("gone", ["sequences", "events"])
def test_where_the_parents_rows_or_events_are_gone_all_rows_are_made(spark, grown_lake, gone):
    log, first, made = grown_lake
    job = next_job(log, first, made, first.versions["events"])
    if gone == "sequences":
        lost = {"versions": job.versions | {"sequences": 1000}}
    else:
        lost = {"continued": job.continued.model_copy(update={"events_version": 1000})}
    assert sequences._parent(spark, job.model_copy(update=lost)) is None
