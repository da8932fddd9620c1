"""Earlier files that lose events, or that a killed run left half written. `test_events` has whole runs."""

from __future__ import annotations

from expectations.tables import INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from spark_jobs.lake import delta
from spark_jobs.landing.event_lines import CHECKED_LINES, REPLACED
from spark_jobs.landing.ingestion import ingested_files
from spark_jobs.landing.replacement import reopened
from tests.spark_jobs.landed import content, job, jsonl, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC


def test_a_line_that_is_on_both_sides_is_an_event(spark, landing):
    last = job(landing, source(events={"event_id": "id"}, on_conflict="keep_last"))
    jsonl(landing / "1.jsonl", *({"u": "a", "i": n, "t": T, "id": n} for n in range(3)))
    events.main(spark, last)
    lines = spark.createDataFrame([], CHECKED_LINES)
    known = ingested_files(spark, last.lake, "films")
    assert reopened(spark, last, lines, None, known) is None
    # As a run leaves it that is killed once it has written that a line is replaced.
    (file_id,) = known
    told = spark.createDataFrame([(file_id, "1.jsonl", 2, "{}", REPLACED, None)], REJECTED_EVENTS.ddl)
    delta.append_new(spark, told, REJECTED_EVENTS, last.lake, "films")
    again = reopened(spark, last, lines, None, known)
    assert again is None or again.rejected.count() == 0
    # As one leaves it that is killed after the event has been taken away too.
    row = known[file_id].asDict() | {"accepted_count": 2, "rejected_count": 1}
    torn = {file_id: type(known[file_id])(**row)}
    again = reopened(spark, last, lines, None, torn)
    assert again is not None and again.events.count() == 3
    (log,) = again.log.collect()
    assert (log["accepted_count"], log["rejected_count"]) == (3, 0)
    assert len(content(spark, last, INGESTED_FILES)) == 1
