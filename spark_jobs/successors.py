"""Table `successors`: what each event of a user came after.

Reads `events` and `items` at their pinned versions. Writes the cycle's partitions of `successors`: for
every event up to the cutoff that has an earlier one of its user, the items of the `reach` events before it
in the order of the user's history, the nearest first. Tied events count in the order in which they are
stored. Each entry is one pair "j followed i at distance d": counts of pairs as of any instant are sums over
the rows before it, and files are divided and sorted by time, so that a reader adds them as time goes on.

No leakage: a row holds its own event and earlier ones. Rows up to the split have `after_split` = false,
and training opens no other partition.

Cost: linear in events times `reach`, one shuffle by user and the writer's. A window holds one user's
events in a buffer that spills to disk.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from expectations.instants import microseconds
from spark_jobs.config import Job
from spark_jobs.figures import JobResult, SuccessorsFigures
from spark_jobs.histories import tokens
from spark_jobs.histories.spans import up_to
from spark_jobs.lake import delta


def successors(log: DataFrame, split: datetime, cycle: str, reach: int) -> DataFrame:
    """Rows of `successors` from the tokens (`histories.tokens.tokens`) of all events up to the cutoff."""
    by_user = tokens.in_order()
    before = F.collect_list("item_index").over(by_user.rowsBetween(-reach, -1))
    numbered = log.select(
        "user_id",
        (F.row_number().over(by_user) - 1).cast("bigint").alias("position"),
        "item_index",
        "event_at_us",
        F.reverse(before).alias("previous_items"),
    )
    return (
        numbered.where(F.col("position") > 0)
        .withColumn("cycle", F.lit(cycle))
        .withColumn("after_split", F.col("event_at_us") > microseconds(split))
        .select(*tables.SUCCESSORS.column_names)
    )


def figures(rows: DataFrame, events: DataFrame) -> SuccessorsFigures:
    """Counts of the cycle's written rows and their size on disk; `events` are those up to the cutoff."""
    given = events.agg(F.count(F.lit(1)).alias("events"), F.countDistinct("user_id").alias("users"))
    counts = rows.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if("after_split").alias("rows_after_split"),
        F.coalesce(F.sum(F.size("previous_items")), F.lit(0)).alias("pairs"),
    )
    return SuccessorsFigures(
        **given.first().asDict(), **counts.first().asDict(), bytes_on_disk=delta.bytes_on_disk(rows)
    )


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's successors. Raises ValueError when an event is missing among them."""
    events = up_to(delta.read_pinned(spark, job, tables.EVENTS), job.cutoff)
    items = tokens.broadcastable(delta.read_pinned(spark, job, tables.ITEMS))
    log = tokens.tokens(events, items, job.source, job.sequences.context_buckets)
    rows = successors(log, job.split, job.cycle, job.signals.reach)
    version = delta.replace_cycle(spark, rows, tables.SUCCESSORS, job)
    measured = figures(delta.read_cycle(spark, job, tables.SUCCESSORS, version), events)
    if measured.rows != measured.events - measured.users:
        raise ValueError(
            f"{measured.events} events of {measured.users} users up to {job.cutoff} became {measured.rows} "
            "successors; is `items` older than `events`?"
        )
    return JobResult(versions={tables.SUCCESSORS.name: version}, figures=measured)
