"""Users' histories: events as numbered single tokens, before they are cut into rows.

In: `events` and `items`, and the source's rules for what is high-value and what it weighs.
Out: one row per event with the fields of its token and its place in the user's history. It knows
nothing of chunks or windows: `sequences` and `evaluation_sequences` cut rows out of it, and
`vocabulary` counts with the same rule for labels. The last three functions read and write for the
jobs of a cycle; all others are pure.

Order: `event_at`, then the landed file, then the line within the file. Lines of one file keep the
order in which the source wrote them. A file is known by the digest of its bytes, so the order is
the same whatever was ingested first.

Cost: one shuffle, by user, on which everything later rests. Windows hold one user's events in a
buffer that spills to disk, and no aggregate gathers a whole history.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pyspark.sql import Column, DataFrame, SparkSession, Window, WindowSpec
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, NumericType, StringType

from expectations import tables
from spark_jobs.config import Job, SourceConfig
from spark_jobs.lake import delta
from spark_jobs.landing.expressions import MappingError, evaluate

BROADCAST_ITEMS = 2_000_000
"""Catalogues up to this many items are joined without a shuffle (about 100 MB on every executor)."""

HISTORY_ORDER = ("event_at_us", "file_order", "line_number")
"""Order of a user's events; no two events share all three."""


def micros(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; an instant without a zone is UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def up_to(events: DataFrame, instant: datetime) -> DataFrame:
    """Events at `instant` or earlier; files of later days are not read."""
    limit = F.timestamp_micros(F.lit(micros(instant)))
    return events.where((F.col("event_date") <= F.to_date(limit)) & (F.col("event_at") <= limit))


def after(events: DataFrame, instant: datetime) -> DataFrame:
    """Events later than `instant`; files of earlier days are not read."""
    limit = F.timestamp_micros(F.lit(micros(instant)))
    return events.where((F.col("event_date") >= F.to_date(limit)) & (F.col("event_at") > limit))


def with_reward(events: DataFrame, source: SourceConfig) -> DataFrame:
    """`events` and a float column `reward`: r of a high-value event, 0 of every other.

    An event is high-value, that is a label, where the source's predicate is true and its reward is
    a finite number above 0; a reward that is null, zero, negative or NaN, or on which the expression
    fails, makes it an ordinary event. Raises MappingError where one of the two is no SQL over `events`.
    """
    ruled = by_rules(events, source)
    weighed = F.when(F.col("high_value"), F.col("reward")).otherwise(F.lit(0.0).cast("float"))
    return ruled.withColumn("reward", weighed).drop("high_value")


def by_rules(events: DataFrame, source: SourceConfig) -> DataFrame:
    """`events` with the source's two rules: `high_value`, bool, the predicate; and `reward`, float, 0 where
    it is no finite number above 0. Raises MappingError as `with_reward`."""
    rules = {"high_value": source.high_value, "reward": source.reward}
    labels = {name: f"source.{name}" for name in rules}
    ruled = evaluate(events, rules, events.columns, labels, set())
    for name, kind, words in (
        ("high_value", BooleanType, "true or false"),
        ("reward", NumericType, "a number"),
    ):
        given = ruled.schema[name].dataType
        if not isinstance(given, kind):
            raise MappingError(f"{labels[name]} = {rules[name]!r} is {given.simpleString()}, not {words}")
    reward = F.col("reward").cast("float")
    usable = (reward > 0) & (reward < F.lit(float("inf")))
    return ruled.withColumns(
        {
            "high_value": F.coalesce("high_value", F.lit(False)),
            "reward": F.when(usable, reward).otherwise(F.lit(0.0).cast("float")),
        }
    )


def token_fields(source: SourceConfig) -> tuple[str, ...]:
    """Fields of a token that the source has, named as in `sequences`."""
    return ("item_index", "action", "event_at_us", "reward", *source.context_fields)


def tokens(events: DataFrame, items: DataFrame, source: SourceConfig, context_buckets: int) -> DataFrame:
    """One row per event: `user_id`, the token's fields and HISTORY_ORDER.

    `items` gives `item_index`; an event whose item it lacks is left out, which the caller must
    count. `action` is the index into `source.actions`, context fields are codes of a byte or two.
    """
    action = F.array_position(F.array(*(F.lit(name) for name in source.actions)), F.col("action")) - 1
    made = {
        "action": action.cast("tinyint"),
        "event_at_us": F.unix_micros("event_at"),
        **{field: _context_code(events, field, context_buckets) for field in tables.CONTEXT_FIELDS},
    }
    return (
        with_reward(events, source)
        .join(items.select("item_id", "item_index"), on="item_id", how="inner")
        .select(
            "user_id",
            *(made.get(field, F.col(field)).alias(field) for field in token_fields(source)),
            F.xxhash64("file_id").alias("file_order"),
            "line_number",
        )
    )


def _context_code(events: DataFrame, field: str, buckets: int) -> Column:
    """0 when missing, else 1 + a hash of text, or 1 + a number, clamped to the number of buckets."""
    if isinstance(events.schema[field].dataType, StringType):
        known = F.pmod(F.xxhash64(field), F.lit(buckets - 1).cast("bigint"))
    else:
        known = F.least(F.greatest(F.col(field), F.lit(0)), F.lit(buckets - 2))
    return F.when(F.col(field).isNull(), F.lit(0)).otherwise(known + 1).cast("smallint")


def numbered(history: DataFrame) -> DataFrame:
    """`history` with `place`, the event's number among its user's from 0, and `events`, how many they are."""
    by_user = in_order()
    return history.select(
        "*",
        (F.row_number().over(by_user) - 1).cast("bigint").alias("place"),
        F.count(F.lit(1)).over(whole(by_user)).alias("events"),
    )


def in_order() -> WindowSpec:
    """A user's events in order; every window over histories uses it, so that they are sorted once."""
    return Window.partitionBy("user_id").orderBy(*HISTORY_ORDER)


def whole(window: WindowSpec) -> WindowSpec:
    """The window's frame over all events of the user."""
    return window.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)


def token_struct(source: SourceConfig) -> Column:
    """One token as a struct that sorts by `place`; gather it with `sort_array(collect_list(…))`."""
    return F.struct("place", *token_fields(source))


def token_arrays(gathered: str, source: SourceConfig) -> dict[str, Column]:
    """A row's parallel arrays by name, from its sorted `token_struct`s; null for context it has not."""
    absent = dict.fromkeys(tables.CONTEXT_FIELDS, F.lit(None).cast("array<smallint>"))
    return absent | {field: F.col(f"{gathered}.{field}") for field in token_fields(source)}


def positions_where(gathered: str, condition: Callable[[Column], Column]) -> Column:
    """Array indices (int, ascending, from 0) of the tokens that meet a condition; linear in the row."""
    marked = F.transform(gathered, lambda token, index: F.when(condition(token), index))
    return F.filter(marked, lambda index: index.isNotNull())


def pinned_history(spark: SparkSession, job: Job, until: datetime) -> DataFrame:
    """The numbered tokens of all events up to an instant, at the job's pinned versions."""
    events = up_to(delta.read_pinned(spark, job, tables.EVENTS), until)
    items = delta.read_pinned(spark, job, tables.ITEMS).select("item_id", "item_index")
    if items.count() <= BROADCAST_ITEMS:
        items = F.broadcast(items)
    return numbered(tokens(events, items, job.source, job.sequences.context_buckets))


def replace_cycle(spark: SparkSession, rows: DataFrame, table: tables.Table, job: Job) -> int:
    """Writes the cycle's partition of a table in place of what it held; returns the version."""
    where = delta.within("cycle", [job.cycle])
    return delta.replace(spark, rows, table, job.lake, job.source.name, where)


def read_cycle(spark: SparkSession, table: tables.Table, job: Job, version: int) -> DataFrame:
    """The cycle's partition of a table at the version just written."""
    rows = delta.read(spark, job.lake, job.source.name, table, version)
    return rows.where(F.col("cycle") == job.cycle)
