"""Stored events that move to the refused lines, and counts that follow."""

from __future__ import annotations

from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from spark_jobs.lake import delta
from spark_jobs.landing.stored import recount, refuse_stored, stored_counts
from tests.spark_jobs.landed import content, job, jsonl, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC


def counts(spark, this):
    return [tuple(row)[3:6] for row in content(spark, this, INGESTED_FILES)]


def test_refused_events_keep_their_lines_and_a_killed_call_is_completed(spark, landing, monkeypatch):
    jsonl(landing / "1.jsonl", *({"u": user, "i": "1", "t": T} for user in "abc"), "bad")
    this = job(landing, source())
    events.main(spark, this)
    place = (this.lake, "films")

    def refuse(user):
        return refuse_stored(spark, *place, F.when(F.col("user_id") == user, "why"), F.lit("text"))

    assert refuse("a") == 1
    assert counts(spark, this) == [(4, 2, 2)]
    delete = delta.delete

    def killed(*arguments):
        delete(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(delta, "delete", killed)
    try:
        refuse("b")
    except KeyboardInterrupt:
        monkeypatch.undo()
    assert counts(spark, this) == [(4, 2, 2)]
    assert refuse("b") == 0
    assert counts(spark, this) == [(4, 1, 3)]
    refused = [
        (row["line_number"], row["raw"], row["reason"]) for row in content(spark, this, REJECTED_EVENTS)
    ]
    assert refused == [(1, "text", "why"), (2, "text", "why"), (4, "bad", "not valid JSON")]
    # Rows that somebody deleted are not counted away.
    delta.delete(spark, F.col("user_id") == "c", EVENTS, *place)
    recount(spark, *place)
    assert counts(spark, this) == [(4, 1, 3)] and list(stored_counts(spark, *place).values()) == [(0, 3)]
