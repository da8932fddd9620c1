"""Events as numbered single tokens, before `sequences` and `evaluation_sequences` cut them into rows.

A token holds an event's item, action, time, reward and context codes. Tokens know neither chunks nor
evaluation windows.

Order: `event_at`, then the landed file, then the line within the file, so lines of one file keep the
order in which the source wrote them. A file is identified by the digest of its bytes, so the order does
not depend on which file was ingested first.

A change of what a token holds for the same event raises `SEQUENCES_RULES`, since cycles take over rows of earlier ones.

Cost: one shuffle, by user, which all later steps reuse. Windows hold one user's events in a buffer that
spills to disk, and no aggregate gathers a whole history.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

from expectations import tables
from spark_jobs.config import SourceConfig
from spark_jobs.histories.high_value import with_reward

BROADCAST_ITEMS = 2_000_000
"""Catalogues up to this many items are joined without a shuffle (about 100 MB on every executor)."""

STEPS: dict[str, Callable[[Column], Column]] = {
    "watch_seconds": lambda seconds: F.floor(2 * F.log2(1 + seconds) + 1e-9),
    "completion_fraction": lambda fraction: F.floor(10 * fraction + 1e-9),
    "rating": lambda rating: F.floor(2 * rating + 0.5),
}
"""Steps of the signals of how an event went. The small summand keeps a step's own bound in it: ln x / ln 2 falls short."""

HISTORY_ORDER = ("event_at_us", "file_order", "line_number")
"""Order of a user's events; no two events share all three."""


def token_fields(source: SourceConfig) -> tuple[str, ...]:
    """Token fields that the source fills, named as in `sequences`."""
    return ("item_index", "action", "event_at_us", "reward", *source.context_fields)


def broadcastable(items: DataFrame) -> DataFrame:
    """`item_id` and `item_index`, with a broadcast hint unless the catalogue is too large for one."""
    numbers = items.select("item_id", "item_index")
    return F.broadcast(numbers) if numbers.count() <= BROADCAST_ITEMS else numbers


def tokens(events: DataFrame, items: DataFrame, source: SourceConfig, context_buckets: int) -> DataFrame:
    """One row per event: `user_id`, the token's fields and HISTORY_ORDER.

    `items` maps `item_id` to `item_index`; an event whose item is missing is dropped, so the caller must
    compare counts. `action` is the index into `source.actions`, context fields are codes.
    """
    action = F.array_position(F.array(*(F.lit(name) for name in source.actions)), F.col("action")) - 1
    computed = {
        "action": action.cast("tinyint"),
        "event_at_us": F.unix_micros("event_at"),
        **{field: _context_code(events, field, context_buckets) for field in tables.TOKEN_FIELDS},
    }
    return (
        with_reward(events, source)
        .join(items.select("item_id", "item_index"), on="item_id", how="inner")
        .select(
            "user_id",
            *(computed.get(field, F.col(field)).alias(field) for field in token_fields(source)),
            F.xxhash64("file_id").alias("file_order"),
            "line_number",
        )
    )


def _context_code(events: DataFrame, field: str, buckets: int) -> Column:
    """0 when missing, else 1 + a hash of text, or 1 + a number, clamped to the number of buckets; how an event went
    is counted in steps. `model.data.context` computes the same for histories that are served."""
    if field in STEPS:
        code = F.least(F.greatest(STEPS[field](F.col(field)), F.lit(0)), F.lit(buckets - 2))
    elif isinstance(events.schema[field].dataType, StringType):
        code = F.pmod(F.xxhash64(field), F.lit(buckets - 1).cast("bigint"))
    else:
        code = F.least(F.greatest(F.col(field), F.lit(0)), F.lit(buckets - 2))
    known = F.col(field).isNotNull() if field not in STEPS else F.col(field) >= 0
    return F.when(known, code + 1).otherwise(F.lit(0)).cast("smallint")


def numbered(tokens: DataFrame) -> DataFrame:
    """`tokens` with `place`, the event's 0-based number in its user's history, and `events`, the history's
    length."""
    by_user = in_order()
    return tokens.select(
        "*",
        (F.row_number().over(by_user) - 1).cast("bigint").alias("place"),
        F.count(F.lit(1)).over(whole(by_user)).alias("events"),
    )


def in_order() -> WindowSpec:
    """A user's events in order; every window over histories uses it, so that they are sorted once."""
    return Window.partitionBy("user_id").orderBy(*HISTORY_ORDER)


def whole(window: WindowSpec) -> WindowSpec:
    """The window with a frame over all events of the user."""
    return window.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)


def token_struct(source: SourceConfig) -> Column:
    """One token as a struct that sorts by `place`; gather it with `sort_array(collect_list(…))`."""
    return F.struct("place", *token_fields(source))


def token_arrays(gathered: str, source: SourceConfig) -> dict[str, Column]:
    """A row's parallel arrays by name, from its sorted `token_struct`s; null for context fields that the
    source lacks."""
    absent = dict.fromkeys(tables.TOKEN_FIELDS, F.lit(None).cast("array<smallint>"))
    return absent | {field: F.col(f"{gathered}.{field}") for field in token_fields(source)}


def positions_where(gathered: str, condition: Callable[[Column], Column]) -> Column:
    """Array indices (int, 0-based, ascending) of the tokens that meet a condition; linear in the row."""
    marked = F.transform(gathered, lambda token, index: F.when(condition(token), index))
    return F.filter(marked, lambda index: index.isNotNull())
