"""`sequences`: every user's history up to the split, cut into rows of single tokens.

In: `events` and `items` at their pinned versions. Out: the cycle's partition of `sequences`. Label
sets are not stored: a row names the places of its high-value events and carries a look-ahead tail,
so that window, horizon and half-life are chosen at training time. It knows nothing of the
vocabulary.

Chunks. With M = `max_length` and C = `context_length`, chunk 0 holds the events [0, M), and each of
the following M - C new ones, its loss positions, behind the C events before them. Every event is a
loss position once, and a stored token at most 1 + C / (M - C) times, rounded up.

Tails. The tail of a row is the next `max_targets` high-value events behind its last one, wherever
they lie. High-value event number q of a user is needed by the rows that end between high-value
events q - max_targets and q, so one `lag` over the high-value events tells where its copies go;
they are bounded by max_targets a row, also for a user whose high-value events lie far apart. A
position finds all its labels as long as fewer than max_targets - K of the row's tail are tied with
it in time or repeat an item.

Cost: linear in events, one shuffle by user. No aggregate is larger than one row, and windows
stream a user's events through a buffer that spills, so a user of ten million events is slow, not
fatal.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs import history
from spark_jobs.config import Job, SequencesConfig, SourceConfig
from spark_jobs.figures import JobResult, SequencesFigures
from spark_jobs.lake import delta


def sequences(numbered: DataFrame, cycle: str, source: SourceConfig, config: SequencesConfig) -> DataFrame:
    """Rows of `sequences` from `history.numbered` events, all of them up to the split."""
    loss_chunk = _chunk_of(F.col("place"), config)
    spread = numbered.withColumn("loss_chunk", loss_chunk).withColumn("first_chunk", _first_chunk(config))
    copies = spread.withColumn("chunk", F.explode(F.sequence("first_chunk", _last_chunk(config))))
    in_row = F.col("chunk") >= F.col("loss_chunk")
    target = F.struct("place", "item_index", "event_at_us", "reward")
    gathered = copies.groupBy("user_id", "chunk").agg(
        F.sort_array(F.collect_list(F.when(in_row, history.token_struct(source)))).alias("row"),
        F.sort_array(F.collect_list(F.when(~in_row, target))).alias("tail"),
    )
    columns = {
        "cycle": F.lit(cycle),
        "first_position": F.col("row")[0]["place"],
        "loss_start": F.when(F.col("chunk") == 0, 0).otherwise(F.lit(config.context_length)),
        "target_positions": history.positions_where("row", lambda token: token["reward"] > 0),
        "tail_item_index": F.col("tail.item_index"),
        "tail_event_at_us": F.col("tail.event_at_us"),
        "tail_reward": F.col("tail.reward"),
        **history.token_arrays("row", source),
    }
    return gathered.sortWithinPartitions("user_id", "chunk").select(
        *(columns.get(name, F.col(name)).alias(name) for name in tables.SEQUENCES.column_names)
    )


def _chunk_of(place: Column, config: SequencesConfig) -> Column:
    """The chunk in which a place of the history is a loss position."""
    step = config.max_length - config.context_length
    later = F.floor((place - config.max_length) / step) + 1
    return F.when(place < config.max_length, 0).otherwise(later).cast("int")


def _last_chunk(config: SequencesConfig) -> Column:
    """The last chunk whose row holds the event, as a loss position or as context."""
    as_context = _chunk_of(F.col("place") + config.context_length, config)
    return F.least(as_context, _chunk_of(F.col("events") - 1, config))


def _first_chunk(config: SequencesConfig) -> Column:
    """The first chunk whose tail holds the event; its own chunk when it is not high-value."""
    earlier = F.expr(
        f"lag(if(reward > 0, loss_chunk, null), {config.max_targets}) ignore nulls "
        f"over (partition by user_id order by {', '.join(history.HISTORY_ORDER)})"
    )
    return F.when(F.col("reward") > 0, F.coalesce(earlier, F.lit(0))).otherwise(F.col("loss_chunk"))


def figures(rows: DataFrame, events: int) -> SequencesFigures:
    """Counts of the cycle's written rows, and what a stored token costs on disk; `events` are those up to
    the split."""
    tokens = F.size("item_index")
    own_targets = F.filter("target_positions", lambda place: place >= F.col("loss_start"))
    counts = rows.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(F.col("chunk") == 0).alias("users"),
        F.sum(tokens).alias("stored_tokens"),
        F.sum(tokens - F.col("loss_start")).alias("loss_positions"),
        F.sum(F.size(own_targets)).alias("targets"),
        F.sum(F.size("tail_item_index")).alias("tail_targets"),
    )
    files = rows.select("_metadata.file_path", "_metadata.file_size").distinct()
    counted = {name: value or 0 for name, value in counts.first().asDict().items()}
    bytes_on_disk = files.agg(F.sum("file_size")).first()[0] or 0
    stored = counted["stored_tokens"] or 1
    return SequencesFigures(
        events=events,
        **counted,
        bytes_on_disk=bytes_on_disk,
        bytes_per_token=bytes_on_disk / stored,
        overlap_fraction=1 - counted["loss_positions"] / stored,
    )


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's sequences. Raises ValueError when an event has no item or no place in a row."""
    numbered = history.pinned_history(spark, job, job.split)
    rows = sequences(numbered, job.cycle, job.source, job.sequences)
    version = history.replace_cycle(spark, rows, tables.SEQUENCES, job)
    events = history.up_to(delta.read_pinned(spark, job, tables.EVENTS), job.split).count()
    measured = figures(history.read_cycle(spark, tables.SEQUENCES, job, version), events)
    if measured.loss_positions != events:
        raise ValueError(
            f"{events} events up to {job.split} became {measured.loss_positions} loss positions; "
            "is `items` older than `events`?"
        )
    return JobResult(versions={tables.SEQUENCES.name: version}, figures=measured)
