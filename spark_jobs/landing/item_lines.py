"""Lines of item, tag and edge files as typed rows: what each says of its item, or why it is refused.

Pure transforms over the lines of `reading.read_mapped`; `spark_jobs.items` gathers their results.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from expectations.instants import microseconds
from spark_jobs.config import EdgeMapping, ItemMapping, TagMapping, TimeUnit
from spark_jobs.landing.expressions import FAILED, FAILS
from spark_jobs.landing.fields import id_problem, kept_raw, present_text, text_id, truth
from spark_jobs.landing.instants import NOT_AN_INSTANT, parsed_microseconds
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW

SUPERSEDED = "superseded by a later line about the same item"
KEPT_WITHOUT = "kept without "
"""What the reason begins with where a line about an item is used, but for a field that cannot be read."""
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


def checked_lines(
    rows: DataFrame, mapping: ItemMapping | TagMapping | EdgeMapping, missing: Sequence[str]
) -> DataFrame:
    """Mapped lines of one mapping as `file_id`, `line_number`, `raw`, `problem`, `dropped`, `item_id` and its
    fields. `missing` are texts that stand for a missing item.

    `problem` is the reason for refusing the line, null where it is accepted. `dropped` says of an accepted line
    about an item which field it is used without. (A tag or an edge has no field to spare: a tag whose time is
    not known could be from after the split.) `raw` is kept for refused lines, and for all lines about items,
    which a later line may supersede. Null and empty tags and entities are dropped.
    """
    lines = rows.withColumn("item_id", text_id(rows, "item"))
    problem: list[Column] = [F.col(PROBLEM), id_problem(lines, "item", "item_id", "item", missing)]
    kind, is_item = type(mapping), isinstance(mapping, ItemMapping)
    unreadable: dict[str, Column] = {}
    name = {ItemMapping: "launched_at", TagMapping: "tagged_at"}.get(kind)
    at = F.lit(None).cast("timestamp")
    if name and getattr(mapping, name):
        at, unreadable[name] = _instant(rows, name, getattr(mapping, f"{name}_unit"))
    retired = truth(rows, "retired")
    if is_item:
        said = present_text(rows, "retired").isNotNull()
        unreadable["retired"] = F.when(said & retired.isNull(), "is neither true nor false")
    if isinstance(mapping, EdgeMapping):
        has_entity = F.size(_several(rows, "entity")) > 0
        problem.append(F.when(has_entity & present_text(rows, "relation").isNull(), "missing relation"))
    fields = [field for field in mapped_expressions(mapping) if field != "item"]
    failed = {field: F.when(F.array_contains(FAILED, field), FAILS) for field in ("item", *fields)}
    reasons = {field: F.coalesce(failed[field], unreadable.get(field, F.lit(None))) for field in fields}
    link = ", which " if is_item else " "
    named = [F.concat(F.lit(f"{field}{link}"), reason) for field, reason in reasons.items()]
    problem.insert(1, F.concat(F.lit("item "), failed["item"]))
    if not is_item:
        problem += named
    dropped = F.nullif(F.concat_ws("; ", *(named if is_item else [])), F.lit(""))
    lines = lines.withColumns({"problem": F.coalesce(*problem), "at": at}).withColumn(
        "dropped", F.when(F.col("problem").isNull(), F.concat(F.lit(KEPT_WITHOUT), dropped))
    )
    head = (
        F.col(FILE_ID).alias("file_id"),
        F.col(LINE_NUMBER).alias("line_number"),
        F.when(F.lit(is_item) | F.col("problem").isNotNull(), kept_raw(RAW)).alias("raw"),
        "problem",
        "dropped",
        "item_id",
    )
    if is_item:
        texts = (
            present_text(rows, "title").alias("title"),
            present_text(rows, "description").alias("description"),
        )
        return lines.select(*head, *texts, F.col("at").alias("launched_at"), retired.alias("retired"))
    if kind is TagMapping:
        return lines.select(*head, _several(rows, "tag").alias("tag"), F.col("at").alias("tagged_at"))
    return lines.select(
        *head, present_text(rows, "relation").alias("relation"), _several(rows, "entity").alias("entity")
    )


def _instant(rows: DataFrame, name: str, unit: TimeUnit) -> tuple[Column, Column]:
    """A launch's or tag's time, null where it is none, and why: the end of a sentence that its name begins."""
    at_us, text = parsed_microseconds(rows, name, unit), F.trim(F.col(name).cast("string"))
    bounds = (microseconds(datetime(year, 1, 1, tzinfo=UTC)) for year in (_EARLIEST_YEAR, _LATEST_YEAR))
    possible = at_us.between(*bounds)
    reason = F.when(present_text(rows, name).isNull() | possible, None)
    if unit == "iso":
        reason = (
            reason.when(text.rlike(r"^\d{4}(\.0+)?$"), "is a year without a day")
            .when(text.rlike(r"^\d{4}-\d{1,2}$"), "is a month without a day")
            .when(text.rlike(r"^0000-|^\d{4}-00?-|^\d{4}-\d{1,2}-00?([T ]|$)"), "is a placeholder of zeros")
        )
    reason = reason.when(at_us.isNotNull(), f"is not between {_EARLIEST_YEAR} and {_LATEST_YEAR}").otherwise(
        NOT_AN_INSTANT
    )
    return F.when(possible, F.timestamp_micros(at_us)), reason


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
    trimmed = F.transform(values, lambda value: F.trim(F.make_valid_utf8(value)))
    return F.filter(trimmed, lambda value: value.isNotNull() & (value != ""))
