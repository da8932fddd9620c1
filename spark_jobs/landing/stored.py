"""Stored events that may not stay: moved to `rejected_events`, so that accepted + rejected remains a file's
lines.

For files that are landed no more, whose lines cannot be read again. Three writes, each harmless when it is
done twice: the refused rows, the events, the counts. A run that is killed between them is completed by the
same call.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.erased import NO_TEXT
from spark_jobs.landing.fields import RAW_CHARACTERS


def as_json(events: DataFrame) -> Column:
    """A stored event as the text of its refused line: its own line is landed no more."""
    return F.substring(F.to_json(F.struct(*(F.col(name) for name in events.columns))), 1, RAW_CHARACTERS)


def refuse_stored(
    spark: SparkSession, lake: str, source: str, problem: Column, raw: Column, among: Column | None = None
) -> int:
    """Moves the stored events for which `problem` (a reason over the columns of `events`) is not null;
    returns how many there were. `among`: only events that satisfy it are looked at."""
    place = (lake, source)
    condition = problem.isNotNull() if among is None else among & problem.isNotNull()
    refused = delta.read(spark, *place, EVENTS).where(condition).withColumn("reason", problem)
    names = delta.read(spark, *place, INGESTED_FILES).select("file_id", "file_path")
    rows = refused.withColumn("raw", raw).join(F.broadcast(names), on="file_id", how="inner")
    rows = rows.select(*REJECTED_EVENTS.column_names).persist()
    try:
        moved = rows.count()
        if moved:
            delta.append_new(spark, rows, REJECTED_EVENTS, *place)
            delta.delete(spark, condition, EVENTS, *place)
    finally:
        rows.unpersist()
    recount(spark, *place)
    return moved


def stored_counts(spark: SparkSession, lake: str, source: str) -> dict[str, tuple[int, int]]:
    """Rows of `events` and of `rejected_events` by file_id."""
    events, refused = (
        delta.read(spark, lake, source, table).groupBy("file_id").agg(F.count(F.lit(1)).alias(name))
        for table, name in ((EVENTS, "events"), (REJECTED_EVENTS, "refused"))
    )
    both = events.join(refused, on="file_id", how="full").collect()
    return {row["file_id"]: (row["events"] or 0, row["refused"] or 0) for row in both}


def recount(spark: SparkSession, lake: str, source: str) -> None:
    """Makes the counts of `ingested_files` those of the stored rows, for every file whose lines they add up to.
    A file of which rows were lost keeps its counts, and the suite names it."""
    counts = stored_counts(spark, lake, source)
    rows = delta.read(spark, lake, source, INGESTED_FILES).collect()
    changed = [
        row
        for row in rows
        if (now := counts.get(row["file_id"], (0, 0))) != (row["accepted_count"], row["rejected_count"])
        and sum(now) == row["line_count"]
    ]
    if changed:
        again = [
            _with(row, accepted_count=counts[row["file_id"]][0], rejected_count=counts[row["file_id"]][1])
            for row in changed
        ]
        update(spark, lake, source, again)


def update(spark: SparkSession, lake: str, source: str, rows: list[dict]) -> None:
    """Replaces rows of `ingested_files`, by file_id."""
    delta.upsert(spark, as_log(spark, rows), INGESTED_FILES, lake, source)


def as_log(spark: SparkSession, rows: list[dict]) -> DataFrame:
    """Rows of `ingested_files` as a frame."""
    values = [tuple(row[name] for name in INGESTED_FILES.column_names) for row in rows]
    return local_rows(spark, values, INGESTED_FILES.ddl)


def changed_rows(rows: list[Row], **columns: dict[str, object]) -> list[dict]:
    """Rows with new values, given by column and file_id; a file_id that is not named keeps its value."""
    return [
        _with(row, **{name: by_file.get(row["file_id"], row[name]) for name, by_file in columns.items()})
        for row in rows
    ]


def _with(row: Row, **changes: object) -> dict:
    return row.asDict() | changes


def texts_before(spark: SparkSession, lake: str, source: str, cycle: str) -> tuple[Column, int, int]:
    """Refused lines with a text of files that a cycle before `cycle` ingested: the condition on `rejected_events` that
    they satisfy, how many there are, and the bytes of their text."""
    ingested = delta.read(spark, lake, source, INGESTED_FILES).where(F.col("cycle") < cycle)
    file_ids = sorted(row["file_id"] for row in ingested.select("file_id").collect())
    condition = F.col("file_id").isin(*file_ids) & (F.col("raw") != NO_TEXT)
    found = delta.read(spark, lake, source, REJECTED_EVENTS).where(condition)
    sizes = found.agg(F.count(F.lit(1)).alias("n"), F.sum(F.octet_length("raw")).alias("bytes")).first()
    return condition, sizes["n"], sizes["bytes"] or 0


def drop_texts(spark: SparkSession, lake: str, source: str, condition: Column) -> None:
    """Takes the text of refused lines; their reasons stay, so that accepted + rejected remains a file's lines."""
    delta.set_values(spark, condition, {"raw": F.lit(NO_TEXT)}, REJECTED_EVENTS, lake, source)
