"""Table `vocabulary`: which items have a row in the ID table; and the cold-start rate.

Reads `events` and `items` at their pinned versions and the parent's rows of `vocabulary`. Writes the
cycle's partition of `vocabulary`. Nothing after the split is counted. Sequences do not depend on it:
membership is applied when a batch is made.

Tokens: the parent's rows keep theirs, retired or not. Items that have reached `min_events` events by the
split follow, most events first, equal counts by `item_id`: an order that does not depend on when files
were ingested.

Tombstones: an item is retired where `items` says so, and no longer where it says that it is not. Where it says
nothing an item stays as it was in the parent's rows.

Cold-start rate: the share of high-value events in (parent split, split] whose item was outside the
parent's vocabulary. A first cycle measures it on the last W before its split, against the vocabulary
that the same rule would have given at split - W.
"""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs.config import Job
from spark_jobs.figures import JobResult, VocabularyFigures
from spark_jobs.histories.high_value import with_reward
from spark_jobs.histories.spans import after, up_to
from spark_jobs.lake import delta


def event_counts(events: DataFrame) -> DataFrame:
    """`item_id` and `event_count`."""
    return events.groupBy("item_id").agg(F.count(F.lit(1)).alias("event_count"))


def vocabulary(
    events: DataFrame, items: DataFrame, parent: DataFrame | None, cycle: str, min_events: int
) -> DataFrame:
    """Rows of `vocabulary` from events up to the split; `parent` are the parent cycle's rows, None on a cold
    start."""
    counts = event_counts(events)
    # A table that an earlier revision wrote lacks the column.
    says = F.col("retired") if "retired" in items.columns else F.lit(None).cast("boolean")
    counted = items.select("item_id", "item_index", says.alias("is_retired"))
    counted = counted.join(counts, on="item_id", how="left")
    counted = counted.withColumn("event_count", F.coalesce("event_count", F.lit(0).cast("bigint")))
    if parent is None:
        known = counted.limit(0).select("item_index").withColumn("item_token", F.lit(0))
        known = known.withColumn("added_in", F.lit("")).withColumn("retired", F.lit(False))
    else:
        known = parent.select("item_index", "item_token", "added_in", "retired")
    first_free = known.agg(F.coalesce(F.max("item_token") + 1, F.lit(0)).alias("first_free"))
    enough = counted.where(F.col("event_count") >= min_events)
    # `first_free` is constant: one partition, of one narrow row per new item.
    by_count = Window.partitionBy("first_free").orderBy(F.desc("event_count"), "item_id")
    new = (
        enough.join(known, on="item_index", how="left_anti")
        .crossJoin(F.broadcast(first_free))
        .select(
            "item_index",
            (F.col("first_free") + F.row_number().over(by_count) - 1).alias("item_token"),
            F.lit(cycle).alias("added_in"),
            F.lit(False).alias("retired"),
        )
    )
    rows = known.unionByName(new).join(counted, on="item_index", how="inner")
    rows = rows.withColumn("retired", F.coalesce("is_retired", "retired"))
    return rows.withColumn("cycle", F.lit(cycle)).select(*tables.VOCABULARY.column_names)


def count_cold(high_value: DataFrame, known: DataFrame) -> DataFrame:
    """One row: `events`, the number of high-value events, and `cold`, those whose item is not in `known`.

    `high_value` has an `item_id` per event, `known` an `item_id` per vocabulary item.
    """
    membership = known.select("item_id", F.lit(True).alias("known"))
    return high_value.join(membership, on="item_id", how="left").agg(
        F.count(F.lit(1)).alias("events"), F.count_if(F.col("known").isNull()).alias("cold")
    )


def masking_rate(cold: int, events: int, floor: float, ceiling: float) -> float:
    """`cold` / `events`, clamped: 3 of 10 between 0.02 and 0.5 is 0.3; 0 of 0 is the floor."""
    return min(max(cold / events if events else 0.0, floor), ceiling)


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's vocabulary. Raises ValueError when the parent has no rows."""
    config = job.vocabulary
    events = delta.read_pinned(spark, job, tables.EVENTS)
    items = delta.read_pinned(spark, job, tables.ITEMS)
    parent = None
    if job.parent_cycle is not None:
        parent = delta.read_pinned(spark, job, tables.VOCABULARY).where(F.col("cycle") == job.parent_cycle)
        if parent.isEmpty():
            raise ValueError(f"the parent cycle {job.parent_cycle} has no rows in vocabulary")
    until_split = up_to(events, job.split)
    rows = vocabulary(until_split, items, parent, job.cycle, config.min_events)
    version = delta.replace_cycle(spark, rows, tables.VOCABULARY, job)

    if parent is None:
        start = job.split - timedelta(seconds=job.window_seconds)
        counts = event_counts(up_to(events, start))
        known = counts.where(F.col("event_count") >= config.min_events).select("item_id")
    else:
        start = job.parent_split
        known = parent.join(items, on="item_index", how="inner").select("item_id")
    high_value = with_reward(after(until_split, start), job.source).where(F.col("reward") > 0)
    count, cold_count = count_cold(high_value, known).first()
    return JobResult(
        versions={tables.VOCABULARY.name: version},
        figures=VocabularyFigures(
            cold_start_rate=cold_count / count if count else 0.0,
            masking_rate=masking_rate(cold_count, count, config.cold_start_floor, config.cold_start_ceiling),
            labels=count,
            cold_labels=cold_count,
        ),
    )
