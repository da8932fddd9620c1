"""What must be true of a cycle's `vocabulary`: dense tokens, the parent's rows unchanged, correct counts.

Events up to the split are counted again here, so that a count that includes the evaluation window is
caught.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.expectation import Expectation, unique
from expectations.instants import timestamp_sql
from expectations.tables import VOCABULARY

KEYS = ("item_token", "item_index")
PARENT_KEYS = ("parent_item_token", "parent_item_index")

AGGREGATES = ("vocabulary", "tokens", "frequent_items", "parent_rows")
"""Batches to cache."""


def batches(
    vocabulary: DataFrame,
    parent_vocabulary: DataFrame | None,
    items: DataFrame,
    events: DataFrame,
    cycle: str,
    split: datetime,
    min_events: int,
) -> dict[str, DataFrame]:
    """The rows to judge.

    `vocabulary`: the cycle's rows with recounted events; `tokens`: one row of counts; `frequent_items`: items
    with at least `min_events` events; `parent_rows`: the parent's rows beside the cycle's (absent without a
    parent).
    """
    counted = (
        events.where(f"event_at <= {timestamp_sql(split)}")
        .groupBy("item_id")
        .agg(F.count("*").alias("counted_events"))
        .join(items.select("item_id", "item_index"), on="item_id", how="inner")
        .select("item_index", "counted_events")
    )
    numbers = items.select("item_index", F.lit(True).alias("in_items"))
    is_new = F.col("added_in") == cycle
    judged = {
        "vocabulary": vocabulary.join(counted, on="item_index", how="left")
        .join(numbers, on="item_index", how="left")
        .select(
            *VOCABULARY.column_names,
            F.coalesce("counted_events", F.lit(0).cast("bigint")).alias("counted_events"),
            F.coalesce("in_items", F.lit(False)).alias("in_items"),
            F.when(is_new, F.col("event_count")).alias("event_count_when_added"),
        ),
        "tokens": vocabulary.agg(
            F.count("*").alias("rows"),
            (F.coalesce(F.max("item_token"), F.lit(-1)).cast("bigint") + 1).alias("next_token"),
        ),
        "frequent_items": counted.where(F.col("counted_events") >= min_events).join(
            vocabulary.select("item_index", "item_token"), on="item_index", how="left"
        ),
    }
    if parent_vocabulary is not None:
        judged["parent_rows"] = _beside_parent(vocabulary, parent_vocabulary)
    return judged


def _beside_parent(vocabulary: DataFrame, parent_vocabulary: DataFrame) -> DataFrame:
    parent_rows = parent_vocabulary.select(
        F.col("item_token").alias("parent_item_token"),
        F.col("item_index").alias("parent_item_index"),
        F.col("added_in").alias("parent_added_in"),
    )
    rows = vocabulary.select("item_token", "item_index", "added_in")
    same_token = F.col("parent_item_token") == F.col("item_token")
    return parent_rows.join(rows, on=same_token, how="left").select(
        *PARENT_KEYS,
        "parent_added_in",
        F.coalesce("item_index", F.lit(-1)).alias("item_index"),
        F.coalesce("added_in", F.lit("absent")).alias("added_in"),
    )


def expectations(has_parent: bool, min_events: int) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    no_parent = None if has_parent else "no parent cycle"
    return (
        Expectation(
            "vocabulary_not_empty",
            "the vocabulary has at least one item",
            "vocabulary",
            "row_count",
            minimum=1,
        ),
        unique("vocabulary", ("item_token",), "no two items share a row of the ID table", keys=KEYS),
        unique("vocabulary", ("item_index",), "no item has two rows of the ID table", keys=KEYS),
        Expectation(
            "tokens_dense",
            "item_token runs from 0 to V − 1",
            "tokens",
            "equal",
            ("rows", "next_token"),
            ("rows", "next_token"),
        ),
        Expectation(
            "items_exist",
            "every item of the vocabulary is in items",
            "vocabulary",
            "in_set",
            ("in_items",),
            KEYS,
            allowed_values=(True,),
        ),
        Expectation(
            "event_count_true",
            "event_count is the number of the item's events up to the split",
            "vocabulary",
            "equal",
            ("event_count", "counted_events"),
            KEYS,
        ),
        Expectation(
            "added_with_enough_events",
            f"an item that this cycle added has at least {min_events:,} events",
            "vocabulary",
            "between",
            ("event_count_when_added",),
            KEYS,
            minimum=min_events,
        ),
        Expectation(
            "frequent_items_in_vocabulary",
            f"every item with at least {min_events:,} events up to the split has a token",
            "frequent_items",
            "not_null",
            ("item_token",),
            ("item_index", "counted_events"),
        ),
        Expectation(
            "parent_tokens_kept",
            "every token of the parent still means the same item",
            "parent_rows",
            "equal",
            ("parent_item_index", "item_index"),
            PARENT_KEYS,
            not_applicable=no_parent,
        ),
        Expectation(
            "parent_added_in_kept",
            "every token of the parent keeps the cycle that assigned it",
            "parent_rows",
            "equal",
            ("parent_added_in", "added_in"),
            PARENT_KEYS,
            not_applicable=no_parent,
        ),
    )
