"""Lines of the log as typed events: which lines are events, and the event_id of each.

Pure transforms over the lines of `reading.read_mapped`; `spark_jobs.events` writes their results.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from expectations.instants import microseconds
from expectations.tables import EVENTS, REWARD_SIGNALS
from spark_jobs.config import SourceConfig
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.expressions import FAILED, FAILS
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
from spark_jobs.landing.kinds import KIND_LETTERS
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW

DUPLICATE = "duplicate event_id"
"""The event is known with the same content."""
REPEATED = "repeats another line of its file exactly"
CONFLICT = "event_id of an event with other content"
REPLACED = "replaced by a later line with its event_id"
REPLACED_BY_ANOTHER = "replaced by a later line with its event_id, but of another user or item"
CONFLICTS = (CONFLICT, REPLACED_BY_ANOTHER)
"""Reasons that say that an event_id does not name one event."""
BESIDE_ANOTHER = (DUPLICATE, REPEATED, REPLACED, *CONFLICTS)
"""Reasons for refusing a line that would be an event if it were alone."""
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
CONTENT = ("user_id", "item_id", "event_at", "action", *OPTIONAL)
"""Event columns that two lines of one event share."""
CHECKED_LINES = "file_id string, line_number bigint, problem string, raw string, " + ", ".join(
    f"{column.name} {column.type}"
    for column in EVENTS.columns
    if column.name not in ("file_id", "line_number")
)
CHECKED_LINES += ", kinds string"
"""Columns of checked lines, in Spark's DDL form; `event_date` is known of refused lines too whose time can be read, and
`kinds` are `landing.kinds.KIND_LETTERS`."""
_DERIVED_ID_CHARACTERS = 32
"""A derived event_id is 128 bits of a SHA-256, in hexadecimal."""


def mapped_expressions(source: SourceConfig) -> dict[str, str]:
    """SQL expressions by event field, of the fields that the source's mapping gives."""
    mapping = source.events
    names = ("user", "item", "time", "event_id", "action", *OPTIONAL)
    return {name: getattr(mapping, name) for name in names if getattr(mapping, name) is not None}


def mapped_optional(source: SourceConfig) -> tuple[str, ...]:
    """The event columns that a line may leave empty and that the source's mapping gives."""
    return tuple(name for name in OPTIONAL if getattr(source.events, name) is not None)


def checked_lines(rows: DataFrame, source: SourceConfig) -> DataFrame:
    """Mapped lines (the columns of `reading.read_mapped`) with typed columns: CHECKED_LINES.

    `problem` is the reason for refusing the line, null for an event. `raw` is kept for refused lines only.
    `event_id` is null where it has to be derived.
    """
    at = parsed_microseconds(rows, "time", source.events.time_unit)
    earliest = microseconds(source.earliest or EARLIEST)
    latest = microseconds(source.latest or LATEST)
    action = F.col("action").cast("string") if source.events.action else F.lit(source.actions[0])
    ids = {"user": "user_id", "item": "item_id"} | (
        {"event_id": "event_id"} if source.events.event_id else {}
    )
    rows = rows.withColumns({f"__{name}_text": text_id(rows, name) for name in ids})
    typed = rows.select(
        F.col(FILE_ID).alias("file_id"),
        F.col(LINE_NUMBER).alias("line_number"),
        F.col(RAW).alias("raw"),
        F.col(PROBLEM).alias("unread"),
        F.when(F.size(FAILED) > 0, F.concat(F.get(FAILED, F.lit(0)), F.lit(f" {FAILS}"))).alias("failed"),
        *[F.col(f"__{name}_text").alias(column) for name, column in ids.items()],
        *[
            id_problem(rows, name, f"__{name}_text", name, source.missing).alias(f"{name}_problem")
            for name in ids
        ],
        *([] if source.events.event_id else [F.lit(None).cast("string").alias("event_id")]),
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
        F.col(KIND_LETTERS).alias("kinds"),
    )
    problem = F.coalesce(
        "unread",
        "failed",
        "user_problem",
        "item_problem",
        F.when(F.col("time_missing"), "missing time")
        .when(F.col("at_us").isNull(), f"time {NOT_AN_INSTANT}")
        .when(F.col("at_us") < earliest, TOO_EARLY)
        .when(F.col("at_us") > latest, TOO_LATE),
        F.when(F.col("action").isNull() | (F.col("action") == ""), "missing action").when(
            ~F.col("action").isin(*source.actions), UNKNOWN_ACTION
        ),
        *(["event_id_problem"] if source.events.event_id else []),
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
        F.when(F.col("at_us").between(earliest, latest), F.to_date(F.timestamp_micros("at_us"))).alias("event_date"),
        "kinds",
    )  # fmt: skip


def numbered_occurrences(lines: DataFrame, source: SourceConfig, files: list[LandedFile]) -> DataFrame:
    """Checked lines with their event_id, of which one line is the event and the others are refused.

    A derived id hashes source, user, item, time, action and the occurrence within the file: exact repeats
    inside one file are separate events unless the source refuses them, and a file landed again in another format
    yields the same ids. Of the lines of an id the first by (file name, line number) is the event, or the last
    where the source keeps the last; where file names follow time, the result is as if the files had been
    ingested one after the other.

    Adds `content`, a digest of CONTENT; `about`, one of user and item; and `repeats`, whether a line whose id is
    derived repeats an earlier one of its file exactly.
    """
    in_order = sorted(files, key=lambda file: file.order)
    order = [(file.file_id, place) for place, file in enumerate(in_order)]
    places = local_rows(lines.sparkSession, order, "file_id string, file_place bigint")
    separator = "\x1f"  # no id holds a control character
    key = F.sha2(
        F.concat_ws(
            separator,
            F.lit(source.name),
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
    keyed = placed.withColumns(
        {
            "key": F.when(F.col("problem").isNotNull(), alone).otherwise(F.coalesce("event_id", key)),
            "content": digest(CONTENT),
            "about": digest(("user_id", "item_id")),
        }
    ).repartition("key")
    before = (Window.unboundedPreceding, 0)
    in_file = Window.partitionBy("key", "file_id")
    occurrence = F.when(
        F.col("event_id").isNull(), F.row_number().over(in_file.orderBy("line_number").rowsBetween(*before))
    ).otherwise(F.lit(1))
    # Lines of a derived id that are alike are few contents at most: the set stays small.
    earlier = F.collect_set(F.when(F.col("event_id").isNull(), F.col("content"))).over(
        in_file.orderBy("line_number").rowsBetween(Window.unboundedPreceding, -1)
    )
    repeats = F.col("problem").isNull() & F.array_contains(earlier, F.col("content"))
    direction = F.desc if source.on_conflict == "keep_last" else F.asc
    same = (
        Window.partitionBy("key", "occurrence")
        .orderBy(direction("file_place"), direction("line_number"))
        .rowsBetween(*before)
    )
    derived = F.sha2(F.concat_ws(separator, "key", F.col("occurrence").cast("string")), 256)
    numbered = (
        keyed.withColumn("occurrence", occurrence)
        .withColumn("repeats", repeats)
        .withColumns(
            {
                "copy": F.row_number().over(same),
                "kept_content": F.first("content").over(same),
                "kept_about": F.first("about").over(same),
            }
        )
    )
    refused = _refused_beside(source, F.col("kept_content"), F.col("kept_about"))
    repeated = F.when(F.col("repeats"), REPEATED) if source.repeats == "refuse" else F.lit(None)
    return numbered.select(
        "file_id", "line_number", "raw",
        F.coalesce("problem", repeated, F.when(F.col("copy") > 1, refused)).alias("problem"),
        F.coalesce("event_id", F.substring(derived, 1, _DERIVED_ID_CHARACTERS)).alias("event_id"),
        *CONTENT, "event_date", "kinds", "content", "about", "repeats",
    )  # fmt: skip


def refuse_known(lines: DataFrame, known: DataFrame, source: SourceConfig) -> DataFrame:
    """The lines, with those refused whose event is known with the same content, or with other content unless
    the source keeps the last. `known` has `event_id`, distinct, and `known_content` and `known_about`."""
    is_same = F.col("content") == F.col("known_content")
    other = F.lit(CONFLICT) if source.on_conflict == "refuse" else F.lit(None)
    problem = F.when(F.col("known_content").isNotNull(), F.when(is_same, DUPLICATE).otherwise(other))
    joined = lines.join(known.select("event_id", "known_content"), on="event_id", how="left")
    return joined.withColumn("problem", F.coalesce("problem", problem)).select(*lines.columns)


def digest(columns: Sequence[str]) -> Column:
    """64 bits by which rows with the same values in these columns are known."""
    # A null alone would be passed over, and ('a', null) and (null, 'a') be the same.
    return F.xxhash64(*[part for name in columns for part in (F.col(name), F.col(name).isNull())])


def _refused_beside(source: SourceConfig, content: Column, about: Column) -> Column:
    """Why a line is refused beside the event that its event_id names, which has this content."""
    if source.on_conflict == "refuse":
        return F.when(F.col("content") == content, DUPLICATE).otherwise(CONFLICT)
    return (
        F.when(F.col("content") == content, DUPLICATE)
        .when(F.col("about") == about, REPLACED)
        .otherwise(REPLACED_BY_ANOTHER)
    )


def accepted_events(lines: DataFrame) -> DataFrame:
    """Rows of `events`, from the lines without a problem."""
    return lines.where(F.col("problem").isNull()).select(*EVENTS.column_names)


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
