"""Lines of item, tag and edge files as typed rows: what each says of its item, or why it is refused.

Pure transforms over the lines of `reading.read_mapped`; `spark_jobs.items` gathers their results.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from expectations.instants import microseconds
from spark_jobs.config import EdgeMapping, ItemMapping, TagMapping
from spark_jobs.landing.fields import id_problem, kept_raw, present_text, text_id, truth
from spark_jobs.landing.instants import NOT_AN_INSTANT, parsed_microseconds
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW

SUPERSEDED = "superseded by a later line about the same item"
KINDS = {ItemMapping: "items", TagMapping: "tags", EdgeMapping: "edges"}
"""Name of a mapping's section in the source's configuration, by its type."""

_EARLIEST_YEAR, _LATEST_YEAR = 1800, 2200
"""Bounds of a launch's or a tag's time: the first instants of these years."""


def mapped_expressions(mapping: ItemMapping | TagMapping | EdgeMapping) -> dict[str, str]:
    """SQL expressions by field, of the fields that the mapping gives."""
    names = ("item", "title", "description", "launched_at", "retired")
    names += ("tag", "tagged_at", "relation", "entity")
    expressions = {name: getattr(mapping, name, None) for name in names}
    return {name: sql for name, sql in expressions.items() if sql is not None}


def checked_lines(rows: DataFrame, mapping: ItemMapping | TagMapping | EdgeMapping) -> DataFrame:
    """Mapped lines of one mapping as `file_id`, `line_number`, `raw`, `problem`, `item_id` and its fields.

    `problem` is the reason for refusing the line, null where it is accepted. `raw` is kept for refused
    lines, and for all lines about items, which a later line may supersede. Null and empty tags and entities
    are dropped.
    """
    time_columns = {ItemMapping: "launched_at", TagMapping: "tagged_at"}
    name = time_columns.get(type(mapping))
    problem: list[Column] = [F.col(PROBLEM), id_problem("item_id", "item")]
    lines = rows.withColumn("item_id", text_id(rows, "item"))
    if name and getattr(mapping, name):
        at_us = parsed_microseconds(rows, name, getattr(mapping, f"{name}_unit"))
        bounds = (microseconds(datetime(year, 1, 1, tzinfo=UTC)) for year in (_EARLIEST_YEAR, _LATEST_YEAR))
        possible = at_us.between(*bounds)
        lines = lines.withColumn("at", F.when(possible, F.timestamp_micros(at_us)))
        problem.append(
            F.when(
                at_us.isNotNull() & ~possible, f"{name} is not between {_EARLIEST_YEAR} and {_LATEST_YEAR}"
            )
        )
        problem.append(
            F.when(present_text(rows, name).isNotNull() & at_us.isNull(), f"{name} {NOT_AN_INSTANT}")
        )
    else:
        lines = lines.withColumn("at", F.lit(None).cast("timestamp"))
    if isinstance(mapping, ItemMapping):
        said, retired = present_text(rows, "retired"), truth(rows, "retired")
        problem.append(F.when(said.isNotNull() & retired.isNull(), "retired is neither true nor false"))
    if isinstance(mapping, EdgeMapping):
        has_entity = F.size(_several(rows, "entity")) > 0
        problem.append(F.when(has_entity & present_text(rows, "relation").isNull(), "missing relation"))
    lines = lines.withColumn("problem", F.coalesce(*problem))
    keep_raw = F.lit(True) if isinstance(mapping, ItemMapping) else F.col("problem").isNotNull()
    head = (
        F.col(FILE_ID).alias("file_id"),
        F.col(LINE_NUMBER).alias("line_number"),
        F.when(keep_raw, kept_raw(RAW)).alias("raw"),
        "problem",
        "item_id",
    )
    if isinstance(mapping, ItemMapping):
        texts = (
            present_text(rows, "title").alias("title"),
            present_text(rows, "description").alias("description"),
        )
        return lines.select(*head, *texts, F.col("at").alias("launched_at"), retired.alias("retired"))
    if isinstance(mapping, TagMapping):
        return lines.select(*head, _several(rows, "tag").alias("tag"), F.col("at").alias("tagged_at"))
    return lines.select(
        *head, present_text(rows, "relation").alias("relation"), _several(rows, "entity").alias("entity")
    )


def refuse_superseded(lines: DataFrame) -> DataFrame:
    """Lines about items, with all but the last accepted line of each item refused as superseded. The order
    is that of `place` (mapping, then file name) and line number."""
    last_first = Window.partitionBy("item_id", F.col("problem").isNull()).orderBy(
        F.desc("place"), F.desc("line_number")
    )
    superseded = F.col("problem").isNull() & (F.row_number().over(last_first) > 1)
    return lines.withColumn("problem", F.when(superseded, SUPERSEDED).otherwise(F.col("problem")))


def accepted(lines: DataFrame) -> DataFrame:
    """The lines without a problem."""
    return lines.where(F.col("problem").isNull())


def _several(rows: DataFrame, name: str) -> Column:
    """A single value, an array, or the JSON text of an array, as an array of strings without null and empty
    ones."""
    if isinstance(rows.schema[name].dataType, ArrayType):
        values = F.col(name).cast("array<string>")
    else:
        text = F.col(name).cast("string")
        listed = F.from_json(text, "array<string>")
        values = F.when(F.trim(text).startswith("[") & listed.isNotNull(), listed).otherwise(F.array(text))
    trimmed = F.transform(values, lambda value: F.trim(value))
    return F.filter(trimmed, lambda value: value.isNotNull() & (value != ""))
