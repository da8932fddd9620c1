"""`vocabulary`: which items have a row in the ID table, and how many labels the parent's could not know.

In: `events` and `items` at their pinned versions, and the parent's rows. Out: the cycle's partition
of `vocabulary`, and the cold-start rate. Nothing after the split is counted. It knows nothing of
sequences: membership is applied when a batch is made.

Tokens. The parent's rows keep theirs, retired or not. Items that have come to `min_events` events
by the split follow behind them, most events first, equal counts by `item_id`: an order that does
not depend on what was ingested when.

Cold-start rate: the share of high-value events in (parent split, split] whose item was outside the
parent's vocabulary. A first cycle measures it on the last W before its split, against the
vocabulary that the same rule would have cut at split - W.
"""

from __future__ import annotations

from datetime import timedelta

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs import history
from spark_jobs.config import Job
from spark_jobs.figures import JobResult, VocabularyFigures
from spark_jobs.lake import delta


def event_counts(events: DataFrame) -> DataFrame:
    """`item_id` and its number of events."""
    return events.groupBy("item_id").agg(F.count(F.lit(1)).alias("event_count"))


def vocabulary(
    events: DataFrame, items: DataFrame, parent: DataFrame | None, cycle: str, min_events: int
) -> DataFrame:
    """Rows of `vocabulary` from events up to the split; `parent` are the parent cycle's rows."""
    counts = event_counts(events)
    counted = items.select("item_id", "item_index").join(counts, on="item_id", how="left")
    counted = counted.withColumn("event_count", F.coalesce("event_count", F.lit(0).cast("bigint")))
    if parent is None:
        known = counted.limit(0).select("item_index").withColumn("item_token", F.lit(0))
        known = known.withColumn("added_in", F.lit("")).withColumn("retired", F.lit(False))
    else:
        known = parent.select("item_index", "item_token", "added_in", "retired")
    first_free = known.agg(F.coalesce(F.max("item_token") + 1, F.lit(0)).alias("first_free"))
    enough = counted.where(F.col("event_count") >= min_events)
    # `first_free` is the same everywhere: one partition, of one narrow row per new item.
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
    return rows.withColumn("cycle", F.lit(cycle)).select(*tables.VOCABULARY.column_names)


def cold_labels(labels: DataFrame, known: DataFrame) -> DataFrame:
    """One row: `labels`, how many there are, and `cold`, how many have an item that is not in `known`.

    `labels` has an `item_id` per high-value event, `known` an `item_id` per vocabulary item.
    """
    membership = known.select("item_id", F.lit(True).alias("known"))
    return labels.join(membership, on="item_id", how="left").agg(
        F.count(F.lit(1)).alias("labels"), F.count_if(F.col("known").isNull()).alias("cold")
    )


def masking_rate(cold: int, labels: int, floor: float, ceiling: float) -> float:
    """The share of cold labels, clamped: 3 of 10 between 0.02 and 0.5 is 0.3; none of none is the floor."""
    return min(max(cold / labels if labels else 0.0, floor), ceiling)


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's vocabulary. Raises ValueError when the parent's rows are not there."""
    config = job.vocabulary
    events = delta.read_pinned(spark, job, tables.EVENTS)
    items = delta.read_pinned(spark, job, tables.ITEMS)
    parent = None
    if job.parent_cycle is not None:
        parent = delta.read_pinned(spark, job, tables.VOCABULARY).where(F.col("cycle") == job.parent_cycle)
        if parent.isEmpty():
            raise ValueError(f"the parent cycle {job.parent_cycle} has no rows in vocabulary")
    until_split = history.up_to(events, job.split)
    rows = vocabulary(until_split, items, parent, job.cycle, config.min_events)
    version = history.replace_cycle(spark, rows, tables.VOCABULARY, job)

    if parent is None:
        labels_after = job.split - timedelta(seconds=job.window_seconds)
        counts = event_counts(history.up_to(events, labels_after))
        known = counts.where(F.col("event_count") >= config.min_events).select("item_id")
    else:
        labels_after = job.parent_split
        known = parent.join(items, on="item_index", how="inner").select("item_id")
    interval = history.after(until_split, labels_after)
    labels = history.with_reward(interval, job.source).where(F.col("reward") > 0)
    label_count, cold_count = cold_labels(labels, known).first()
    return JobResult(
        versions={tables.VOCABULARY.name: version},
        figures=VocabularyFigures(
            cold_start_rate=cold_count / label_count if label_count else 0.0,
            masking_rate=masking_rate(
                cold_count, label_count, config.cold_start_floor, config.cold_start_ceiling
            ),
            labels=label_count,
            cold_labels=cold_count,
        ),
    )
