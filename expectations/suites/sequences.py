"""What must be true of a cycle's `sequences`: arrays of equal length, loss positions that partition the
events, targets after their context, and nothing after the split.

The equations compare the arrays with `events` itself, counted and summed again here, independently of how
sequences are built.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from expectations.bounds import LossBounds, share_floor
from expectations.expectation import LARGEST_DOUBLE, Expectation, unique
from expectations.instants import microseconds, timestamp_sql
from expectations.tables import SEQUENCES, TOKEN_FIELDS
from expectations.wording import percent

KEYS = ("user_id", "chunk")

SMALLEST_REWARD = 1.401298464324817e-45
"""The smallest 32-bit number above 0."""

AGGREGATES = ("chunks", "users", "labels")
"""Batches to cache."""


@dataclass(frozen=True)
class Labels:
    """How many loss positions are events that can be labels, in this cycle and in earlier ones."""

    positions: int
    labels: int
    past: tuple[float, ...] = ()
    """Shares of earlier cycles."""

    @property
    def fraction(self) -> float:
        """`labels` / `positions`; 0 without a position."""
        return self.labels / self.positions if self.positions else 0.0


@dataclass(frozen=True)
class Limits:
    """Bounds of the expectations."""

    split: datetime
    items: int
    """Number of rows of `items`; every item_index is below it."""
    actions: int
    """Number of the source's actions."""
    max_length: int
    """Largest number of events in a row."""
    context_length: int
    """Largest number of context events in a row."""
    max_targets: int
    """Largest number of targets in a look-ahead tail."""
    bounds: LossBounds


def batches(
    sequences: DataFrame, events: DataFrame, items: DataFrame, limits: Limits, labels: Labels
) -> dict[str, DataFrame]:
    """The rows to judge: `rows` with derived columns; `chunks`, each beside the previous chunk; `users`, the
    sums over a user's chunks beside those over the user's events up to the split; `labels`, one row."""
    return {
        "rows": rows(sequences),
        "chunks": chunks(sequences, limits.max_targets),
        "users": users(sequences, events, items, limits.split),
        "labels": sequences.sparkSession.range(1).select(F.lit(labels.fraction).alias("label_fraction")),
    }


def rows(sequences: DataFrame) -> DataFrame:
    """Each row with the derived columns that are judged."""
    length = F.size("item_index")
    times, tail_times = F.col("event_at_us"), F.col("tail_event_at_us")
    return sequences.select(
        *SEQUENCES.column_names,
        length.alias("length"),
        *(F.coalesce(F.size(name), length).alias(f"{name}_length") for name in TOKEN_FIELDS),
        F.size("tail_item_index").alias("tail_length"),
        F.least(F.array_min("item_index"), F.array_min("tail_item_index")).alias("smallest_item_index"),
        F.greatest(F.array_max("item_index"), F.array_max("tail_item_index")).alias("largest_item_index"),
        F.array_min("action").alias("smallest_action"),
        F.array_max("action").alias("largest_action"),
        F.array_min("reward").alias("smallest_reward"),
        F.greatest(F.array_max("reward"), F.array_max("tail_reward")).cast("double").alias("largest_reward"),
        F.array_min("tail_reward").alias("smallest_tail_reward"),
        (F.array_sort("event_at_us") == times).alias("in_time_order"),
        (F.array_sort("tail_event_at_us") == tail_times).alias("tail_in_time_order"),
        F.array_max("event_at_us").alias("last_event_at_us"),
        F.coalesce(F.array_min("tail_event_at_us"), F.array_max("event_at_us")).alias("first_tail_at_us"),
        F.greatest(F.array_max("event_at_us"), F.array_max("tail_event_at_us")).alias("latest_at_us"),
        (_rewarded_positions() == F.col("target_positions")).alias("targets_are_rewarded"),
    )


def _rewarded_positions() -> Column:
    """Array indices of the events with a reward above 0, ascending."""
    numbered = F.transform("reward", lambda reward, index: F.when(reward > 0, index))
    return F.filter(numbered, lambda index: index.isNotNull())


def chunks(sequences: DataFrame, max_targets: int) -> DataFrame:
    """Each chunk's first loss position in the user's history beside the end of the previous chunk, and the
    length of its tail beside the number of targets in later chunks, at most `max_targets`."""
    of_user = Window.partitionBy("user_id")
    in_order = of_user.orderBy("chunk")
    up_to_here = in_order.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    end = F.col("first_position") + F.size("item_index")
    own_targets = F.size(F.filter("target_positions", lambda position: position >= F.col("loss_start")))
    # Spark adds up a frame that ends with the partition anew for every row: the rest is a difference instead.
    following = F.sum(own_targets).over(of_user) - F.sum(own_targets).over(up_to_here)
    return sequences.select(
        *KEYS,
        (F.col("first_position") + F.col("loss_start")).alias("loss_from"),
        F.coalesce(F.lag(end, 1).over(in_order), F.lit(0).cast("bigint")).alias("end_of_chunk_before"),
        F.size("tail_item_index").cast("bigint").alias("tail_targets"),
        F.least(following, F.lit(max_targets)).alias("later_targets"),
    )


def users(sequences: DataFrame, events: DataFrame, items: DataFrame, split: datetime) -> DataFrame:
    """Sums over a user's chunks beside those over the user's events up to the split; 0 where there are
    none."""
    loss_from = F.col("loss_start") + 1
    times = F.slice("event_at_us", loss_from, F.size("event_at_us"))
    seconds = F.transform(times, lambda at: F.floor(at / 1_000_000))
    indices = F.slice("item_index", loss_from, F.size("item_index"))
    from_sequences = (
        sequences.select(
            *KEYS,
            (F.size("item_index") - F.col("loss_start")).cast("bigint").alias("loss_positions"),
            _sum(seconds).alias("seconds"),
            _sum(indices).alias("indices"),
        )
        .groupBy("user_id")
        .agg(
            F.count("*").alias("chunk_count"),
            (F.max("chunk") + 1).cast("bigint").alias("next_chunk"),
            F.sum("loss_positions").alias("loss_positions"),
            F.sum("seconds").alias("loss_seconds"),
            F.sum("indices").alias("loss_item_indices"),
        )
    )
    numbers = items.select("item_id", "item_index")
    from_events = (
        events.where(f"event_at <= {timestamp_sql(split)}")
        .join(numbers, on="item_id", how="left")
        .groupBy("user_id")
        .agg(
            F.count("*").alias("events"),
            F.sum(F.floor(F.unix_micros("event_at") / 1_000_000)).alias("event_seconds"),
            F.sum("item_index").alias("event_item_indices"),
        )
    )
    both = from_sequences.join(from_events, on="user_id", how="full")
    zero = F.lit(0).cast("bigint")
    return both.select(
        "user_id", *(F.coalesce(name, zero).alias(name) for name in both.columns if name != "user_id")
    )


def _sum(array: Column) -> Column:
    return F.aggregate(array, F.lit(0).cast("bigint"), lambda total, value: total + value)


def expectations(limits: Limits, labels: Labels) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    return (
        Expectation("sequences_not_empty", "there is at least one sequence", "rows", "row_count", minimum=1),
        unique("rows", KEYS, "one row per chunk of a user's history", keys=KEYS),
        *_arrays(),
        *_ranges(limits),
        *_times(limits),
        *_equations(),
        _labels(limits.bounds, labels),
    )


def _labels(bounds: LossBounds, labels: Labels) -> Expectation:
    """Without earlier cycles, one label is enough."""
    floor, ceiling = bounds.labels.floor, bounds.labels.ceiling
    if floor is None and ceiling is None:
        usual = share_floor(labels.past, labels.positions, bounds.min_ratio) if labels.past else 0.0
        floor = max(usual, 1 / max(labels.positions, 1))
    allowed = [
        f"at {end} {percent(bound, sign=False)}"
        for end, bound in (("least", floor), ("most", ceiling))
        if bound is not None
    ]
    return Expectation(
        name="labels_of_sequences",
        words="the share of loss positions that can be labels does not fall far below that of earlier cycles",
        batch="labels",
        kind="between",
        columns=("label_fraction",),
        minimum=floor,
        maximum=ceiling,
        allowed_words=" and ".join(allowed),
        observed=f"{labels.labels:,} of {labels.positions:,} loss positions, {percent(labels.fraction, sign=False)}",
        remedy="see what source.high_value and source.reward read, or set expectations.losses.labels.floor",
    )


def _arrays() -> tuple[Expectation, ...]:
    return tuple(
        Expectation(
            f"{name}_length_equal",
            f"{name} and item_index are arrays of equal length",
            "rows",
            "equal",
            (f"{name}_length", "length"),
            KEYS,
        )
        for name in TOKEN_FIELDS
    )


def _ranges(limits: Limits) -> tuple[Expectation, ...]:
    def between(
        column: str, words: str, minimum: float | None = None, maximum: float | None = None
    ) -> Expectation:
        return Expectation(f"{column}_in_range", words, "rows", "between", (column,), KEYS, minimum, maximum)

    return (
        between("length", f"a row has at most {limits.max_length:,} events", None, limits.max_length),
        between(
            "loss_start",
            f"a row repeats at most {limits.context_length:,} events of context",
            None,
            limits.context_length,
        ),
        between(
            "tail_length", f"a tail has at most {limits.max_targets:,} targets", None, limits.max_targets
        ),
        between("smallest_item_index", "no item_index is negative", 0),
        between("largest_item_index", "every item_index is that of a row of items", None, limits.items - 1),
        between("smallest_action", "no action code is negative", 0),
        between(
            "largest_action", "every action code is that of an action of the source", None, limits.actions - 1
        ),
        between("smallest_reward", "no reward is negative", 0),
        between("largest_reward", "every reward is a finite number", None, LARGEST_DOUBLE),
        Expectation(
            "targets_are_rewarded",
            "targets are exactly the events with a reward above 0",
            "rows",
            "in_set",
            ("targets_are_rewarded",),
            KEYS,
            allowed_values=(True,),
        ),
        Expectation(
            "tail_rewards_positive",
            "every target of a tail has a reward above 0",
            "rows",
            "between",
            ("smallest_tail_reward",),
            KEYS,
            minimum=SMALLEST_REWARD,
        ),
    )


def _times(limits: Limits) -> tuple[Expectation, ...]:
    def true(column: str, words: str) -> Expectation:
        return Expectation(column, words, "rows", "in_set", (column,), KEYS, allowed_values=(True,))

    return (
        true("in_time_order", "events of a row are in time order"),
        true("tail_in_time_order", "targets of a tail are in time order"),
        Expectation(
            "tail_after_row",
            "no target of a tail is earlier than the row's last event",
            "rows",
            "at_most",
            ("last_event_at_us", "first_tail_at_us"),
            KEYS,
        ),
        Expectation(
            "nothing_past_the_split",
            f"no event and no target is later than the split, {limits.split:%Y-%m-%d %H:%M} UTC",
            "rows",
            "between",
            ("latest_at_us",),
            KEYS,
            maximum=microseconds(limits.split),
            allowed_words=f"latest time ≤ {limits.split:%Y-%m-%d %H:%M} UTC",
        ),
    )


def _equations() -> tuple[Expectation, ...]:
    def equal(name: str, words: str, batch: str, left: str, right: str) -> Expectation:
        keys = KEYS if batch == "chunks" else ("user_id",)
        return Expectation(name, words, batch, "equal", (left, right), keys)

    return (
        equal(
            "chunks_continue",
            "a chunk's loss positions start where the previous chunk ended",
            "chunks",
            "loss_from",
            "end_of_chunk_before",
        ),
        equal(
            "tails_complete",
            "a tail has the targets of later chunks, as many as allowed",
            "chunks",
            "tail_targets",
            "later_targets",
        ),
        equal(
            "chunks_numbered", "chunks of a user are numbered from 0", "users", "chunk_count", "next_chunk"
        ),
        equal(
            "loss_positions_add_up",
            "loss positions of a user = the user's events up to the split",
            "users",
            "loss_positions",
            "events",
        ),
        equal(
            "loss_times_add_up",
            "times at a user's loss positions sum to those of the user's events, seconds",
            "users",
            "loss_seconds",
            "event_seconds",
        ),
        equal(
            "loss_items_add_up",
            "items at a user's loss positions sum to those of the user's events",
            "users",
            "loss_item_indices",
            "event_item_indices",
        ),
    )
