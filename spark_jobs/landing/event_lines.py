"""Lines of the log as typed events: which lines are events, and the event_id of each.

Pure transforms over the lines of `reading.read_mapped`; `spark_jobs.events` writes their results.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from expectations.instants import microseconds
from expectations.tables import EVENTS, REWARD_SIGNALS
from spark_jobs.config import SourceConfig
from spark_jobs.lake.local_rows import local_rows
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
from spark_jobs.landing.instants import NOT_AN_INSTANT, parsed_microseconds
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW

DUPLICATE = "duplicate event_id"
TOO_EARLY = "time is before the earliest allowed"
TOO_LATE = "time is after the latest allowed"
UNKNOWN_ACTION = "unknown action"
RULES = (TOO_EARLY, TOO_LATE, UNKNOWN_ACTION)
"""Reasons that follow from the source's bounds and actions alone."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Bounds of `event_at` for a source that sets none of its own."""
OPTIONAL = (*REWARD_SIGNALS, "page", "position", "country", "device")
"""Event columns that a line may leave empty."""
CHECKED_LINES = "file_id string, line_number bigint, problem string, raw string, " + ", ".join(
    f"{column.name} {column.type}"
    for column in EVENTS.columns
    if column.name not in ("file_id", "line_number", "event_date")
)
"""Columns of checked lines, in Spark's DDL form."""
_DERIVED_ID_CHARACTERS = 32
"""A derived event_id is 128 bits of a SHA-256, in hexadecimal."""


def mapped_expressions(source: SourceConfig) -> dict[str, str]:
    """SQL expressions by event field, of the fields that the source's mapping gives."""
    mapping = source.events
    names = ("user", "item", "time", "event_id", "action", *OPTIONAL)
    return {name: getattr(mapping, name) for name in names if getattr(mapping, name) is not None}


def checked_lines(rows: DataFrame, source: SourceConfig) -> DataFrame:
    """Mapped lines (the columns of `reading.read_mapped`) with typed columns: CHECKED_LINES.

    `problem` is the reason for refusing the line, null for an event. `raw` is kept for refused lines only.
    `event_id` is null where it has to be derived.
    """
    at = parsed_microseconds(rows, "time", source.events.time_unit)
    earliest = microseconds(source.earliest or EARLIEST)
    latest = microseconds(source.latest or LATEST)
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
        .when(F.col("at_us").isNull(), f"time {NOT_AN_INSTANT}")
        .when(F.col("at_us") < earliest, TOO_EARLY)
        .when(F.col("at_us") > latest, TOO_LATE),
        F.when(F.col("action").isNull() | (F.col("action") == ""), "missing action").when(
            ~F.col("action").isin(*source.actions), UNKNOWN_ACTION
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
    """Checked lines with their event_id; all but the first line of an id are refused as duplicates.

    A derived id hashes source, user, item, time, action and the occurrence within the file: exact repeats
    inside one file are separate events, and a file landed again in another format yields the same ids. The
    first line by (file name, line number) keeps the id; where file names follow time, the result is as if
    the files had been ingested one after the other.
    """
    by_name = sorted(files, key=lambda file: file.name)
    order = [(file.file_id, place) for place, file in enumerate(by_name)]
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
    # Every refused line gets a unique key: refused lines spread evenly and never count as duplicates.
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
    """The lines, with those whose event_id is in `known` (one column, distinct) refused as duplicates."""
    marked = known.select("event_id", F.lit(DUPLICATE).alias("known"))
    joined = lines.join(marked, on="event_id", how="left")
    return joined.withColumn("problem", F.coalesce("problem", "known")).select(*lines.columns)


def accepted_events(lines: DataFrame) -> DataFrame:
    """Rows of `events`, from the lines without a problem."""
    dated = lines.where(F.col("problem").isNull()).withColumn("event_date", F.to_date("event_at"))
    return dated.select(*EVENTS.column_names)


def rule_problem(source: SourceConfig) -> Column:
    """Why the source's bounds and actions refuse a stored event, one of RULES; null when they do not."""
    at_us = F.unix_micros("event_at")
    return (
        F.when(at_us < microseconds(source.earliest or EARLIEST), TOO_EARLY)
        .when(at_us > microseconds(source.latest or LATEST), TOO_LATE)
        .when(~F.col("action").isin(*source.actions), UNKNOWN_ACTION)
    )


def _signal_problem(name: str) -> Column:
    value = F.col(name)
    problem = F.when(F.col(f"{name}_given") & value.isNull(), f"{name} is not a number").when(
        F.isnan(value) | value.isin(float("inf"), float("-inf")), f"{name} is not finite"
    )
    return problem if name == "rating" else problem.when(value < 0, f"{name} is negative")
