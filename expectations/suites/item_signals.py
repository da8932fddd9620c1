"""What must be true of a cycle's `item_signals`: a row for every bucket in which an item has events, counts
that are those of the events, and nothing past the split in what training opens.

Events are counted and decayed again here, directly from their times, independently of how signals are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from expectations.expectation import LARGEST_DOUBLE, Expectation, between, unique
from expectations.instants import DAY_US, microseconds, timestamp_sql
from expectations.tables import ITEM_SIGNALS

KEYS = ("item_index", "bucket_end_us")

TOLERANCE = 1e-9
"""Relative error that sums of doubles may have."""

_row_between = partial(between, "rows", KEYS)

AGGREGATES = ("items",)
"""Batches to cache."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the expectations."""

    split: datetime
    cutoff: datetime
    items: int
    """Number of rows of `items`; every item_index is below it."""
    half_lives_days: tuple[float, ...]
    """Half-lives of `decayed`, in order."""
    bucket_us: int
    """Length of a bucket, microseconds."""


def batches(signals: DataFrame, events: DataFrame, items: DataFrame, limits: Limits) -> dict[str, DataFrame]:
    """The rows to judge: `rows` with derived columns; `buckets`, the events that a row adds beside those of the
    bucket; `items`, the last row of every item beside the item's events up to the cutoff."""
    numbers = items.select("item_id", "item_index")
    known = (
        events.where(f"event_at <= {timestamp_sql(limits.cutoff)}")
        .join(numbers, on="item_id", how="left")
        .select("item_index", F.unix_micros("event_at").alias("at"))
    )
    return {
        "rows": rows(signals, limits),
        "buckets": buckets(signals, known, limits.bucket_us),
        "items": last_rows(signals, known, limits.half_lives_days),
    }


def rows(signals: DataFrame, limits: Limits) -> DataFrame:
    """Each row with the derived columns that are judged."""
    end, after = F.col("bucket_end_us"), F.col("after_split")
    middle = F.get("decayed", F.lit(len(limits.half_lives_days) // 2))
    return signals.select(
        *ITEM_SIGNALS.column_names,
        F.size(F.array_compact("decayed")).alias("half_lives"),
        F.pmod(end, F.lit(limits.bucket_us).cast("bigint")).alias("off_the_grid_us"),
        (end - limits.bucket_us).alias("bucket_begin_us"),
        F.when(~after, end).alias("end_up_to_split_us"),
        F.when(after, end).alias("end_after_split_us"),
        F.array_max("decayed").alias("largest_decayed"),
        (F.col("events") * (1 + TOLERANCE)).alias("most_decayed"),
        (middle * (1 + TOLERANCE)).alias("most_high_value"),
        _ascends("decayed").alias("longer_half_lives_keep_more"),
    )


def _ascends(array: str) -> Column:
    """Whether no value is larger than the next one."""

    def at_most_the_next(value: Column, index: Column) -> Column:
        return F.coalesce(value <= F.get(array, index + 1) * (1 + TOLERANCE), F.lit(True))

    return F.forall(F.transform(array, at_most_the_next), lambda holds: holds)


def buckets(signals: DataFrame, known: DataFrame, bucket_us: int) -> DataFrame:
    """The events that each row adds to the item's row before it, beside the events of the bucket; 0 where
    there are none."""
    in_time = Window.partitionBy("item_index").orderBy("bucket_end_us")
    added = signals.select(
        *KEYS, (F.col("events") - F.lag("events", 1, 0).over(in_time)).alias("added_events")
    )
    length = F.lit(bucket_us).cast("bigint")
    end = (F.col("at") - F.pmod("at", length) + length).alias("bucket_end_us")
    counted = known.select("item_index", end).groupBy(*KEYS).agg(F.count("*").alias("counted_events"))
    return _zeros(added.join(counted, on=list(KEYS), how="full"), KEYS)


def last_rows(signals: DataFrame, known: DataFrame, half_lives_days: Sequence[float]) -> DataFrame:
    """Every item's last row beside its events: their number, the time of the first, and the decayed counts
    summed over the half-lives."""
    last = signals.groupBy("item_index").agg(
        F.max("bucket_end_us").alias("last_end_us"),
        F.max("events").alias("last_events"),
        F.min("first_event_at_us").alias("smallest_first_at_us"),
        F.max("first_event_at_us").alias("largest_first_at_us"),
        F.max_by(
            F.aggregate("decayed", F.lit(0.0), lambda total, value: total + value), "bucket_end_us"
        ).alias("last_decayed"),
    )
    # An item without rows is compared with counts of age 0, so that it fails.
    age = (F.coalesce("last_end_us", "at") - F.col("at")) / float(DAY_US)
    weights = [F.pow(F.lit(2.0), -age / float(days)) for days in half_lives_days]
    counted = (
        known.join(last.select("item_index", "last_end_us"), on="item_index", how="left")
        .groupBy("item_index")
        .agg(
            F.count("*").alias("counted_events"),
            F.min("at").alias("first_at_us"),
            F.sum(sum(weights, F.lit(0.0))).alias("counted_decayed"),
        )
    )
    both = _zeros(last.join(counted, on="item_index", how="full"), ("item_index",))
    difference = F.abs(F.col("last_decayed") - F.col("counted_decayed"))
    close = difference <= TOLERANCE * (1 + F.col("counted_decayed"))
    return both.withColumn("decayed_is_true", close)


def _zeros(both: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The rows of a full join with 0 for what one side lacks."""
    values = [name for name in both.columns if name not in keys]
    return both.select(*keys, *(F.coalesce(name, F.lit(0)).alias(name) for name in values))


def expectations(limits: Limits) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    return (
        Expectation("item_signals_not_empty", "there is at least one row", "rows", "row_count", minimum=1),
        unique("rows", KEYS, "one row per item and bucket", keys=KEYS),
        *_ranges(limits),
        *_times(limits),
        *_equations(),
    )


def _ranges(limits: Limits) -> tuple[Expectation, ...]:
    count = len(limits.half_lives_days)
    return (
        _row_between(
            "item_index_in_range",
            "item_index",
            "every item_index is that of a row of items",
            maximum=limits.items - 1,
        ),
        _row_between("half_lives_in_range", "half_lives", f"a row has {count} decayed counts", count, count),
        _row_between(
            "decayed_finite", "largest_decayed", "every decayed count is finite", None, LARGEST_DOUBLE
        ),
        Expectation(
            "decayed_at_most_events",
            "no decayed count is above the number of events",
            "rows",
            "at_most",
            ("largest_decayed", "most_decayed"),
            KEYS,
        ),
        Expectation(
            "high_value_at_most_all",
            "high-value events count at most what all events do",
            "rows",
            "at_most",
            ("decayed_high_value", "most_high_value"),
            KEYS,
        ),
        Expectation(
            "longer_half_lives_keep_more",
            "a longer half-life never counts less",
            "rows",
            "in_set",
            ("longer_half_lives_keep_more",),
            KEYS,
            allowed_values=(True,),
        ),
    )


def _times(limits: Limits) -> tuple[Expectation, ...]:
    split, cutoff = f"{limits.split:%Y-%m-%d %H:%M} UTC", f"{limits.cutoff:%Y-%m-%d %H:%M} UTC"
    split_us = microseconds(limits.split)
    return (
        _row_between("on_the_grid", "off_the_grid_us", "buckets are aligned to 1970-01-01 UTC", 0, 0),
        _row_between(
            "nothing_past_the_split",
            "end_up_to_split_us",
            f"no bucket of what training opens ends after the split, {split}",
            maximum=split_us,
            allowed_words=f"end ≤ {split}",
        ),
        _row_between(
            "nothing_hidden",
            "end_after_split_us",
            f"every bucket that training does not open ends after the split, {split}",
            minimum=split_us + 1,
            allowed_words=f"end > {split}",
        ),
        _row_between(
            "nothing_past_the_cutoff",
            "bucket_begin_us",
            f"no bucket begins after the cutoff, {cutoff}",
            maximum=microseconds(limits.cutoff),
            allowed_words=f"begin ≤ {cutoff}",
        ),
    )


def _equations() -> tuple[Expectation, ...]:
    def equal(name: str, words: str, left: str, right: str) -> Expectation:
        return Expectation(name, words, "items", "equal", (left, right), ("item_index",))

    return (
        Expectation(
            "buckets_add_up",
            "a row counts the events of its bucket more than the item's row before it, and no bucket is missing",
            "buckets",
            "equal",
            ("added_events", "counted_events"),
            KEYS,
        ),
        equal(
            "events_add_up",
            "the last count of an item = its events up to the cutoff",
            "last_events",
            "counted_events",
        ),
        equal("first_event_true", "first_event_at_us is true", "smallest_first_at_us", "first_at_us"),
        equal(
            "first_event_constant",
            "all rows of an item have the same first_event_at_us",
            "smallest_first_at_us",
            "largest_first_at_us",
        ),
        Expectation(
            "decayed_true",
            "the decayed counts of an item's last row are those of its events",
            "items",
            "in_set",
            ("decayed_is_true",),
            ("item_index", "last_decayed", "counted_decayed"),
            allowed_values=(True,),
        ),
    )
