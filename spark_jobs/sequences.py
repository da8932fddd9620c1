"""Table `sequences`: every user's history up to the split, cut into rows of single tokens.

Reads `events` and `items` at their pinned versions. Writes the cycle's partition of `sequences`. Label
sets are not stored. A row stores its targets, the high-value events that may become labels, by reference:
their positions in the row, and a look-ahead tail of targets past its end. Training chooses labels among
them by its own label window, horizon and half-life. The vocabulary plays no part.

Chunks. With M = `max_length` and C = `context_length`, chunk 0 holds the events [0, M). Each later chunk
holds M - C new events, its loss positions, after the C events before them as context. Every event is a
loss position once, and is stored at most 1 + C / (M - C) times, rounded up.

Tails. The tail of a row is the next `max_targets` high-value events after its last event, wherever they
are. High-value event number q of a user is needed by the rows that end between high-value events
q - max_targets and q, so one `lag` over the high-value events gives the range of its copies. There are at
most max_targets a row, even for a user whose high-value events are far apart. A position finds all its K
labels as long as fewer than max_targets - K targets of the tail are tied with it in time or repeat an
item.

A cycle that continues another takes over its rows. Rows of a user without new events are copied. Where all new
events of a user lie after the parent's split, the history up to there comes from the parent's own rows, whose loss
positions are the events in order, and only the new events are read from `events`. Only a user of whom an event came late, was
corrected or left since is made from all events again; which events changed is known from the files by which the two
versions of `events` differ. What is left is equal, row for row, to rows made from all events.

Cost: linear in events, one shuffle by user; for a cycle that continues another only users with new events
are shuffled by user. No aggregate is larger than one row, and windows stream a user's events through a buffer that
spills to disk: a user with ten million events is slow, but works.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs.config import Job, SequencesConfig, SourceConfig
from spark_jobs.figures import SEQUENCES_RULES, JobResult, SequencesFigures
from spark_jobs.histories import tokens
from spark_jobs.histories.spans import after, up_to
from spark_jobs.lake import delta


def sequences(numbered: DataFrame, cycle: str, source: SourceConfig, config: SequencesConfig) -> DataFrame:
    """Rows of `sequences` from numbered tokens (`histories.tokens.numbered`) of all events up to the split."""
    loss_chunk = _chunk_of(F.col("place"), config)
    spread = numbered.withColumn("loss_chunk", loss_chunk).withColumn("first_chunk", _first_chunk(config))
    copies = spread.withColumn("chunk", F.explode(F.sequence("first_chunk", _last_chunk(config))))
    in_row = F.col("chunk") >= F.col("loss_chunk")
    target = F.struct("place", "item_index", "event_at_us", "reward")
    gathered = copies.groupBy("user_id", "chunk").agg(
        F.sort_array(F.collect_list(F.when(in_row, tokens.token_struct(source)))).alias("row"),
        F.sort_array(F.collect_list(F.when(~in_row, target))).alias("tail"),
    )
    columns = {
        "cycle": F.lit(cycle),
        "first_position": F.col("row")[0]["place"],
        "loss_start": F.when(F.col("chunk") == 0, 0).otherwise(F.lit(config.context_length)),
        "target_positions": tokens.positions_where("row", lambda token: token["reward"] > 0),
        "tail_item_index": F.col("tail.item_index"),
        "tail_event_at_us": F.col("tail.event_at_us"),
        "tail_reward": F.col("tail.reward"),
        **tokens.token_arrays("row", source),
    }
    return gathered.sortWithinPartitions("user_id", "chunk").select(
        *(columns.get(name, F.col(name)).alias(name) for name in tables.SEQUENCES.column_names)
    )


def _chunk_of(place: Column, config: SequencesConfig) -> Column:
    """Number of the chunk in which a place of the history is a loss position."""
    step = config.max_length - config.context_length
    later = F.floor((place - config.max_length) / step) + 1
    return F.when(place < config.max_length, 0).otherwise(later).cast("int")


def _last_chunk(config: SequencesConfig) -> Column:
    """Number of the last chunk whose row holds the event, as a loss position or as context."""
    as_context = _chunk_of(F.col("place") + config.context_length, config)
    return F.least(as_context, _chunk_of(F.col("events") - 1, config))


def _first_chunk(config: SequencesConfig) -> Column:
    """Number of the first chunk whose tail holds the event; its own chunk when it is not high-value."""
    earlier = F.expr(
        f"lag(if(reward > 0, loss_chunk, null), {config.max_targets}) ignore nulls "
        f"over (partition by user_id order by {', '.join(tokens.HISTORY_ORDER)})"
    )
    return F.when(F.col("reward") > 0, F.coalesce(earlier, F.lit(0))).otherwise(F.col("loss_chunk"))


def continued_tokens(rows: DataFrame, new: DataFrame, source: SourceConfig) -> DataFrame:
    """Tokens of whole histories: of rows of `sequences` up to an instant, and `new` tokens
    (`histories.tokens.tokens`) of the same users, all later than that instant.

    The events of the rows keep their order: HISTORY_ORDER compares their places where they are tied, and no new event
    is tied with them.
    """
    from_start = {
        name: F.slice(name, F.col("loss_start") + 1, F.size(name)) for name in tokens.token_fields(source)
    }
    first = F.col("first_position") + F.col("loss_start")
    zipped = F.arrays_zip(*(array.alias(name) for name, array in from_start.items()))
    at_loss = rows.select("user_id", first.alias("first"), F.posexplode(zipped).alias("nth", "token"))
    known = at_loss.select(
        "user_id",
        *(F.col(f"token.{name}").alias(name) for name in from_start),
        (F.col("first") + F.col("nth")).alias("file_order"),
        F.lit(0).cast("bigint").alias("line_number"),
    )
    return known.unionByName(new)


def continuing(
    before: DataFrame,
    new: DataFrame,
    again: DataFrame,
    changed: DataFrame,
    cycle: str,
    source: SourceConfig,
    config: SequencesConfig,
) -> DataFrame:
    """Rows of `sequences` for this cycle, made anew or taken over from the parent's, `before`.

    `new` are the tokens of all events after the parent's split; `changed` has a `user_id` for every user whose history
    up to there has changed, and `again` are the tokens of all their events up to the split.
    """
    appended = new.join(changed, on="user_id", how="left_anti")
    users = appended.select("user_id").distinct()
    whole = continued_tokens(before.join(users, on="user_id", how="left_semi"), appended, source)
    made = sequences(tokens.numbered(whole.unionByName(again)), cycle, source, config)
    kept = before.join(users.unionByName(changed), on="user_id", how="left_anti")
    return made.unionByName(kept.withColumn("cycle", F.lit(cycle)))


def figures(rows: DataFrame, events: int) -> SequencesFigures:
    """Counts of the cycle's written rows and their size on disk; `events` is the number of events up to the
    split."""
    length = F.size("item_index")
    own_targets = F.filter("target_positions", lambda place: place >= F.col("loss_start"))
    counts = rows.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(F.col("chunk") == 0).alias("users"),
        F.sum(length).alias("stored_tokens"),
        F.sum(length - F.col("loss_start")).alias("loss_positions"),
        F.sum(F.size(own_targets)).alias("targets"),
        F.sum(F.size("tail_item_index")).alias("tail_targets"),
    )
    counted = {name: value or 0 for name, value in counts.first().asDict().items()}
    bytes_on_disk = delta.bytes_on_disk(rows)
    stored = counted["stored_tokens"] or 1
    return SequencesFigures(
        events=events,
        **counted,
        bytes_on_disk=bytes_on_disk,
        bytes_per_token=bytes_on_disk / stored,
        overlap_fraction=1 - counted["loss_positions"] / stored,
        rules=SEQUENCES_RULES,
    )


@dataclass(frozen=True)
class _Parent:
    """What a cycle continues: the parent's rows, and what became of the events that they were made from."""

    rows: DataFrame
    earlier: DataFrame
    """A row for each event up to the parent's split that was added or removed since: `user_id`, and `more`, 1 or -1."""

    @property
    def changed(self) -> DataFrame:
        """`user_id` of every user whose history up to the parent's split has changed."""
        return self.earlier.select("user_id").distinct()

    @property
    def more(self) -> int:
        """By how many the events up to the parent's split have become more; fewer, where it is negative."""
        return self.earlier.agg(F.sum("more")).first()[0] or 0


def _parent(spark: SparkSession, job: Job) -> _Parent | None:
    """None where there is none, or where it can no longer be read."""
    if job.continued is None:
        return None
    lake, source, versions = job.lake, job.source.name, job.versions
    if not delta.can_be_read(spark, lake, source, tables.SEQUENCES, versions[tables.SEQUENCES.name]):
        return None
    changes = delta.changes(
        spark, lake, source, tables.EVENTS, job.continued.events_version, versions[tables.EVENTS.name]
    )
    if changes is None:
        return None
    added, removed = (
        up_to(rows, job.parent_split).select("user_id", F.lit(more).alias("more"))
        for rows, more in ((changes.added, 1), (changes.removed, -1))
    )
    rows = delta.read_pinned(spark, job, tables.SEQUENCES).where(F.col("cycle") == job.parent_cycle)
    return _Parent(rows, added.unionByName(removed).persist())


def _rows(spark: SparkSession, job: Job, parent: _Parent | None) -> tuple[DataFrame, int]:
    """The cycle's rows, and the number of events up to the split."""
    events = up_to(delta.read_pinned(spark, job, tables.EVENTS), job.split)
    items = tokens.broadcastable(delta.read_pinned(spark, job, tables.ITEMS))

    def tokens_of(some: DataFrame) -> DataFrame:
        return tokens.tokens(some, items, job.source, job.sequences.context_buckets)

    if parent is None:
        rows = sequences(tokens.numbered(tokens_of(events)), job.cycle, job.source, job.sequences)
        return rows, events.count()
    new, changed = after(events, job.parent_split), parent.changed
    # Without such users no event before the parent's split is read.
    again = new.limit(0) if parent.earlier.isEmpty() else events.join(changed, on="user_id", how="left_semi")
    rows = continuing(
        parent.rows, tokens_of(new), tokens_of(again), changed, job.cycle, job.source, job.sequences
    )
    return rows, job.continued.events + parent.more + new.count()


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's sequences. Raises ValueError when an event did not become a loss position."""
    parent = _parent(spark, job)
    try:
        rows, events = _rows(spark, job, parent)
        version = delta.replace_cycle(spark, rows, tables.SEQUENCES, job)
    finally:
        if parent is not None:
            parent.earlier.unpersist()
    measured = figures(delta.read_cycle(spark, job, tables.SEQUENCES, version), events)
    if measured.loss_positions != measured.events:
        raise ValueError(
            f"{measured.events} events up to {job.split} became {measured.loss_positions} loss positions; "
            "is `items` older than `events`?"
        )
    return JobResult(versions={tables.SEQUENCES.name: version}, figures=measured)
