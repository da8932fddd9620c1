"""Which events are high-value, and the reward of each: the source's two rules, applied to `events`.

A high-value event is one that the source's `high_value` predicate marks and whose `reward` is a
finite number above 0. Sequences store it as a target, evaluation takes it as a label, and the
vocabulary counts it for the cold-start rate: all by this rule.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, NumericType

from spark_jobs.config import SourceConfig
from spark_jobs.landing.expressions import FAILED, MappingError, evaluate, refuse_failing
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER


def with_reward(events: DataFrame, source: SourceConfig) -> DataFrame:
    """`events` and a float column `reward`: the weight r of a high-value event, 0 for every other.

    An event whose reward is null, zero, negative, infinite or NaN is not high-value, nor is one on which
    a rule fails. Raises MappingError when a rule is not an SQL expression over `events`.
    """
    ruled = by_rules(events, source)
    reward = F.when(F.col("high_value"), F.col("reward")).otherwise(F.lit(0.0).cast("float"))
    return ruled.withColumn("reward", reward).drop("high_value")


def by_rules(events: DataFrame, source: SourceConfig) -> DataFrame:
    """`events` with each rule's own value: `high_value`, bool, the predicate alone; `reward`, float, 0 where
    it is not a finite number above 0. Raises MappingError as `with_reward` does."""
    rules = {"high_value": source.high_value, "reward": source.reward}
    labels = {name: f"source.{name}" for name in rules}
    placed = events.withColumns({FILE_ID: F.col("file_id"), LINE_NUMBER: F.col("line_number")})
    refuse_failing(placed, rules, labels, {})
    ruled = evaluate(events, rules, events.columns, labels).drop(FAILED)
    for name, expected, words in (
        ("high_value", BooleanType, "true or false"),
        ("reward", NumericType, "a number"),
    ):
        actual = ruled.schema[name].dataType
        if not isinstance(actual, expected):
            raise MappingError(f"{labels[name]} = {rules[name]!r} is {actual.simpleString()}, not {words}")
    reward = F.col("reward").cast("float")
    usable = (reward > 0) & (reward < F.lit(float("inf")))
    return ruled.withColumns(
        {
            "high_value": F.coalesce("high_value", F.lit(False)),
            "reward": F.when(usable, reward).otherwise(F.lit(0.0).cast("float")),
        }
    )
