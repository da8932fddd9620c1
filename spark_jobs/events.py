"""Table `events`: one row per event_id, from every landed line that is an event.

In: the files that `source.events` matches and the tables `events` and `ingested_files` as they are.
Out: `events`, `rejected_events` (every other line, with its reason) and `ingested_files`, which is
written last: a file is ingested when it is named there, and a job killed before that does the file
again. For every file, accepted + rejected = lines. Knows nothing of cycles' splits or of items.

The shuffles are one by event (occurrences and duplicates) and one by date (files of the table).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, REWARD_SIGNALS, Table
from spark_jobs import delta, landing
from spark_jobs.config import Job, JobResult, SourceConfig
from spark_jobs.fields import (
    MAX_ID_CHARACTERS,
    id_problem,
    kept_raw,
    number,
    present_text,
    text_id,
    whole_number,
)
from spark_jobs.instants import microseconds
from spark_jobs.landing import LandedFile
from spark_jobs.reading import FILE_ID, LINE_NUMBER, PROBLEM, RAW, WHERE, Mapped, read_mapped

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
_DERIVED_ID_CHARACTERS = 32
"""A derived event_id is 128 bits of a SHA-256, in hexadecimal."""


def main(spark: SparkSession, job: Job) -> JobResult:
    """Ingests the files that have not been; with none, writes nothing and returns the versions as they are.

    Raises MappingError (the mapping does not fit the files), LandingError, TableError.
    """
    source, lake = job.source, job.lake
    files = landing.find(spark, job.landing, source.events.files)
    ingested = _ingested(spark, lake, source.name)
    new, skipped = _unknown_files(files, set(ingested))
    figures = _file_figures(new, skipped, ingested)
    if not new:
        if not ingested:
            raise landing.LandingError(
                f"no file matches events.files = {', '.join(source.events.files)} under {job.landing}"
            )
        return JobResult(versions=_versions(spark, lake, source.name), figures=figures)
    # Once a log is known, a day's file may happen to lack what is optional; JSON leaves keys out.
    json_where = (WHERE,) if source.events.format == "jsonl" else ()
    optional = frozenset((*OPTIONAL, *json_where)) if ingested else frozenset()
    mapped = read_mapped(spark, new, source.events, _expressions(source), "events", may_be_absent=optional)
    record = _Record(spark, job, new, ingested)
    lines = spark.createDataFrame([], _LINES)
    held: list[DataFrame] = []
    if mapped.rows is not None:
        lines = numbered_occurrences(checked_lines(mapped.rows, source), source.name).persist()
        known = _known_ids(spark, lines, job, record) if ingested else None
        held = [lines] if known is None else [lines, known]
        lines = lines if known is None else refuse_known(lines, known)
    counts = _counts(lines)
    refused = _refused(lines, mapped, new, counts).unionByName(_unreadable_rows(spark, new, mapped))
    log = spark.createDataFrame(_log_rows(new, mapped, counts, job.cycle), INGESTED_FILES.ddl)
    line_figures = _line_figures(mapped, counts)
    versions = {
        REJECTED_EVENTS.name: record.write(refused, REJECTED_EVENTS, line_figures["rejected"]),
        EVENTS.name: record.write(accepted_events(lines), EVENTS, line_figures["accepted"]),
    }
    # Last: from here on these files are ingested.
    versions[INGESTED_FILES.name] = record.write(log, INGESTED_FILES, len(new))
    for frame in held:
        frame.unpersist()
    return JobResult(versions=versions, figures=figures | line_figures)


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
        *([id_problem("event_id", "event_id")] if source.events.event_id else []),
        id_problem("user_id", "user"),
        id_problem("item_id", "item"),
        F.when(F.col("time_missing"), "missing time")
        .when(F.col("at_us").isNull(), "time is not an instant")
        .when(F.col("at_us") < earliest, "time before the earliest possible")
        .when(F.col("at_us") > latest, "time after the latest possible"),
        F.when(F.col("action").isNull() | (F.col("action") == ""), "missing action").when(
            ~F.col("action").isin(*source.actions), "unknown action"
        ),
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


def numbered_occurrences(lines: DataFrame, source_name: str) -> DataFrame:
    """Lines with their event_id, the later ones of an id refused as duplicates.

    A derived id hashes source, user, item, time, action and the occurrence within the file, so that
    exact repeats inside one file are events of their own and a file landed again in another form
    yields the same ids. The first line by (file_id, line_number) keeps the id.
    """
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
    keyed = lines.withColumn(
        "key", F.when(F.col("problem").isNotNull(), alone).otherwise(F.coalesce("event_id", key))
    ).repartition("key")
    in_file = (
        Window.partitionBy("key", "file_id").orderBy("line_number").rowsBetween(Window.unboundedPreceding, 0)
    )
    occurrence = F.when(F.col("event_id").isNull(), F.row_number().over(in_file)).otherwise(F.lit(1))
    same = Window.partitionBy("key", "occurrence").orderBy("file_id", "line_number")
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
    joined = lines.join(F.broadcast(marked), on="event_id", how="left")
    return joined.withColumn("problem", F.coalesce("problem", "known")).select(*lines.columns)


def accepted_events(lines: DataFrame) -> DataFrame:
    """Rows of `events` from the lines without a problem."""
    dated = lines.where(F.col("problem").isNull()).withColumn("event_date", F.to_date("event_at"))
    return dated.select(*EVENTS.column_names)


# --- parts of the transforms ----------------------------------------------------------------------


def _expressions(source: SourceConfig) -> dict[str, str]:
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


# --- files and their record -----------------------------------------------------------------------


class _Record:
    """Writes of one set of new files. Where the tables hold just what `ingested_files` says, rows are
    appended; where an earlier run was killed before it said so, what it left is replaced."""

    def __init__(
        self, spark: SparkSession, job: Job, new: list[LandedFile], ingested: dict[str, Row]
    ) -> None:
        self._spark, self._lake, self._source = spark, job.lake, job.source.name
        self._new = sorted(file.file_id for file in new)
        self._known = {
            EVENTS.name: sum(row["accepted_count"] for row in ingested.values()),
            REJECTED_EVENTS.name: sum(row["rejected_count"] for row in ingested.values()),
            INGESTED_FILES.name: len(ingested),
        }
        self.committed = delta.within("file_id", sorted(ingested))
        """SQL predicate: the row is of a file that was ingested to the end."""

    def interrupted(self, table: Table) -> bool:
        """Whether the table holds other rows than those of ingested files."""
        return delta.row_count(self._spark, self._lake, self._source, table) != self._known[table.name]

    def write(self, rows: DataFrame, table: Table, count: int) -> int:
        """Puts `rows`, `count` of them, into `table`; returns its version."""
        place = (self._lake, self._source)
        if self.interrupted(table):
            return delta.replace(self._spark, rows, table, *place, f"NOT {self.committed}")
        if not count:
            return delta.create(self._spark, *place, table)
        name = hashlib.sha256("".join(self._new).encode()).hexdigest()
        return delta.append_once(self._spark, rows, table, *place, f"files-{name}")


def _ingested(spark: SparkSession, lake: str, source: str) -> dict[str, Row]:
    if delta.latest_version(spark, lake, source, INGESTED_FILES) is None:
        return {}
    return {row["file_id"]: row for row in delta.read(spark, lake, source, INGESTED_FILES).collect()}


def _unknown_files(files: list[LandedFile], ingested: set[str]) -> tuple[list[LandedFile], list[LandedFile]]:
    new: dict[str, LandedFile] = {}
    skipped = []
    for file in files:
        if file.file_id in ingested or file.file_id in new:
            skipped.append(file)
        else:
            new[file.file_id] = file
    return list(new.values()), skipped


def _known_ids(spark: SparkSession, lines: DataFrame, job: Job, record: _Record) -> DataFrame | None:
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
    if shared.isEmpty():
        shared.unpersist()
        return None
    return shared


def _counts(lines: DataFrame) -> dict[str, dict[str | None, int]]:
    counts: dict[str, dict[str | None, int]] = {}
    for row in lines.groupBy("file_id", "problem").count().collect():
        counts.setdefault(row["file_id"], {})[row["problem"]] = row["count"]
    return counts


def _refused(lines: DataFrame, mapped: Mapped, files: list[LandedFile], counts) -> DataFrame:
    """Rows of `rejected_events`. The text of duplicates is read again, so that the lines that became
    events need not carry theirs through the shuffle."""
    refused = lines.where(F.col("problem").isNotNull()).select("file_id", "line_number", "raw", "problem")
    if any(DUPLICATE in reasons for reasons in counts.values()):
        copies = refused.where(F.col("raw").isNull()).select("file_id", "line_number", "problem")
        again = mapped.rows.select(
            F.col(FILE_ID).alias("file_id"),
            F.col(LINE_NUMBER).alias("line_number"),
            kept_raw(RAW).alias("raw"),
        )
        found = again.join(copies, on=["file_id", "line_number"], how="inner")
        refused = refused.where(F.col("raw").isNotNull()).unionByName(found)
    return _named_files(refused, files)


def _named_files(refused: DataFrame, files: list[LandedFile]) -> DataFrame:
    names = refused.sparkSession.createDataFrame(
        [(file.file_id, file.name) for file in files], "file_id string, file_path string"
    )
    joined = refused.join(F.broadcast(names), on="file_id", how="inner")
    return joined.select("file_id", "file_path", "line_number", "raw", F.col("problem").alias("reason"))


def _unreadable_rows(spark: SparkSession, files: list[LandedFile], mapped: Mapped) -> DataFrame:
    rows = [
        (file.file_id, file.name, 1, "", mapped.unreadable[file.file_id])
        for file in files
        if file.file_id in mapped.unreadable
    ]
    return spark.createDataFrame(rows, REJECTED_EVENTS.ddl)


def _log_rows(files: list[LandedFile], mapped: Mapped, counts, cycle: str) -> list[tuple]:
    """Rows of `ingested_files`. Raises RuntimeError when a file's lines do not add up."""
    rows = []
    for file in files:
        lines = mapped.line_counts[file.file_id]
        reasons = (
            {mapped.unreadable[file.file_id]: 1}
            if file.file_id in mapped.unreadable
            else counts.get(file.file_id, {})
        )
        accepted = reasons.get(None, 0)
        refused = sum(reasons.values()) - accepted
        if accepted + refused != lines:
            raise RuntimeError(
                f"{file.name}: {accepted} accepted + {refused} refused lines are not its {lines} lines"
            )
        rows.append((file.file_id, file.name, file.size_bytes, lines, accepted, refused, cycle))
    return rows


def _file_figures(
    new: list[LandedFile], skipped: list[LandedFile], ingested: dict[str, Row]
) -> dict[str, int]:
    again = [f for f in skipped if f.file_id not in ingested or ingested[f.file_id]["file_path"] != f.name]
    return {
        "files_new": len(new),
        "files_skipped": len(skipped),
        "files_landed_again": len(again),
        "bytes": sum(file.size_bytes for file in new),
        "lines": 0,
        "accepted": 0,
        "rejected": 0,
    }


def _line_figures(mapped: Mapped, counts) -> dict[str, int]:
    total: dict[str, int] = {}
    for reasons in [*counts.values(), *({reason: 1} for reason in mapped.unreadable.values())]:
        for reason, count in reasons.items():
            key = "accepted" if reason is None else f"rejected: {reason}"
            total[key] = total.get(key, 0) + count
    lines = sum(mapped.line_counts.values())
    accepted = total.pop("accepted", 0)
    absent = {f"absent column: {name}": 1 for name in mapped.absent}
    return (
        {"lines": lines, "accepted": accepted, "rejected": lines - accepted}
        | dict(sorted(total.items()))
        | absent
    )


def _versions(spark: SparkSession, lake: str, source: str) -> dict[str, int]:
    found = {
        table.name: delta.latest_version(spark, lake, source, table)
        for table in (EVENTS, REJECTED_EVENTS, INGESTED_FILES)
    }
    return {name: version for name, version in found.items() if version is not None}
