"""Table `events`: one row per event_id, from every landed line that is an event.

In: the files that `source.events` matches and the tables `events` and `ingested_files` as they are.
Out: `events`, `rejected_events` (every other line, with its reason) and `ingested_files`, which is
written last: a file is ingested when it is named there, and a job killed before that does the file
again, as does one whose mapping has changed. For every file, accepted + rejected = lines. Knows nothing
of cycles' splits or of items.

The shuffles are one by event (occurrences and duplicates) and one by date (files of the table).
"""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, REWARD_SIGNALS
from spark_jobs.config import Job, SourceConfig
from spark_jobs.figures import JobResult
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing import files as landing
from spark_jobs.landing.fields import (
    MAX_ID_CHARACTERS,
    id_problem,
    kept_raw,
    number,
    present_text,
    text_id,
    whole_number,
)
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.ingestion import (
    Counts,
    Record,
    file_figures,
    forget_outdated,
    ingested_files,
    line_counts,
    log_rows,
    unknown_files,
    unreadable_rows,
    versions_found,
    with_lines,
)
from spark_jobs.landing.instants import microseconds
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW
from spark_jobs.landing.reading import WHERE, Mapped, read_mapped

DUPLICATE = "duplicate event_id"
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
OPTIONAL = (*REWARD_SIGNALS, "page", "position", "country", "device")
"""Event columns that a line may leave empty."""
_LINES = "file_id string, line_number bigint, problem string, raw string, " + ", ".join(
    f"{column.name} {column.type}"
    for column in EVENTS.columns
    if column.name not in ("file_id", "line_number", "event_date")
)
"""Columns of checked lines, in Spark's DDL form."""
BROADCAST_IDS = 1_000_000
"""Known ids up to this many are joined without a shuffle (some 100 MB on every executor)."""
_DERIVED_ID_CHARACTERS = 32
"""A derived event_id is 128 bits of a SHA-256, in hexadecimal."""


def main(spark: SparkSession, job: Job) -> JobResult:
    """Ingests the files that have not been; with none, writes nothing and returns the versions as they are.

    Raises MappingError (the mapping does not fit the files), LandingError, TableError.
    """
    source, lake = job.source, job.lake
    files = landing.find(spark, job.landing, source.events.files)
    before = ingested_files(spark, lake, source.name)
    if not files and not before:
        raise landing.LandingError(
            f"no file matches events.files = {', '.join(source.events.files)} under {job.landing}"
        )
    ingested = forget_outdated(spark, job, files, before)
    new, skipped = unknown_files(files, set(ingested))
    figures = file_figures(new, skipped, ingested, before)
    record = Record(spark, job, new, ingested)
    if not new and not record.interrupted(EVENTS) and not record.interrupted(REJECTED_EVENTS):
        return JobResult(versions=versions_found(spark, lake, source.name), figures=figures)
    # Once a log is known, a day's file may happen to lack what is optional; JSON leaves keys out.
    json_where = (WHERE,) if source.events.format == "jsonl" else ()
    optional = frozenset((*OPTIONAL, *json_where)) if ingested else frozenset()
    mapped = read_mapped(
        spark, new, source.events, mapped_expressions(source), "events", may_be_absent=optional
    )
    lines = spark.createDataFrame([], _LINES)
    held: list[DataFrame] = []
    if mapped.parts:
        checked = mapped.through(lambda rows: checked_lines(rows, source))
        lines = numbered_occurrences(checked, source.name, new).persist()
        known = _known_ids(spark, lines, job, record) if ingested else None
        held = [lines] if known is None else [lines, known]
        lines = lines if known is None else refuse_known(lines, known)
    counts = line_counts(lines)
    refused = _refused(lines, mapped, new, counts).unionByName(unreadable_rows(spark, new, mapped))
    log = local_rows(spark, log_rows(new, mapped, counts, job), INGESTED_FILES.ddl)
    figures = with_lines(figures, mapped, counts)
    versions = {
        REJECTED_EVENTS.name: record.write(refused, REJECTED_EVENTS, figures.rejected),
        EVENTS.name: record.write(accepted_events(lines), EVENTS, figures.accepted),
    }
    # Last: from here on these files are ingested.
    versions[INGESTED_FILES.name] = record.write(log, INGESTED_FILES, len(new))
    for frame in held:
        frame.unpersist()
    return JobResult(versions=versions, figures=figures)


# --- transforms -----------------------------------------------------------------------------------


def checked_lines(rows: DataFrame, source: SourceConfig) -> DataFrame:
    """Mapped lines with typed columns; `problem` is why a line is no event, null for one that is.

    In: the columns of `reading.read_mapped`. Out: file_id, line_number, raw (of refused lines only),
    problem, and the columns of `events` except event_date; event_id is null where it is to be derived.
    """
    at = microseconds(rows, "time", source.events.time_unit)
    earliest, latest = (
        _epoch_us(given or bound) for given, bound in ((source.earliest, EARLIEST), (source.latest, LATEST))
    )
    event_id = text_id(rows, "event_id") if source.events.event_id else F.lit(None).cast("string")
    action = F.col("action").cast("string") if source.events.action else F.lit(source.actions[0])
    typed = rows.select(
        F.col(FILE_ID).alias("file_id"),
        F.col(LINE_NUMBER).alias("line_number"),
        F.col(RAW).alias("raw"),
        F.col(PROBLEM).alias("unread"),
        event_id.alias("event_id"),
        text_id(rows, "user").alias("user_id"),
        text_id(rows, "item").alias("item_id"),
        F.col("time").isNull().alias("time_missing"),
        at.alias("at_us"),
        action.alias("action"),
        *[number(rows, name).alias(name) for name in REWARD_SIGNALS],
        *[
            present_text(rows, name).isNotNull().alias(f"{name}_given")
            for name in (*REWARD_SIGNALS, "position")
        ],
        present_text(rows, "page").alias("page"),
        whole_number(rows, "position").alias("position"),
        present_text(rows, "country").alias("country"),
        present_text(rows, "device").alias("device"),
    )
    problem = F.coalesce(
        F.col("unread"),
        id_problem("user_id", "user"),
        id_problem("item_id", "item"),
        F.when(F.col("time_missing"), "missing time")
        .when(F.col("at_us").isNull(), "time is not an instant")
        .when(F.col("at_us") < earliest, "time before the earliest possible")
        .when(F.col("at_us") > latest, "time after the latest possible"),
        F.when(F.col("action").isNull() | (F.col("action") == ""), "missing action").when(
            ~F.col("action").isin(*source.actions), "unknown action"
        ),
        *([id_problem("event_id", "event_id")] if source.events.event_id else []),
        *[_signal_problem(name) for name in REWARD_SIGNALS],
        F.when(F.col("position_given") & F.col("position").isNull(), "position is not a whole number").when(
            F.col("position") < 0, "position is negative"
        ),
        *[
            F.when(
                F.length(name) > MAX_ID_CHARACTERS, f"{name} is longer than {MAX_ID_CHARACTERS} characters"
            )
            for name in ("page", "country", "device")
        ],
    )
    checked = typed.withColumn("problem", problem)
    return checked.select(
        "file_id", "line_number", "problem",
        F.when(F.col("problem").isNotNull(), kept_raw("raw")).alias("raw"),
        "event_id", "user_id", "item_id",
        F.when(F.col("problem").isNull(), F.timestamp_micros("at_us")).alias("event_at"),
        "action", *REWARD_SIGNALS, "page", "position", "country", "device",
    )  # fmt: skip


def numbered_occurrences(lines: DataFrame, source_name: str, files: list[LandedFile]) -> DataFrame:
    """Lines with their event_id, the later ones of an id refused as duplicates.

    A derived id hashes source, user, item, time, action and the occurrence within the file, so that
    exact repeats inside one file are events of their own and a file landed again in another form
    yields the same ids. The first line by (name of the file, line number) keeps the id: where names
    follow time, as if the files had been ingested one after the other.
    """
    order = [(file.file_id, place) for place, file in enumerate(sorted(files, key=lambda one: one.name))]
    places = local_rows(lines.sparkSession, order, "file_id string, file_place bigint")
    separator = "\x1f"  # no id holds a control character
    key = F.sha2(
        F.concat_ws(
            separator,
            F.lit(source_name),
            "user_id",
            "item_id",
            F.unix_micros("event_at").cast("string"),
            "action",
        ),
        256,
    )
    # Refused lines have keys of their own: they spread evenly and are nobody's duplicate.
    alone = F.concat_ws(separator, "file_id", F.col("line_number").cast("string"))
    placed = lines.join(F.broadcast(places), on="file_id", how="left")
    keyed = placed.withColumn(
        "key", F.when(F.col("problem").isNotNull(), alone).otherwise(F.coalesce("event_id", key))
    ).repartition("key")
    in_file = (
        Window.partitionBy("key", "file_id").orderBy("line_number").rowsBetween(Window.unboundedPreceding, 0)
    )
    occurrence = F.when(F.col("event_id").isNull(), F.row_number().over(in_file)).otherwise(F.lit(1))
    same = Window.partitionBy("key", "occurrence").orderBy("file_place", "line_number")
    derived = F.sha2(F.concat_ws(separator, "key", F.col("occurrence").cast("string")), 256)
    numbered = keyed.withColumn("occurrence", occurrence).withColumn(
        "copy", F.row_number().over(same.rowsBetween(Window.unboundedPreceding, 0))
    )
    return numbered.select(
        "file_id", "line_number", "raw",
        F.coalesce("problem", F.when(F.col("copy") > 1, DUPLICATE)).alias("problem"),
        F.coalesce("event_id", F.substring(derived, 1, _DERIVED_ID_CHARACTERS)).alias("event_id"),
        "user_id", "item_id", "event_at", "action", *REWARD_SIGNALS, "page", "position", "country", "device",
    )  # fmt: skip


def refuse_known(lines: DataFrame, known: DataFrame) -> DataFrame:
    """Lines whose event_id is in `known` (one column, distinct) refused as duplicates."""
    marked = known.select("event_id", F.lit(DUPLICATE).alias("known"))
    joined = lines.join(marked, on="event_id", how="left")
    return joined.withColumn("problem", F.coalesce("problem", "known")).select(*lines.columns)


def accepted_events(lines: DataFrame) -> DataFrame:
    """Rows of `events` from the lines without a problem."""
    dated = lines.where(F.col("problem").isNull()).withColumn("event_date", F.to_date("event_at"))
    return dated.select(*EVENTS.column_names)


# --- parts of the transforms ----------------------------------------------------------------------


def mapped_expressions(source: SourceConfig) -> dict[str, str]:
    """The SQL expression of each event field that the source's mapping gives."""
    mapping = source.events
    names = ("user", "item", "time", "event_id", "action", *OPTIONAL)
    return {name: getattr(mapping, name) for name in names if getattr(mapping, name) is not None}


def _signal_problem(name: str) -> Column:
    value = F.col(name)
    problem = F.when(F.col(f"{name}_given") & value.isNull(), f"{name} is not a number").when(
        F.isnan(value) | value.isin(float("inf"), float("-inf")), f"{name} is not finite"
    )
    return problem if name == "rating" else problem.when(value < 0, f"{name} is negative")


def _epoch_us(instant: datetime) -> int:
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return int(aware.timestamp()) * 1_000_000 + aware.microsecond


# --- against what is there ------------------------------------------------------------------------


def _known_ids(spark: SparkSession, lines: DataFrame, job: Job, record: Record) -> DataFrame | None:
    """Ids of new events that ingested files have too, kept in memory; None when there are none."""
    fresh = lines.where(F.col("problem").isNull())
    events = delta.read(spark, job.lake, job.source.name, EVENTS)
    if record.interrupted(EVENTS):
        events = events.where(record.committed)
    if job.source.events.event_id is None:
        # The time is part of a derived id: only the dates of the new lines can hold the same one.
        dates = F.to_date(F.min("event_at")).alias("low"), F.to_date(F.max("event_at")).alias("high")
        span = fresh.agg(*dates).first()
        if span["low"] is None:
            return None
        events = events.where(F.col("event_date").between(span["low"], span["high"]))
    shared = (
        events.select("event_id").join(fresh.select("event_id"), on="event_id", how="left_semi").persist()
    )
    count = shared.count()
    if not count:
        shared.unpersist()
        return None
    # A log landed again as a whole shares every id with the table: too many to send to every task.
    return F.broadcast(shared) if count <= BROADCAST_IDS else shared


def _refused(lines: DataFrame, mapped: Mapped, files: list[LandedFile], counts: Counts) -> DataFrame:
    """Rows of `rejected_events`. The text of duplicates is read again, so that the lines that became
    events need not carry theirs through the shuffle."""
    refused = lines.where(F.col("problem").isNotNull()).select("file_id", "line_number", "raw", "problem")
    if any(DUPLICATE in reasons for reasons in counts.values()):
        copies = refused.where(F.col("raw").isNull()).select("file_id", "line_number", "problem")
        named = (F.col(FILE_ID).alias("file_id"), F.col(LINE_NUMBER).alias("line_number"))
        again = mapped.through(lambda rows: rows.select(*named, kept_raw(RAW).alias("raw")))
        found = again.join(copies, on=["file_id", "line_number"], how="inner")
        refused = refused.where(F.col("raw").isNotNull()).unionByName(found)
    return _named_files(refused, files)


def _named_files(refused: DataFrame, files: list[LandedFile]) -> DataFrame:
    named = [(file.file_id, file.name) for file in files]
    names = local_rows(refused.sparkSession, named, "file_id string, file_path string")
    joined = refused.join(F.broadcast(names), on="file_id", how="inner")
    return joined.select("file_id", "file_path", "line_number", "raw", F.col("problem").alias("reason"))
