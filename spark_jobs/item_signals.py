"""Table `item_signals`: what is known of an item at the end of every bucket of time in which it has events.

Reads `events` and `items` at their pinned versions. Writes the cycle's partitions of `item_signals`: the
running number of an item's events up to the cutoff, the time of the first, and counts that decay,
c_h = Σ 2^(-(end - t) / h) over its events before the bucket's end. Times are exact, not rounded to buckets.
Between two rows counts only decay: at a later instant τ they are the last row's times 2^(-(τ - end) / h).

No leakage. A bucket is [end - Δ, end), aligned to 1970-01-01 UTC, and a row holds events before its end
only. A reader as of τ takes an item's last row with end ≤ τ. With τ ≤ split it meets no event after the
split, even where the split lies inside a bucket: that bucket ends after the split, and its row has
`after_split`. Training opens the other partition alone. An event in the bucket that is still open at τ is
not seen, so signals are at most Δ old.

A stable running sum. Sums scaled by 2^(t / h) would overflow, so for each h time is cut into segments of
SEGMENT half-lives. Within one, x = (end - its start) / h is below SEGMENT, and c_h is a running sum of the
buckets' partial sums times 2^x, times 2^(-x) again. The segment before enters with its whole sum times
2^(-SEGMENT); what is older would weigh less than 2^(-SEGMENT), and is left out.

Cost: linear in events, times the number of half-lives from buckets on. One shuffle, by item. Events are
sorted before they are summed, so that the sums are the same to the bit however files and tasks are cut.

Half-lives are the configured ones, else those of the version that the cycle continues, so that what a
fine-tuned model reads keeps its meaning, else chosen from the gaps between an item's events up to the
split. The job's figures record them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from expectations import tables
from expectations.instants import DAY_US, HOUR_US, microseconds
from spark_jobs.config import LONGEST_HALF_LIFE_DAYS, Job, SourceConfig
from spark_jobs.figures import ItemSignalsFigures, JobResult
from spark_jobs.histories import tokens
from spark_jobs.histories.high_value import with_reward
from spark_jobs.histories.spans import up_to
from spark_jobs.lake import delta

SEGMENT = 256
"""Half-lives of a segment: 2^256 times any number of events is far below the largest double, 2^1024."""

CHOSEN = 5
"""Half-lives that are chosen where none are given."""


def item_signals(
    events: DataFrame,
    items: DataFrame,
    split: datetime,
    cycle: str,
    source: SourceConfig,
    half_lives_days: Sequence[float],
    bucket_us: int,
) -> DataFrame:
    """Rows of `item_signals` from all events up to the cutoff; an event whose item is missing in `items` is
    dropped, so the caller must compare counts. `bucket_us` is Δ in microseconds."""
    half_lives_us = [max(round(days * DAY_US), 1) for days in half_lives_days]
    # The last series is that of high-value events.
    series_us = [*half_lives_us, half_lives_us[len(half_lives_us) // 2]]
    spread = _by_bucket(events, items, source, series_us, bucket_us).select(
        "item_index",
        "bucket_end_us",
        "events",
        "first_event_at_us",
        F.posexplode(F.array(*(f"partial_{number}" for number in range(len(series_us))))).alias(
            "series", "partial"
        ),
    )
    decayed = [_of_series(number) for number in range(len(series_us))]
    return (
        _decayed(spread, series_us)
        .groupBy("item_index", "bucket_end_us")
        .agg(
            F.max("events").alias("events"),
            F.min("first_event_at_us").alias("first_event_at_us"),
            F.array(*decayed[:-1]).alias("decayed"),
            decayed[-1].alias("decayed_high_value"),
        )
        .withColumn("cycle", F.lit(cycle))
        .withColumn("after_split", F.col("bucket_end_us") > microseconds(split))
        .select(*tables.ITEM_SIGNALS.column_names)
    )


def _by_bucket(
    events: DataFrame, items: DataFrame, source: SourceConfig, series_us: Sequence[int], bucket_us: int
) -> DataFrame:
    """A row per item and bucket: number and first time of its events, and `partial_0` …, their decayed
    counts at the bucket's end."""
    at = F.col("event_at_us")
    known = (
        with_reward(events, source)
        .join(items.select("item_id", "item_index"), on="item_id", how="inner")
        .select(
            "item_index",
            F.unix_micros("event_at").alias("event_at_us"),
            (F.col("reward") > 0).alias("high_value"),
        )
    )
    length = F.lit(bucket_us).cast("bigint")
    ended = (
        known.repartition("item_index")
        .sortWithinPartitions("item_index", "event_at_us")
        .withColumn("bucket_end_us", at - F.pmod(at, length) + length)
    )
    weights = [_power(-(F.col("bucket_end_us") - at) / float(half_life)) for half_life in series_us]
    weights[-1] = F.when(F.col("high_value"), weights[-1]).otherwise(0.0)
    return ended.groupBy("item_index", "bucket_end_us").agg(
        F.count(F.lit(1)).alias("events"),
        F.min("event_at_us").alias("first_event_at_us"),
        *(F.sum(weight).alias(f"partial_{number}") for number, weight in enumerate(weights)),
    )


def _decayed(spread: DataFrame, series_us: Sequence[int]) -> DataFrame:
    """Partial sums, a row per item, bucket and series, become running sums: `events`, `first_event_at_us`,
    and `decayed`."""
    in_segment = Window.partitionBy("item_index", "series", "segment").orderBy("bucket_end_us")
    segments = Window.partitionBy("item_index", "series").orderBy("segment")
    # The same order as that of the segments' rows, so that rows are sorted once.
    whole = Window.partitionBy("item_index", "series").orderBy("segment", "bucket_end_us")
    until_now = (Window.unboundedPreceding, Window.currentRow)
    half_life = F.element_at(F.array(*(F.lit(us).cast("bigint") for us in series_us)), F.col("series") + 1)
    return (
        spread.withColumn("half_life_us", half_life)
        .withColumn("into_us", F.expr(f"pmod(bucket_end_us, {SEGMENT} * half_life_us)"))
        .withColumn("segment", F.expr(f"(bucket_end_us - into_us) div ({SEGMENT} * half_life_us)"))
        .withColumn("exponent", F.col("into_us") / F.col("half_life_us"))
        .withColumn("scaled", F.col("partial") * _power(F.col("exponent")))
        .withColumn("events", F.sum("events").over(whole.rowsBetween(*until_now)))
        .withColumn("first_event_at_us", F.min("first_event_at_us").over(whole.rowsBetween(*until_now)))
        .withColumn("running", F.sum("scaled").over(in_segment.rowsBetween(*until_now)))
        .withColumn("before", F.coalesce(F.sum("scaled").over(segments.rangeBetween(-1, -1)), F.lit(0.0)))
        .withColumn(
            "decayed",
            (F.col("running") + F.col("before") * 2.0**-SEGMENT) * _power(-F.col("exponent")),
        )
    )


def _of_series(number: int) -> Column:
    """Aggregate: the decayed count of one series."""
    return F.max(F.when(F.col("series") == number, F.col("decayed")))


def _power(exponent: Column) -> Column:
    return F.pow(F.lit(2.0), exponent)


def choose_half_lives(events: DataFrame, bucket_us: int) -> tuple[float, ...]:
    """Up to CHOSEN half-lives in days, ascending and to two digits, from the events up to the split.

    They are spaced evenly in logarithms between the 10th percentile of the gaps between consecutive events
    of an item (at least Δ and an hour) and half the time that the events span. A log of gaps of one day over
    two years gets 1, 4.4, 19, 83 and 360 days; fewer where the log spans little.
    """
    shortest = max(bucket_us, HOUR_US)
    at = F.unix_micros("event_at")
    gaps = events.select(
        at.alias("at"),
        (at - F.lag(at, 1).over(Window.partitionBy("item_id").orderBy("event_at"))).alias("gap"),
    )
    # Steps of one per cent: few distinct values, of which an exact percentile is cheap.
    steps = F.floor(F.log(F.greatest("gap", F.lit(shortest))) * 100)
    step, first, last = gaps.agg(
        F.percentile(F.when(F.col("gap").isNotNull(), steps), F.lit(0.1)), F.min("at"), F.max("at")
    ).first()
    low = shortest if step is None else max(math.exp(step / 100), shortest)
    high = min(((last or 0) - (first or 0)) / 2, LONGEST_HALF_LIFE_DAYS * DAY_US)
    if high <= low:
        return (_two_digits(low / DAY_US),)
    ratios = [(high / low) ** (number / (CHOSEN - 1)) for number in range(CHOSEN)]
    return tuple(sorted({_two_digits(low * ratio / DAY_US) for ratio in ratios}))


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def figures(rows: DataFrame, half_lives_days: tuple[float, ...], bucket_us: int) -> ItemSignalsFigures:
    """Counts of the cycle's written rows and their size on disk."""
    by_item = rows.groupBy("item_index").agg(
        F.max("events").alias("events"),
        F.count(F.lit(1)).alias("rows"),
        F.count_if("after_split").alias("rows_after_split"),
    )
    counts = by_item.agg(
        F.sum("events").alias("events"),
        F.count(F.lit(1)).alias("items"),
        F.sum("rows").alias("rows"),
        F.sum("rows_after_split").alias("rows_after_split"),
    )
    return ItemSignalsFigures(
        half_lives_days=half_lives_days,
        bucket_us=bucket_us,
        **{name: value or 0 for name, value in counts.first().asDict().items()},
        bytes_on_disk=delta.bytes_on_disk(rows),
    )


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's signals. Raises ValueError when an event was not counted."""
    events = up_to(delta.read_pinned(spark, job, tables.EVENTS), job.cutoff)
    items = tokens.broadcastable(delta.read_pinned(spark, job, tables.ITEMS))
    bucket_us = job.signals.bucket_us
    half_lives = (
        job.signals.half_lives_days
        or job.parent_half_lives_days
        or choose_half_lives(up_to(events, job.split), bucket_us)
    )
    rows = item_signals(events, items, job.split, job.cycle, job.source, half_lives, bucket_us)
    version = delta.replace_cycle(spark, rows, tables.ITEM_SIGNALS, job)
    measured = figures(delta.read_cycle(spark, job, tables.ITEM_SIGNALS, version), half_lives, bucket_us)
    if measured.events != (given := events.count()):
        raise ValueError(
            f"{measured.events} of {given} events up to {job.cutoff} were counted; "
            "is `items` older than `events`?"
        )
    return JobResult(versions={tables.ITEM_SIGNALS.name: version}, figures=measured)
