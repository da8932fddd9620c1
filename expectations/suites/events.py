"""What must be true of `events`, and of the files they came from.

Content is judged up to the cutoff, because a landed file may hold later events that the cycle does not
use; the grain is judged on the whole table. New lines and drift are measured beforehand, in
`expectations.new_lines` and `expectations.drift`. What is lost by file and by day is another suite, `losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations.expectation import LARGEST_DOUBLE, Expectation, unique
from expectations.figures import Drift, NewLines, Window
from expectations.instants import microseconds, timestamp_sql
from expectations.tables import EVENTS

KEYS = ("event_id", "file_id", "line_number")
FILE_KEYS = ("file_path", "file_id")

AGGREGATES = ("files", "window")
"""Batches to cache."""
SHOWN_FILES = 3
"""Files that cannot be read and are named with their reason."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the expectations; their defaults are in the pipeline's configuration."""

    actions: tuple[str, ...]
    """All actions of the source."""
    earliest: datetime
    """Earliest allowed `event_at`."""
    latest: datetime
    """Latest allowed `event_at`."""
    max_faulty_fraction: float
    """Largest allowed share of faulty lines among the new lines."""
    max_conflict_fraction: float
    """Largest allowed share of lines among the new ones whose event_id is another event's."""
    min_window_events: int
    """Smallest allowed number of events in (split, cutoff]."""
    min_volume_ratio: float
    """Smallest allowed `Drift.volume_ratio`."""
    max_volume_ratio: float
    """Largest allowed `Drift.volume_ratio`."""
    max_action_mix_distance: float
    """Largest allowed `Drift.action_mix_distance`, 0 to 1."""


@dataclass(frozen=True)
class Measured:
    """What is measured before anything is judged."""

    new: NewLines
    window: Window
    drift: Drift | None
    """None without an earlier cycle to compare with."""
    unreadable: tuple[str, ...] = ()
    """Files that cannot be read, each with the reason."""


def batches(
    spark: SparkSession,
    events: DataFrame,
    ingested_files: DataFrame,
    rejected_events: DataFrame,
    cutoff: datetime,
    measured: Measured,
) -> dict[str, DataFrame]:
    """The rows to judge: `table`; `content`, events up to the cutoff; `files`, one row per landed file;
    `window`, one row of what was measured."""
    content = events.where(f"event_at <= {timestamp_sql(cutoff)}").select(
        "*",
        F.unix_micros("event_at").alias("event_at_us"),
    )
    drift = measured.drift
    row = {
        "events": (measured.window.events, "bigint"),
        "faulty_fraction": (measured.new.faulty_fraction, "double"),
        "conflict_fraction": (measured.new.conflict_fraction, "double"),
        "volume_ratio": (drift.volume_ratio if drift else None, "double"),
        "action_mix_distance": (drift.action_mix_distance if drift else None, "double"),
    }
    # Literals over a range: reading a row made from Python values would start a Python worker.
    figures = [F.lit(value).cast(kind).alias(name) for name, (value, kind) in row.items()]
    return {
        "table": events.select(*KEYS),
        "content": content,
        "files": files(events, ingested_files, rejected_events),
        "window": spark.range(1).select(*figures),
    }


def files(events: DataFrame, ingested_files: DataFrame, rejected_events: DataFrame) -> DataFrame:
    """One row per ingested file, and per file that occurs in events or rejected_events only."""
    kept = events.groupBy("file_id").agg(F.count("*").alias("event_rows"))
    refused = rejected_events.groupBy("file_id").agg(F.count("*").alias("rejected_rows"))
    counted = kept.join(refused, on="file_id", how="full").join(ingested_files, on="file_id", how="full")
    zero = F.lit(0).cast("bigint")
    return counted.select(
        "file_id",
        "file_path",
        (F.col("mapping_digest") == "").cast("int").alias("unreadable"),
        "accepted_count",
        "rejected_count",
        F.coalesce("event_rows", zero).alias("event_rows"),
        F.coalesce("rejected_rows", zero).alias("rejected_rows"),
    )


def expectations(limits: Limits, measured: Measured) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    return (
        unique("table", EVENTS.key, "no event_id occurs twice", keys=KEYS),
        *_content(limits),
        *_files(measured),
        *_window(limits, measured),
    )


def _content(limits: Limits) -> tuple[Expectation, ...]:
    def between(column: str, words: str, minimum: float | None, maximum: float | None = None) -> Expectation:
        return Expectation(
            f"{column}_in_range", words, "content", "between", (column,), KEYS, minimum, maximum
        )

    return (
        Expectation(
            "action_known",
            "every action is one that the source defines",
            "content",
            "in_set",
            ("action",),
            KEYS,
            allowed_values=limits.actions,
        ),
        Expectation(
            "event_at_in_range",
            f"no event is before {limits.earliest:%Y-%m-%d} or after {limits.latest:%Y-%m-%d}",
            "content",
            "between",
            ("event_at_us",),
            KEYS,
            microseconds(limits.earliest),
            microseconds(limits.latest),
            allowed_words=f"{limits.earliest:%Y-%m-%d} ≤ event_at ≤ {limits.latest:%Y-%m-%d}",
        ),
        between("watch_seconds", "watch_seconds is finite", None, LARGEST_DOUBLE),
        between("completion_fraction", "completion_fraction is finite", None, LARGEST_DOUBLE),
        between("rating", "rating is a finite number", -LARGEST_DOUBLE, LARGEST_DOUBLE),
        between("position", "position is not negative", 0),
    )


def _files(measured: Measured) -> tuple[Expectation, ...]:
    def equal(name: str, words: str, left: str, right: str) -> Expectation:
        return Expectation(name, words, "files", "equal", (left, right), FILE_KEYS)

    return (
        Expectation(
            "file_readable",
            "every landed file can be read",
            "files",
            "between",
            ("unreadable",),
            FILE_KEYS,
            maximum=0,
            observed=_shown(measured.unreadable),
            remedy="repair, replace or remove the file, every run tries it again",
        ),
        equal(
            "accepted_are_events",
            "every accepted line is one row of events",
            "event_rows",
            "accepted_count",
        ),
        equal(
            "rejected_are_kept",
            "every rejected line is one row of rejected_events",
            "rejected_rows",
            "rejected_count",
        ),
    )


def _shown(unreadable: Sequence[str]) -> str:
    more = len(unreadable) - SHOWN_FILES
    return "; ".join(unreadable[:SHOWN_FILES]) + (f"; and {more:,} more" if more > 0 else "")


def _window(limits: Limits, measured: Measured) -> tuple[Expectation, ...]:
    new, window, drift = measured.new, measured.window, measured.drift
    first = None if drift else "no earlier cycle to compare with"
    return (
        Expectation(
            "faulty_lines_few",
            "few of the lines landed since the last passed cycle are faulty",
            "window",
            "between",
            ("faulty_fraction",),
            maximum=limits.max_faulty_fraction,
            allowed_words=f"at most {limits.max_faulty_fraction:.1%} of the lines are faulty",
            observed="; ".join(
                [f"{new.faulty:,} of {new.lines:,} lines, {new.faulty_fraction:.1%}", *new.examples]
            ),
            remedy="mend the files or the mapping, or raise expectations.max_faulty_fraction",
        ),
        Expectation(
            "event_ids_name_one_event",
            "few of these lines have the event_id of an event with other content; is it the id of a session?",
            "window",
            "between",
            ("conflict_fraction",),
            maximum=limits.max_conflict_fraction,
            allowed_words=f"at most {limits.max_conflict_fraction:.1%} of the lines",
            observed=f"{new.conflicts:,} of {new.lines:,} lines, {new.conflict_fraction:.1%}",
        ),
        Expectation(
            "window_not_empty",
            f"the evaluation window has at least {limits.min_window_events:,} events",
            "window",
            "between",
            ("events",),
            minimum=limits.min_window_events,
            observed=f"{window.events:,} events",
        ),
        Expectation(
            "volume_drift",
            "events per day in the window are close to the median of earlier cycles",
            "window",
            "between",
            ("volume_ratio",),
            minimum=limits.min_volume_ratio,
            maximum=limits.max_volume_ratio,
            observed=f"{drift.volume_ratio:.3g} times the median" if drift else "",
            not_applicable=first,
        ),
        Expectation(
            "action_mix_drift",
            "the share of each action is close to that of earlier cycles",
            "window",
            "between",
            ("action_mix_distance",),
            maximum=limits.max_action_mix_distance,
            observed=f"total variation distance {drift.action_mix_distance:.3g}" if drift else "",
            not_applicable=first or ("the source has one action" if len(limits.actions) == 1 else None),
        ),
    )
