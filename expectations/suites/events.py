"""What must be true of `events`, and of the files they came from.

In: `events`, `ingested_files` and `rejected_events` at the versions to judge, the cycle's split and
cutoff, and what earlier cycles saw. Out: batches and expectations. Content is judged up to the
cutoff, since a landed file may hold later events that this cycle does not use; the grain is judged
on the whole table. It does not know where earlier cycles keep their figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations.expectation import LARGEST_DOUBLE, Expectation, never_null, unique
from expectations.figures import Drift, NewLines, Window
from expectations.instants import microseconds
from expectations.tables import EVENTS

KEYS = ("event_id", "file_id", "line_number")
FILE_KEYS = ("file_path", "file_id")

EXAMPLES = 5
"""Reasons of faulty lines that are told."""
AGGREGATES = ("files", "window")
"""Batches that are worth computing once."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the expectations; the defaults of each live in the pipeline's configuration."""

    actions: tuple[str, ...]
    """Every action that the source may have."""
    earliest: datetime
    """No event is earlier than this."""
    latest: datetime
    """No event is later than this."""
    max_faulty_fraction: float
    """Share of a cycle's new lines that may be refused as faulty."""
    min_window_events: int
    """Events that (split, cutoff] must hold."""
    min_volume_ratio: float
    """Events a day in the window, over the median of earlier cycles."""
    max_volume_ratio: float
    max_action_mix_distance: float
    """Total variation distance of the window's action mix from earlier cycles', 0 to 1."""


@dataclass(frozen=True)
class Measured:
    """What is measured before anything is judged."""

    new: NewLines
    now: Window
    moved: Drift | None
    """None: no earlier cycle to compare with."""


def new_lines(
    ingested_files: DataFrame,
    rejected_events: DataFrame,
    passed: Sequence[str],
    harmless_reasons: Sequence[str],
) -> NewLines:
    """Counts the lines of the files that no cycle in `passed` ingested, and the faulty ones among them.

    What a failed cycle ingested is judged again by the next: nobody has looked at it.
    """
    new = ingested_files.where(~F.col("cycle").isin(*passed)).select("file_id", "line_count")
    is_harmless = F.col("reason").isin(*harmless_reasons)
    refused = rejected_events.groupBy("file_id").agg(
        F.count_if(is_harmless).alias("harmless"), F.count_if(~is_harmless).alias("faulty")
    )
    sums = [F.sum(name).alias(name) for name in ("line_count", "harmless", "faulty")]
    row = new.join(refused, on="file_id", how="left").agg(*sums).first()
    lines, faulty = (row["line_count"] or 0) - (row["harmless"] or 0), row["faulty"] or 0
    return NewLines(lines, faulty, _examples(new, rejected_events.where(~is_harmless)) if faulty else ())


def _examples(new: DataFrame, faulty: DataFrame) -> tuple[str, ...]:
    by_reason = faulty.join(new, on="file_id", how="left_semi").groupBy("reason")
    first = F.min(F.struct("file_path", "line_number")).alias("first")
    found = by_reason.agg(F.count("*").alias("n"), first).orderBy(F.desc("n"), "reason").limit(EXAMPLES)
    return tuple(
        f"{row['n']:,} × {row['reason']} (first: {row['first']['file_path']}, line {row['first']['line_number']})"
        for row in found.collect()
    )


def batches(
    spark: SparkSession,
    events: DataFrame,
    ingested_files: DataFrame,
    rejected_events: DataFrame,
    cutoff: datetime,
    measured: Measured,
) -> dict[str, DataFrame]:
    """The rows to judge: `table`, `content` up to the cutoff, one row a landed file (`files`),
    and one row of what was measured (`window`)."""
    content = events.where(F.col("event_at") <= F.timestamp_micros(F.lit(microseconds(cutoff)))).select(
        "*",
        F.unix_micros("event_at").alias("event_at_us"),
        F.to_date("event_at").alias("date_of_event_at"),
        F.least(F.length("event_id"), F.length("user_id"), F.length("item_id")).alias("shortest_key"),
    )
    moved = measured.moved
    row = {
        "events": (measured.now.events, "bigint"),
        "faulty_fraction": (measured.new.faulty_fraction, "double"),
        "volume_ratio": (moved.volume_ratio if moved else None, "double"),
        "action_mix_distance": (moved.action_mix_distance if moved else None, "double"),
    }
    # Literals over a range: a row made from Python values would start a Python worker to be read.
    figures = [F.lit(value).cast(kind).alias(name) for name, (value, kind) in row.items()]
    return {
        "table": events.select(*KEYS),
        "content": content,
        "files": files(events, ingested_files, rejected_events),
        "window": spark.range(1).select(*figures),
    }


def files(events: DataFrame, ingested_files: DataFrame, rejected_events: DataFrame) -> DataFrame:
    """One row per ingested file, and per file that rows name though it was never ingested."""
    kept = events.groupBy("file_id").agg(F.count("*").alias("event_rows"))
    refused = rejected_events.groupBy("file_id").agg(F.count("*").alias("rejected_rows"))
    counted = kept.join(refused, on="file_id", how="full").join(ingested_files, on="file_id", how="full")
    zero = F.lit(0).cast("bigint")
    return counted.select(
        "file_id",
        "file_path",
        (F.col("mapping_digest") == "").cast("int").alias("unreadable"),
        "line_count",
        (F.col("accepted_count") + F.col("rejected_count")).alias("accepted_plus_rejected"),
        "accepted_count",
        "rejected_count",
        F.coalesce("event_rows", zero).alias("event_rows"),
        F.coalesce("rejected_rows", zero).alias("rejected_rows"),
    )


def expectations(limits: Limits, measured: Measured) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    return (
        unique("table", EVENTS.key, "every event occurs once: no event_id twice", keys=KEYS),
        *never_null(EVENTS, "content", KEYS),
        *_content(limits),
        *_files(),
        *_window(limits, measured),
    )


def _content(limits: Limits) -> tuple[Expectation, ...]:
    def between(column: str, words: str, minimum: float, maximum: float) -> Expectation:
        return Expectation(
            f"{column}_in_range", words, "content", "between", (column,), KEYS, minimum, maximum
        )

    return (
        Expectation(
            "action_known",
            "every action is one of the source's",
            "content",
            "in_set",
            ("action",),
            KEYS,
            allowed_values=limits.actions,
        ),
        between("shortest_key", "no identifier is empty", 1, 10_000),
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
        between("watch_seconds", "watch time is finite and not negative, seconds", 0, LARGEST_DOUBLE),
        between("completion_fraction", "completion is finite and not negative", 0, LARGEST_DOUBLE),
        between("rating", "a rating is a finite number", -LARGEST_DOUBLE, LARGEST_DOUBLE),
        between("position", "a position on the page is not negative", 0, 2**31 - 1),
        Expectation(
            "event_date_of_event_at",
            "event_date is the UTC date of event_at",
            "content",
            "equal",
            ("event_date", "date_of_event_at"),
            KEYS,
        ),
    )


def _files() -> tuple[Expectation, ...]:
    def equal(name: str, words: str, left: str, right: str) -> Expectation:
        return Expectation(name, words, "files", "equal", (left, right), FILE_KEYS)

    return (
        Expectation(
            "file_readable",
            "every landed file can be read; mend or remove one that cannot, it is tried again",
            "files",
            "between",
            ("unreadable",),
            FILE_KEYS,
            maximum=0,
        ),
        equal(
            "lines_add_up",
            "accepted + rejected = lines, in every file",
            "accepted_plus_rejected",
            "line_count",
        ),
        equal(
            "accepted_are_events",
            "every accepted line is one row of events",
            "event_rows",
            "accepted_count",
        ),
        equal(
            "rejected_are_kept",
            "every refused line is one row of rejected_events",
            "rejected_rows",
            "rejected_count",
        ),
    )


def _window(limits: Limits, measured: Measured) -> tuple[Expectation, ...]:
    new, now, moved = measured.new, measured.now, measured.moved
    first = None if moved else "no earlier cycle to compare with"
    return (
        Expectation(
            "faulty_lines_few",
            "of the lines that no cycle has passed yet, few enough were faulty",
            "window",
            "between",
            ("faulty_fraction",),
            maximum=limits.max_faulty_fraction,
            observed="; ".join(
                [f"{new.faulty:,} of {new.lines:,} lines, {new.faulty_fraction:.1%}", *new.examples]
            ),
        ),
        Expectation(
            "window_not_empty",
            f"the evaluation window holds at least {limits.min_window_events:,} events",
            "window",
            "between",
            ("events",),
            minimum=limits.min_window_events,
            observed=f"{now.events:,} events",
        ),
        Expectation(
            "volume_drift",
            "events a day in the window are near the median of earlier cycles",
            "window",
            "between",
            ("volume_ratio",),
            minimum=limits.min_volume_ratio,
            maximum=limits.max_volume_ratio,
            observed=f"{moved.volume_ratio:.3g} times the median" if moved else "",
            not_applicable=first,
        ),
        Expectation(
            "action_mix_drift",
            "the share of each action is near that of earlier cycles",
            "window",
            "between",
            ("action_mix_distance",),
            maximum=limits.max_action_mix_distance,
            observed=f"total variation distance {moved.action_mix_distance:.3g}" if moved else "",
            not_applicable=first or ("the source has one action" if len(limits.actions) == 1 else None),
        ),
    )
