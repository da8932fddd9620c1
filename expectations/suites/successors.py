"""What must be true of a cycle's `successors`: a row for every event but each user's first, lists that
continue one another, and nothing past the split in what training opens.

Rows are compared with `events` itself, counted and summed again here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from expectations.expectation import Expectation, between, unique
from expectations.instants import microseconds, timestamp_sql
from expectations.tables import SUCCESSORS

KEYS = ("user_id", "position")

_row_between = partial(between, "rows", KEYS)

AGGREGATES = ("users", "totals")
"""Batches to cache."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the expectations."""

    split: datetime
    cutoff: datetime
    items: int
    """Number of rows of `items`; every item_index is below it."""
    reach: int
    """Largest number of previous items."""


def batches(
    successors: DataFrame, events: DataFrame, items: DataFrame, limits: Limits
) -> dict[str, DataFrame]:
    """The rows to judge: `rows` with derived columns; `neighbours`, each row beside the user's row before it;
    `users`, sums over a user's rows beside those over the user's events up to the cutoff; `totals`, one row
    of counts."""
    known = (
        events.where(f"event_at <= {timestamp_sql(limits.cutoff)}")
        .join(items.select("item_id", "item_index"), on="item_id", how="left")
        .select("user_id", "item_index", F.unix_micros("event_at").alias("at"))
    )
    counted = known.agg(F.count("*").alias("events"), F.countDistinct("user_id").alias("users"))
    return {
        "rows": rows(successors, limits),
        "neighbours": neighbours(successors, limits.reach),
        "users": users(successors, known),
        "totals": successors.agg(F.count("*").alias("rows"))
        .crossJoin(counted)
        .select("rows", "events", "users", (F.col("events") - F.col("users")).alias("events_but_the_first")),
    }


def rows(successors: DataFrame, limits: Limits) -> DataFrame:
    """Each row with the derived columns that are judged."""
    at, after = F.col("event_at_us"), F.col("after_split")
    return successors.select(
        *SUCCESSORS.column_names,
        F.size(F.array_compact("previous_items")).cast("bigint").alias("length"),
        F.least("position", F.lit(limits.reach).cast("bigint")).alias("events_before"),
        F.array_min("previous_items").alias("smallest_previous_item"),
        F.greatest("item_index", F.array_max("previous_items")).alias("largest_item_index"),
        F.when(~after, at).alias("at_up_to_split_us"),
        F.when(after, at).alias("at_after_split_us"),
    )


def neighbours(successors: DataFrame, reach: int) -> DataFrame:
    """Whether a row follows the user's row before it: the next position, no earlier time, and that row's item
    ahead of that row's list. A user's first row has position 1."""
    in_order = Window.partitionBy("user_id").orderBy("position")
    before = F.lag(F.struct("position", "event_at_us", "item_index", "previous_items"), 1).over(in_order)
    expected = F.slice(F.concat(F.array("before.item_index"), F.col("before.previous_items")), 1, reach)
    follows = (
        (F.col("position") == F.col("before.position") + 1)
        & (F.col("event_at_us") >= F.col("before.event_at_us"))
        & (F.col("previous_items") == expected)
    )
    is_first = F.col("before").isNull()
    return successors.withColumn("before", before).select(
        *KEYS,
        F.coalesce(F.when(is_first, F.col("position") == 1).otherwise(follows), F.lit(False)).alias(
            "follows_the_row_before"
        ),
    )


def users(successors: DataFrame, known: DataFrame) -> DataFrame:
    """A user's rows, with the item before the first of them, beside the user's events; 0 for a user without
    rows and for one with a single event."""
    from_rows = successors.groupBy("user_id").agg(
        F.count("*").alias("rows"),
        F.sum(F.floor(F.col("event_at_us") / 1_000_000)).alias("row_seconds"),
        (
            F.sum("item_index")
            + F.coalesce(F.min(F.when(F.col("position") == 1, F.get("previous_items", F.lit(0)))), F.lit(0))
        ).alias("row_item_indices"),
    )
    seconds = F.floor(F.col("at") / 1_000_000)
    several = F.count("*") > 1
    from_events = known.groupBy("user_id").agg(
        (F.count("*") - 1).alias("events_but_the_first"),
        F.when(several, F.sum(seconds) - F.min(seconds)).alias("event_seconds"),
        F.when(several, F.sum("item_index")).alias("event_item_indices"),
    )
    both = from_rows.join(from_events, on="user_id", how="full")
    zero = F.lit(0).cast("bigint")
    return both.select(
        "user_id", *(F.coalesce(name, zero).alias(name) for name in both.columns if name != "user_id")
    )


def expectations(limits: Limits) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    return (
        unique("rows", KEYS, "one row per event of a user's history", keys=KEYS),
        *_ranges(limits),
        *_times(limits),
        *_equations(),
    )


def _ranges(limits: Limits) -> tuple[Expectation, ...]:
    return (
        _row_between(
            "smallest_previous_item_in_range",
            "smallest_previous_item",
            "no previous item_index is negative",
            0,
        ),
        _row_between(
            "largest_item_index_in_range",
            "largest_item_index",
            "every item_index is that of a row of items",
            maximum=limits.items - 1,
        ),
        Expectation(
            "previous_items_complete",
            f"a row has the items of all earlier events, at most {limits.reach}",
            "rows",
            "equal",
            ("length", "events_before"),
            KEYS,
        ),
    )


def _times(limits: Limits) -> tuple[Expectation, ...]:
    split, cutoff = f"{limits.split:%Y-%m-%d %H:%M} UTC", f"{limits.cutoff:%Y-%m-%d %H:%M} UTC"
    split_us = microseconds(limits.split)
    return (
        _row_between(
            "nothing_past_the_split",
            "at_up_to_split_us",
            f"no event of what training opens is later than the split, {split}",
            maximum=split_us,
            allowed_words=f"time ≤ {split}",
        ),
        _row_between(
            "nothing_hidden",
            "at_after_split_us",
            f"every event that training does not open is later than the split, {split}",
            minimum=split_us + 1,
            allowed_words=f"time > {split}",
        ),
        _row_between(
            "nothing_past_the_cutoff",
            "event_at_us",
            f"no event is later than the cutoff, {cutoff}",
            maximum=microseconds(limits.cutoff),
            allowed_words=f"time ≤ {cutoff}",
        ),
    )


def _equations() -> tuple[Expectation, ...]:
    def equal(name: str, words: str, left: str, right: str) -> Expectation:
        return Expectation(name, words, "users", "equal", (left, right), ("user_id",))

    counts = ("events", "users", "rows")
    return (
        Expectation(
            "neighbours_agree",
            "a row continues the user's row before it: its position, time and list",
            "neighbours",
            "in_set",
            ("follows_the_row_before",),
            KEYS,
            allowed_values=(True,),
        ),
        equal("rows_add_up", "a user's rows = the user's events less one", "rows", "events_but_the_first"),
        equal(
            "times_add_up",
            "times of a user's rows sum to those of the user's events but the first, seconds",
            "row_seconds",
            "event_seconds",
        ),
        equal(
            "items_add_up",
            "items of a user's rows, and the one before them, sum to those of the user's events",
            "row_item_indices",
            "event_item_indices",
        ),
        Expectation(
            "events_not_empty", "there is at least one event", "totals", "between", ("events",), counts, 1
        ),
        Expectation(
            "total_rows",
            "rows = events - users with events",
            "totals",
            "equal",
            ("rows", "events_but_the_first"),
            counts,
        ),
    )
