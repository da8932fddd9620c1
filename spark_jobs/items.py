"""Table `items`: one row per item ever seen, with its append-only index and what is known of it.

In: the pinned `events`, the landed item, tag and edge files, and `items` as it is. Out: `items`, and
`rejected_items` for lines of these files that cannot be read. An index, once given, never changes:
new items are numbered after the known ones in order of (first event up to the split, launched by then,
item_id), so that what happens after the split never moves an item that was known before. Readers cut tags by their time.

Item files are read whole every cycle: catalogues are small beside logs. An item that no file
describes any more keeps what was known of it; a line without a tag says that there is none. Tags and edges of an item that neither an event nor
an item file names are left out.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import partial, reduce

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType

from expectations.tables import EVENTS, ITEMS, REJECTED_ITEMS
from spark_jobs.config import EdgeMapping, FileMapping, ItemMapping, Job, TagMapping
from spark_jobs.figures import ItemsFigures, JobResult
from spark_jobs.history import micros
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing import files as landing
from spark_jobs.landing.fields import id_problem, kept_raw, present_text, text_id
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.instants import microseconds
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW
from spark_jobs.landing.reading import read_mapped

DUPLICATE = "duplicate item_id, a later line counts"
_POSSIBLE_US = (-5_364_662_400_000_000, 7_258_118_400_000_000)
"""A launch or a tag lies in 1800 to 2199; microseconds since 1970."""
_HEAD = ("file_id", "line_number", "raw", "problem", "item_id")
_DESCRIBED = ("title", "description", "launched_at", "tags", "edges")


def main(spark: SparkSession, job: Job) -> JobResult:
    """Adds new items and refreshes what is known of all; with nothing new, the version stays.

    Raises MappingError (a mapping does not fit its files), LandingError, TableError.
    """
    place = (job.lake, job.source.name)
    mappings = (*job.source.items, *job.source.tags, *job.source.edges)
    landed = [_landed(spark, job, mapping) for mapping in mappings]
    inputs = _inputs_digest(job, landed)
    if delta.last_note(spark, *place, ITEMS) == inputs:
        # The last change of `items` was made from the same events, files and mappings.
        rows, refused = (delta.read(spark, *place, table) for table in (ITEMS, REJECTED_ITEMS))
        there = sorted({file.file_id for files in landed for file in files})
        refused = refused.where(delta.within("file_id", there))
        versions = {
            table.name: delta.latest_version(spark, *place, table) for table in (ITEMS, REJECTED_ITEMS)
        }
        return JobResult(versions=versions, figures=_figures(rows, None, refused))
    described, tags, edges, broken = [], [], [], []
    for number, (mapping, files) in enumerate(zip(mappings, landed, strict=True)):
        mapped = read_mapped(spark, files, mapping, mapped_expressions(mapping), _KINDS[type(mapping)])
        names = {file.file_id: file.name for file in files}
        broken += [(one, names[one], 1, "", why) for one, why in mapped.unreadable.items()]
        if not mapped.parts:
            continue
        order = {one: f"{number:04d} {name}" for one, name in names.items()}
        ordered = F.create_map(*[F.lit(text) for pair in order.items() for text in pair])[F.col("file_id")]
        lines = mapped.through(partial(checked_lines, mapping=mapping)).withColumn("place", ordered)
        {ItemMapping: described, TagMapping: tags, EdgeMapping: edges}[type(mapping)].append(lines)
    described = [last_line_counts(reduce(DataFrame.unionByName, described)).persist()] if described else []
    names = {file.file_id: file.name for files in landed for file in files}
    refused = _refused(spark, [*described, *tags, *edges], names, broken).persist()
    known = delta.read(spark, *place, ITEMS, delta.create(spark, *place, ITEMS))
    rows = items(known, delta.read_pinned(spark, job, EVENTS), described, tags, edges, job.split).persist()
    figures = _figures(rows, known.count(), refused)
    versions = {
        REJECTED_ITEMS.name: delta.upsert(spark, refused, REJECTED_ITEMS, *place),
        ITEMS.name: delta.upsert(spark, rows, ITEMS, *place, note=inputs),
    }
    for held in (*described, refused, rows):
        held.unpersist()
    return JobResult(versions=versions, figures=figures)


# --- transforms -----------------------------------------------------------------------------------


def checked_lines(rows: DataFrame, mapping: ItemMapping | TagMapping | EdgeMapping) -> DataFrame:
    """Mapped lines of one file layout: _HEAD and what the mapping says of the item; `problem` is why a
    line says nothing, null for one that does. A tag or entity that is null or empty is none."""
    instants = {ItemMapping: "launched_at", TagMapping: "tagged_at"}
    name = instants.get(type(mapping))
    problem: list[Column] = [F.col(PROBLEM), id_problem("item_id", "item")]
    lines = rows.withColumn("item_id", text_id(rows, "item"))
    if name and getattr(mapping, name):
        at_us = microseconds(rows, name, getattr(mapping, f"{name}_unit"))
        possible = at_us.between(*_POSSIBLE_US)
        lines = lines.withColumn("at", F.when(possible, F.timestamp_micros(at_us)))
        problem.append(F.when(at_us.isNotNull() & ~possible, f"{name} is impossible"))
        problem.append(
            F.when(present_text(rows, name).isNotNull() & at_us.isNull(), f"{name} is not an instant")
        )
    else:
        lines = lines.withColumn("at", F.lit(None).cast("timestamp"))
    if isinstance(mapping, EdgeMapping):
        several = F.size(_several(rows, "entity")) > 0
        problem.append(F.when(several & present_text(rows, "relation").isNull(), "missing relation"))
    lines = lines.withColumn("problem", F.coalesce(*problem))
    # A line about an item may turn out to be superseded, and is kept then.
    refused = F.lit(True) if isinstance(mapping, ItemMapping) else F.col("problem").isNotNull()
    head = (
        F.col(FILE_ID).alias("file_id"),
        F.col(LINE_NUMBER).alias("line_number"),
        F.when(refused, kept_raw(RAW)).alias("raw"),
        "problem",
        "item_id",
    )
    if isinstance(mapping, ItemMapping):
        texts = (
            present_text(rows, "title").alias("title"),
            present_text(rows, "description").alias("description"),
        )
        return lines.select(*head, *texts, F.col("at").alias("launched_at"))
    if isinstance(mapping, TagMapping):
        return lines.select(*head, _several(rows, "tag").alias("tag"), F.col("at").alias("tagged_at"))
    return lines.select(
        *head, present_text(rows, "relation").alias("relation"), _several(rows, "entity").alias("entity")
    )


def last_line_counts(lines: DataFrame) -> DataFrame:
    """Of several lines about one item the last one counts (in order of mapping, file name and line);
    the others get the problem DUPLICATE."""
    later = Window.partitionBy("item_id", F.col("problem").isNull()).orderBy(
        F.desc("place"), F.desc("line_number")
    )
    repeated = F.col("problem").isNull() & (F.row_number().over(later) > 1)
    return lines.withColumn("problem", F.when(repeated, DUPLICATE).otherwise(F.col("problem")))


def items(
    known: DataFrame,
    events: DataFrame,
    described: list[DataFrame],
    tags: list[DataFrame],
    edges: list[DataFrame],
    split: datetime,
) -> DataFrame:
    """All rows of `items`: the known ones with their indices, and the new ones numbered after them."""
    split_at = F.timestamp_micros(F.lit(micros(split)))
    first = events.groupBy("item_id").agg(
        F.min(F.when(F.col("event_at") <= split_at, F.col("event_at"))).alias("first_event_at")
    )
    about = [_accepted(lines).select("item_id", "title", "description", "launched_at") for lines in described]
    named = [lines.select("item_id") for lines in (known, first, *about)]
    whole = reduce(DataFrame.unionByName, named).distinct().join(first, on="item_id", how="left")
    was = known.select("item_id", "item_index", *(F.col(name).alias(f"was_{name}") for name in _DESCRIBED))
    whole = whole.join(was, on="item_id", how="left")
    now = {
        "tags": _gathered(tags, "tag", ("tag", "tagged_at")),
        "edges": _gathered(edges, "entity", ("relation", "entity")),
    }
    for lines in about:
        whole = whole.join(lines.withColumn("is_described", F.lit(True)), on="item_id", how="left")
    for name, gathered in now.items():
        if gathered is not None:
            whole = whole.join(gathered.withColumnRenamed("gathered", name), on="item_id", how="left")
    columns = {name: F.col(f"was_{name}") for name in _DESCRIBED}
    if about:
        for name in ("title", "description", "launched_at"):
            columns[name] = F.when(F.col("is_described"), F.col(name)).otherwise(F.col(f"was_{name}"))
    for name, gathered in now.items():
        there = F.col(name) if gathered is not None else F.lit(None)
        columns[name] = F.coalesce(there, f"was_{name}", F.array()).cast(ITEMS.type_of(name))
    # One task sorts the new items: a catalogue is small, and its numbers are one sequence.
    whole = whole.withColumn("is_new", F.col("item_index").isNull())
    is_launched = F.coalesce(columns["launched_at"] <= split_at, F.lit(False))
    among_new = Window.partitionBy("is_new").orderBy(
        F.col("first_event_at").asc_nulls_last(), is_launched.desc(), "item_id"
    )
    numbered = F.row_number().over(among_new) - 1 + known.count()
    return whole.select(
        "item_id",
        F.coalesce("item_index", numbered.cast("int")).alias("item_index"),
        *(columns[name].alias(name) for name in _DESCRIBED),
    )


# --- parts ----------------------------------------------------------------------------------------


_KINDS = {ItemMapping: "items", TagMapping: "tags", EdgeMapping: "edges"}


def _landed(spark: SparkSession, job: Job, mapping: FileMapping) -> list[LandedFile]:
    """The mapping's files. Raises LandingError when there is none."""
    found = landing.find(spark, job.landing, mapping.files)
    if not found:
        raise landing.LandingError(
            f"no file matches {_KINDS[type(mapping)]}.files = {', '.join(mapping.files)} under {job.landing}"
        )
    return found


def _inputs_digest(job: Job, landed: list[list[LandedFile]]) -> str:
    """SHA-256 over all that `items` is made from beside its own earlier rows."""
    content = {
        "events": job.versions.get(EVENTS.name),
        "files": [[(file.name, file.file_id) for file in files] for files in landed],
        "mappings": job.source.model_dump(mode="json", include={"items", "tags", "edges"}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def mapped_expressions(mapping: FileMapping) -> dict[str, str]:
    """The SQL expression of each field that the mapping gives."""
    names = ("item", "title", "description", "launched_at", "tag", "tagged_at", "relation", "entity")
    expressions = {name: getattr(mapping, name, None) for name in names}
    return {name: sql for name, sql in expressions.items() if sql is not None}


def _several(rows: DataFrame, name: str) -> Column:
    """One value, an array of them, or the JSON text of an array, as an array of text without null and
    empty ones."""
    if isinstance(rows.schema[name].dataType, ArrayType):
        values = F.col(name).cast("array<string>")
    else:
        text = F.col(name).cast("string")
        listed = F.from_json(text, "array<string>")
        values = F.when(F.trim(text).startswith("[") & listed.isNotNull(), listed).otherwise(F.array(text))
    trimmed = F.transform(values, lambda value: F.trim(value))
    return F.filter(trimmed, lambda value: value.isNotNull() & (value != ""))


def _accepted(lines: DataFrame) -> DataFrame:
    return lines.where(F.col("problem").isNull())


def _gathered(parts: list[DataFrame], exploded: str, fields: tuple[str, str]) -> DataFrame | None:
    """item_id and its distinct entries in a stable order; None where no file gives any."""
    if not parts:
        return None
    lines = reduce(DataFrame.unionByName, [_accepted(part) for part in parts])
    # A line that gives none says that there is none: its item is there, with an empty array.
    entries = lines.withColumn(exploded, F.explode_outer(exploded)).select(
        "item_id", F.when(F.col(exploded).isNotNull(), F.struct(*fields)).alias("entry")
    )
    return entries.groupBy("item_id").agg(F.array_sort(F.collect_set("entry")).alias("gathered"))


def _refused(
    spark: SparkSession, parts: list[DataFrame], file_names: dict[str, str], broken: list[tuple]
) -> DataFrame:
    """Rows of `rejected_items`: a line that several mappings refuse is named once, with the first reason."""
    names = local_rows(spark, sorted(file_names.items()), "file_id string, file_path string")
    refused = local_rows(spark, broken, REJECTED_ITEMS.ddl)
    for part in parts:
        lines = part.where(F.col("problem").isNotNull()).join(F.broadcast(names), on="file_id", how="inner")
        refused = refused.unionByName(
            lines.select(
                "file_id",
                "file_path",
                "line_number",
                F.coalesce("raw", F.lit("")).alias("raw"),
                F.col("problem").alias("reason"),
            )
        )
    return refused.groupBy("file_id", "file_path", "line_number").agg(
        F.max("raw").alias("raw"), F.min("reason").alias("reason")
    )


def _figures(rows: DataFrame, items_before: int | None, refused: DataFrame) -> ItemsFigures:
    """`items_before` is the number of items before this run; None where it added none."""
    counted = rows.agg(
        F.count(F.lit(1)).alias("items"),
        F.count("title").alias("items_with_title"),
        F.count("description").alias("items_with_description"),
        F.count("launched_at").alias("items_with_launch"),
        F.count_if(F.size("tags") > 0).alias("items_with_tags"),
        F.count_if(F.size("edges") > 0).alias("items_with_edges"),
    ).first()
    items_new = 0 if items_before is None else counted["items"] - items_before
    reasons = dict(sorted(tuple(row) for row in refused.groupBy("reason").count().collect()))
    return ItemsFigures(
        **counted.asDict(),
        items_new=items_new,
        rejected=sum(reasons.values()),
        rejected_by_reason=reasons,
    )
