"""`evaluation_sequences`: which users have a row, how much of a history is kept, and which events are labels."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from expectations import tables
from expectations.instants import microseconds
from spark_jobs import evaluation_sequences
from spark_jobs.config import EventMapping, SequencesConfig, SourceConfig
from spark_jobs.histories import tokens
from tests.factories import CUTOFFS, START, events_frame, items_frame

SOURCE = SourceConfig(
    name="literal",
    events=EventMapping(files=("x",), format="jsonl", user="u", item="i", time="t", action="a"),
    actions=("seen", "liked"),
    high_value="action = 'liked'",
)
SPLIT = START + timedelta(seconds=100)


def cut(spark, rows, longest=16):
    """Rows of `evaluation_sequences` as a dictionary by user; the split is second 100."""
    config = SequencesConfig(max_evaluation_history=longest)
    log = tokens.tokens(events_frame(spark, rows), items_frame(spark, ["i0", "i1", "i2"]), SOURCE, 512)
    frame = evaluation_sequences.evaluation_sequences(
        tokens.numbered(log), SPLIT, "2024-02-10", SOURCE, config
    )
    return {row["user_id"]: row.asDict() for row in frame.collect()}


def test_one_row_for_each_user_with_a_label_after_the_split(spark):
    rows = cut(
        spark,
        [
            ("with", "i0", 10, "liked"),
            ("with", "i1", 101, "liked"),
            ("with", "i2", 150, "seen"),
            ("with", "i0", 150, "liked"),
            ("label at the split", "i0", 100, "liked"),
            ("no label", "i0", 120, "seen"),
            ("new", "i2", 101, "liked"),
        ],
    )
    assert sorted(rows) == ["new", "with"]
    row = rows["with"]
    assert row["item_index"] == [0, 1, 2, 0]
    assert row["reward"] == [1.0, 1.0, 0.0, 1.0]
    assert row["label_positions"] == [1, 3]
    assert (row["first_position"], row["page"]) == (0, None)
    assert rows["new"]["label_positions"] == [0]


def test_a_long_history_keeps_its_last_events_and_their_places(spark):
    log = [("u", "i0", place, "liked" if place in (101, 119) else "seen") for place in range(120)]
    early = [("early", "i0", place, "liked" if place == 101 else "seen") for place in range(120)]
    rows = cut(spark, log + early, longest=16)
    assert list(rows) == ["u"]  # the only label of `early` lies outside its last sixteen events
    assert rows["u"]["first_position"] == 104
    assert len(rows["u"]["item_index"]) == 16
    assert rows["u"]["label_positions"] == [15]


def test_no_event_passes_through_python(spark, plan_of):
    events = events_frame(spark, [("u", "i0", 101, "liked")])
    log = tokens.tokens(events, items_frame(spark, ["i0"]), SOURCE, 512)
    rows = evaluation_sequences.evaluation_sequences(
        tokens.numbered(log), SPLIT, "2024-02-10", SOURCE, SequencesConfig()
    )
    plan = plan_of(rows)
    assert "Window" in plan and "Python" not in plan


def test_main_agrees_with_a_count_in_plain_python_and_a_rerun_changes_nothing(
    spark, plain_lake, rows_of, same
):
    job = plain_lake.job(CUTOFFS[1])
    result = evaluation_sequences.main(spark, job)
    labels = Counter(
        event["user"]
        for event in plain_lake.log.events
        if job.split.timestamp() < event["ts"] <= job.cutoff.timestamp()
        and event["action"] in ("played", "wishlist")
    )
    written = rows_of(job, tables.EVALUATION_SEQUENCES, result)
    rows = {row["user_id"]: row for row in written.collect()}
    assert {user: len(row["label_positions"]) for user, row in rows.items()} == labels
    assert max(row["event_at_us"][-1] for row in rows.values()) <= microseconds(job.cutoff)
    assert result.figures.users == len(labels)
    assert (result.figures.labels, result.figures.labels_dropped) == (labels.total(), 0)
    again = evaluation_sequences.main(spark, job)
    assert again.figures == result.figures
    assert same(written, rows_of(job, tables.EVALUATION_SEQUENCES, again))
