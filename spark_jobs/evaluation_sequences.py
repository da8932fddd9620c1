"""Table `evaluation_sequences`: histories up to the cutoff of the users with a label in the window.

Reads `events` and `items` at their pinned versions. Writes the cycle's partition of
`evaluation_sequences`, one row a user, with the positions of its labels: the high-value events in
(split, cutoff]. Training never opens this table. Tasks, serving delays and eligible items are applied
later, when ranks are computed. Only users with a label are shuffled.

A history longer than `max_evaluation_history` keeps its last events; the labels it loses are counted
(`labels_dropped`). Cost: that of `histories.tokens`.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from expectations.instants import microseconds
from spark_jobs.config import Job, SequencesConfig, SourceConfig
from spark_jobs.figures import EvaluationSequencesFigures, JobResult
from spark_jobs.histories import tokens
from spark_jobs.histories.high_value import with_reward
from spark_jobs.histories.spans import after, up_to
from spark_jobs.lake import delta


def evaluation_sequences(
    numbered: DataFrame, split: datetime, cycle: str, source: SourceConfig, config: SequencesConfig
) -> DataFrame:
    """Rows of `evaluation_sequences` from numbered tokens (`histories.tokens.numbered`) of all events up to
    the cutoff, at least those of the users who have a label in the window."""
    split_us = microseconds(split)
    kept = numbered.where(F.col("place") >= F.col("events") - config.max_evaluation_history)
    gathered = kept.groupBy("user_id").agg(
        F.sort_array(F.collect_list(tokens.token_struct(source))).alias("row")
    )
    columns = {
        "cycle": F.lit(cycle),
        "first_position": F.col("row")[0]["place"],
        "label_positions": tokens.positions_where(
            "row", lambda token: (token["reward"] > 0) & (token["event_at_us"] > split_us)
        ),
        **tokens.token_arrays("row", source),
    }
    rows = gathered.select(
        *(columns.get(name, F.col(name)).alias(name) for name in tables.EVALUATION_SEQUENCES.column_names)
    )
    return rows.where(F.size("label_positions") > 0).sortWithinPartitions("user_id")


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's evaluation histories."""
    events = up_to(delta.read_pinned(spark, job, tables.EVENTS), job.cutoff)
    items = tokens.broadcastable(delta.read_pinned(spark, job, tables.ITEMS))
    labels = with_reward(after(events, job.split), job.source).where(F.col("reward") > 0)
    # Before the shuffle, which then moves the histories of these users alone.
    of_users = events.join(labels.select("user_id").distinct(), on="user_id", how="left_semi")
    numbered = tokens.numbered(tokens.tokens(of_users, items, job.source, job.sequences.context_buckets))
    rows = evaluation_sequences(numbered, job.split, job.cycle, job.source, job.sequences)
    version = delta.replace_cycle(spark, rows, tables.EVALUATION_SEQUENCES, job)
    written = delta.read_cycle(spark, job, tables.EVALUATION_SEQUENCES, version)
    counts = written.agg(
        F.count(F.lit(1)).alias("users"),
        F.coalesce(F.sum(F.size("item_index")), F.lit(0)).alias("stored_tokens"),
        F.coalesce(F.sum(F.size("label_positions")), F.lit(0)).alias("labels"),
    )
    counted = counts.first().asDict()
    figures = EvaluationSequencesFigures(**counted, labels_dropped=labels.count() - counted["labels"])
    return JobResult(versions={tables.EVALUATION_SEQUENCES.name: version}, figures=figures)
