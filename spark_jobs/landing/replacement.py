"""Events of earlier files that lines of new files replace, where a source keeps the last line of an event_id.

A replaced event leaves `events`, and its line is refused: so the file that it came from has other rows in all
three tables. Such a file is opened again: the ingestion writes its rows anew beside those of the new files. A
run that was killed between these writes leaves a file whose rows no longer agree with its counts; it is opened
again too, which makes them agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from expectations.tables import EVENTS, REJECTED_EVENTS
from spark_jobs.config import Job
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.event_lines import CONTENT, REPLACED, REPLACED_BY_ANOTHER
from spark_jobs.landing.stored import as_log, changed_rows

_LINE = ["file_id", "line_number"]


@dataclass(frozen=True)
class Reopened:
    """Earlier files whose rows are written anew."""

    file_ids: frozenset[str]
    events: DataFrame
    """Their rows of `events`, without the replaced ones."""
    rejected: DataFrame
    """Their rows of `rejected_events`, with the replaced ones."""
    log: DataFrame
    """Their rows of `ingested_files`."""
    replaced: int
    """Events that new lines replace."""


def reopened(
    spark: SparkSession, job: Job, lines: DataFrame, known: DataFrame | None, ingested: dict[str, Row]
) -> Reopened | None:
    """The earlier files that lose events to `lines`, and those that a killed run left half written; None
    without any.

    `known` are the events that share an event_id with the lines, as `spark_jobs.events.known_events` gives them;
    `ingested` are the rows of `ingested_files` by file_id.
    """
    events, rejected = (_pinned(spark, job, table, ingested) for table in (EVENTS, REJECTED_EVENTS))
    # A killed run may have written that a line is replaced, and not yet have taken its event away.
    rejected = rejected.join(events.select(*_LINE), on=_LINE, how="left_anti")
    replaced = _replaced(lines, known, events)
    losing = {row["file_id"] for row in replaced.select("file_id").distinct().collect()}
    file_ids = sorted(losing | _half_written(events, rejected, ingested))
    if not file_ids:
        return None
    opened = delta.within("file_id", file_ids)
    kept = events.where(opened).join(replaced.select(*_LINE), on=_LINE, how="left_anti")
    names = local_rows(
        spark, [(name, ingested[name]["file_path"]) for name in file_ids], "file_id string, file_path string"
    )
    refused = rejected.where(opened).unionByName(
        replaced.join(F.broadcast(names), on="file_id", how="inner").select(*REJECTED_EVENTS.column_names)
    )
    by_file = _by_file(kept)
    accepted = {name: by_file.get(name, 0) for name in file_ids}
    log = changed_rows(
        [ingested[name] for name in file_ids],
        accepted_count=accepted,
        rejected_count={name: ingested[name]["line_count"] - count for name, count in accepted.items()},
    )
    return Reopened(
        file_ids=frozenset(file_ids),
        events=kept.select(*EVENTS.column_names),
        rejected=refused.select(*REJECTED_EVENTS.column_names),
        log=as_log(spark, log),
        replaced=replaced.count(),
    )


def _pinned(spark: SparkSession, job: Job, table, ingested: dict[str, Row]) -> DataFrame:
    """The table's rows of ingested files, at today's version, whatever is written meanwhile."""
    place = (job.lake, job.source.name)
    version = delta.latest_version(spark, *place, table)
    rows = delta.read(spark, *place, table, version)
    return rows.where(delta.within("file_id", sorted(ingested)))


def _replaced(lines: DataFrame, known: DataFrame | None, events: DataFrame) -> DataFrame:
    """`file_id`, `line_number`, `raw`, `reason` and `event_date` of the events that the lines replace. The line as it
    landed is not at hand: `raw` is the event's content as JSON."""
    schema = "file_id string, line_number bigint, raw string, reason string, event_date date"
    if known is None:
        return local_rows(events.sparkSession, [], schema)
    fresh = lines.where(F.col("problem").isNull()).select("event_id", "about")
    reason = F.when(F.col("about") == F.col("known_about"), REPLACED).otherwise(REPLACED_BY_ANOTHER)
    by_id = fresh.join(known, on="event_id", how="inner").select("event_id", reason.alias("reason"))
    raw = F.to_json(F.struct("event_id", *CONTENT))
    joined = events.join(by_id, on="event_id", how="inner")
    return joined.select(*_LINE, raw.alias("raw"), "reason", "event_date")


def _half_written(events: DataFrame, rejected: DataFrame, ingested: dict[str, Row]) -> set[str]:
    """Files whose lines are all there, on other sides than their counts say."""
    accepted, refused = _by_file(events), _by_file(rejected)
    return {
        name
        for name, row in ingested.items()
        if accepted.get(name, 0) != row["accepted_count"]
        and accepted.get(name, 0) + refused.get(name, 0) == row["line_count"]
    }


def _by_file(rows: DataFrame) -> dict[str, int]:
    return {row["file_id"]: row["count"] for row in rows.groupBy("file_id").count().collect()}
