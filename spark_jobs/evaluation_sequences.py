"""`evaluation_sequences`: histories up to the cutoff of the users who have a label in the window.

In: `events` and `items` at their pinned versions. Out: the cycle's partition of
`evaluation_sequences`, one row a user, with the places of its high-value events in (split, cutoff].
Training never opens this table. It knows nothing of tasks, delays or candidates: they are applied
when ranks are computed.

A history longer than `max_evaluation_history` keeps its last events; labels that fall out with the
others are counted (`labels_dropped`). Cost and robustness are those of `history`.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs import history
from spark_jobs.config import Job, SequencesConfig, SourceConfig
from spark_jobs.figures import EvaluationSequencesFigures, JobResult
from spark_jobs.lake import delta


def evaluation_sequences(
    numbered: DataFrame, split: datetime, cycle: str, source: SourceConfig, config: SequencesConfig
) -> DataFrame:
    """Rows of `evaluation_sequences` from `history.numbered` events, all of them up to the cutoff."""
    is_label = (F.col("reward") > 0) & (F.col("event_at_us") > history.micros(split))
    has_label = F.max(is_label).over(history.whole(history.in_order()))
    kept = numbered.withColumn("has_label", has_label).where(
        F.col("has_label") & (F.col("place") >= F.col("events") - config.max_evaluation_history)
    )
    gathered = kept.groupBy("user_id").agg(
        F.sort_array(F.collect_list(history.token_struct(source))).alias("row")
    )
    columns = {
        "cycle": F.lit(cycle),
        "first_position": F.col("row")[0]["place"],
        "label_positions": history.positions_where(
            "row",
            lambda token: (token["reward"] > 0) & (token["event_at_us"] > history.micros(split)),
        ),
        **history.token_arrays("row", source),
    }
    rows = gathered.select(
        *(columns.get(name, F.col(name)).alias(name) for name in tables.EVALUATION_SEQUENCES.column_names)
    )
    return rows.where(F.size("label_positions") > 0).sortWithinPartitions("user_id")


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's evaluation histories."""
    numbered = history.pinned_history(spark, job, job.cutoff)
    rows = evaluation_sequences(numbered, job.split, job.cycle, job.source, job.sequences)
    version = history.replace_cycle(spark, rows, tables.EVALUATION_SEQUENCES, job)
    written = history.read_cycle(spark, tables.EVALUATION_SEQUENCES, job, version)
    counts = written.agg(
        F.count(F.lit(1)).alias("users"),
        F.coalesce(F.sum(F.size("item_index")), F.lit(0)).alias("stored_tokens"),
        F.coalesce(F.sum(F.size("label_positions")), F.lit(0)).alias("labels"),
    )
    events = delta.read_pinned(spark, job, tables.EVENTS)
    window = history.after(history.up_to(events, job.cutoff), job.split)
    labels = history.with_reward(window, job.source).where(F.col("reward") > 0).count()
    counted = counts.first().asDict()
    figures = EvaluationSequencesFigures(**counted, labels_dropped=labels - counted["labels"])
    return JobResult(versions={tables.EVALUATION_SEQUENCES.name: version}, figures=figures)
