"""Table `items`: one row per item ever seen, with its append-only index and what is known about it.

Reads the pinned `events`, the landed item, tag and edge files, and `items` itself. Writes `items`, and
`rejected_items` for the lines of these files that cannot be used.

An index never changes once assigned. New items are numbered after the known ones, ordered by first event
up to the split, then by whether they were launched by the split, then by item_id: what happens after the
split never moves an item that was known before it. Readers filter tags by time.

Item files are read in full every cycle: catalogues are small beside logs. An item that no file describes
any more keeps what was known about it; a line with an empty list of tags removes them. Tags and edges of
an item that neither an event nor an item file names are dropped. A field of an item that cannot be read is
dropped and recorded, and the rest of its line is used.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from functools import partial, reduce

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from expectations.instants import timestamp_sql
from expectations.tables import EVENTS, ITEMS, REJECTED_ITEMS
from spark_jobs.config import FileMapping, Job
from spark_jobs.figures import CatalogueLines, ItemsFigures, JobResult
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing import files as landing
from spark_jobs.landing import source_tables
from spark_jobs.landing.catalogs import by_files
from spark_jobs.landing.fields import RULES_NUMBER
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.item_lines import (
    KEPT_WITHOUT,
    KINDS,
    SUPERSEDED,
    accepted,
    checked_lines,
    mapped_expressions,
    refuse_superseded,
)
from spark_jobs.landing.reading import EXCLUDED, NEEDED, read_mapped

_SAID = ("title", "description", "launched_at", "retired")
_DESCRIBED = (*_SAID, "tags", "edges")


def main(spark: SparkSession, job: Job) -> JobResult:
    """Adds new items and updates all others; with nothing new, the versions stay.

    Raises MappingError (a mapping does not fit its files), LandingError, TableError.
    """
    place = (job.lake, job.source.name)
    mappings, landed = [by_files(spark, one) for one in _mappings(job)], landed_files(spark, job)
    inputs = _inputs_digest(job, landed)
    note = json.loads(delta.last_note(spark, *place, ITEMS) or "{}")
    if note.get("inputs") == inputs:
        # The last write of `items` had the same events, files and mappings.
        rows, refused = (delta.read(spark, *place, table) for table in (ITEMS, REJECTED_ITEMS))
        file_ids = sorted({file.file_id for files in landed for file in files})
        refused = refused.where(delta.within("file_id", file_ids))
        versions = {
            table.name: delta.latest_version(spark, *place, table) for table in (ITEMS, REJECTED_ITEMS)
        }
        catalogue = tuple(CatalogueLines(**counts) for counts in note["catalogue"])
        empty = tuple(note.get("empty_files", ()))
        return JobResult(versions=versions, figures=figures(rows, None, refused, catalogue, empty))
    parts: dict[str, list[DataFrame]] = {kind: [] for kind in KINDS.values()}
    lines_by_kind = Counter({KINDS[type(mapping)]: 0 for mapping in mappings})
    unreadable: list[tuple] = []
    damaged: Counter[str] = Counter()
    without_lines: set[str] = set()
    # Under mappings that have read files before, it is the files that have lost a column.
    digest = _mappings_digest(job)
    may_be_absent = NEEDED if note.get("mappings") == digest else frozenset()
    for number, (mapping, files) in enumerate(zip(mappings, landed, strict=True)):
        kind = KINDS[type(mapping)]
        mapped = read_mapped(spark, files, mapping, mapped_expressions(mapping), kind, may_be_absent)
        names = {file.file_id: file.name for file in files}
        unreadable += [(file_id, names[file_id], 1, "", why) for file_id, why in mapped.unreadable.items()]
        damaged[kind] += len(mapped.unreadable)
        without_lines.update(mapped.empty(files))
        lines_by_kind[kind] += sum(mapped.line_counts.values())
        if not mapped.parts:
            continue
        order = {file_id: f"{number:04d} {name}" for file_id, name in names.items()}
        by_file = F.create_map(*[F.lit(text) for pair in order.items() for text in pair])
        checked = partial(checked_lines, mapping=mapping, missing=job.source.missing)
        # Read once: counted, told where refused, and gathered. Without the cache Spark also moves "is refused"
        # below the checks, where it repeats them until the code is too long to be compiled.
        parts[kind].append(mapped.through(checked).withColumn("place", by_file[F.col("file_id")]).persist())
    cached = [part for of_kind in parts.values() for part in of_kind]
    if parts["items"]:
        parts["items"] = [refuse_superseded(reduce(DataFrame.unionByName, parts["items"])).persist()]
    names = {file.file_id: file.name for files in landed for file in files}
    catalogue = tuple(
        _catalogue_lines(kind, lines_by_kind[kind], damaged[kind], parts[kind]) for kind in lines_by_kind
    )
    told = [part for of_kind in parts.values() for part in of_kind]
    refused = refused_lines(spark, told, names, unreadable).persist()
    known = delta.read(spark, *place, ITEMS, delta.create(spark, *place, ITEMS))
    events = delta.read_pinned(spark, job, EVENTS)
    rows = items(known, events, parts["items"], parts["tags"], parts["edges"], job.split).persist()
    empty = tuple(sorted(without_lines))
    measured = figures(rows, known.count(), refused, catalogue, empty)
    note = json.dumps(
        {
            "inputs": inputs,
            "mappings": digest,
            "catalogue": [asdict(counts) for counts in catalogue],
            "empty_files": empty,
        }
    )
    versions = {
        REJECTED_ITEMS.name: delta.upsert(spark, refused, REJECTED_ITEMS, *place),
        ITEMS.name: delta.upsert(spark, rows, ITEMS, *place, note=note),
    }
    for frame in (*cached, *parts["items"], refused, rows):
        frame.unpersist()
    return JobResult(versions=versions, figures=measured)


def _catalogue_lines(kind: str, lines: int, unreadable: int, parts: list[DataFrame]) -> CatalogueLines:
    """How many of the lines of one kind of file are faulty, and how many are used without a field. `lines`
    includes one for each of the `unreadable` files."""
    counts = Counter(faulty=unreadable)
    for part in parts:
        is_faulty = F.col("problem").isNotNull() & ~F.col("problem").isin(SUPERSEDED, EXCLUDED)
        row = part.agg(F.count_if(is_faulty).alias("faulty"), F.count("dropped").alias("without_a_field"))
        counts.update(row.first().asDict())
    return CatalogueLines(kind, lines, counts["faulty"], counts["without_a_field"], unreadable)


def items(
    known: DataFrame,
    events: DataFrame,
    described: list[DataFrame],
    tags: list[DataFrame],
    edges: list[DataFrame],
    split: datetime,
) -> DataFrame:
    """All rows of `items`: the `known` ones with their indices, and the new ones numbered after them.

    `described`, `tags` and `edges` are checked lines (`landing.item_lines`), each list possibly empty.
    """
    split_at = F.expr(timestamp_sql(split))
    first = events.groupBy("item_id").agg(
        F.min(F.when(F.col("event_at") <= split_at, F.col("event_at"))).alias("first_event_at")
    )
    about = [accepted(lines).select("item_id", *_SAID) for lines in described]
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
        for name in _SAID:
            columns[name] = F.when(F.col("is_described"), F.col(name)).otherwise(F.col(f"was_{name}"))
    for name, gathered in now.items():
        landed = F.col(name) if gathered is not None else F.lit(None)
        columns[name] = F.coalesce(landed, f"was_{name}", F.array()).cast(ITEMS.type_of(name))
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
        *(columns[name].alias(name) for name in ITEMS.column_names if name in columns),
    )


def _gathered(parts: list[DataFrame], exploded: str, fields: tuple[str, str]) -> DataFrame | None:
    """`item_id` and `gathered`, its distinct entries in a stable order; None where no file has lines."""
    if not parts:
        return None
    lines = reduce(DataFrame.unionByName, [accepted(part) for part in parts])
    # A line with an empty list removes all entries: its item stays, with an empty array.
    entries = lines.withColumn(exploded, F.explode_outer(exploded)).select(
        "item_id", F.when(F.col(exploded).isNotNull(), F.struct(*fields)).alias("entry")
    )
    return entries.groupBy("item_id").agg(F.array_sort(F.collect_set("entry")).alias("gathered"))


def refused_lines(
    spark: SparkSession, parts: list[DataFrame], file_names: dict[str, str], unreadable: list[tuple]
) -> DataFrame:
    """Rows of `rejected_items`: lines that are refused or used without a field; one of which several mappings
    say so occurs once, with the first reason.

    `unreadable` are rows of the table for files that cannot be read at all.
    """
    names = local_rows(spark, sorted(file_names.items()), "file_id string, file_path string")
    refused = local_rows(spark, unreadable, REJECTED_ITEMS.ddl)
    for part in parts:
        told = part.withColumn("reason", F.coalesce("problem", "dropped")).where(F.col("reason").isNotNull())
        refused = refused.unionByName(
            told.join(F.broadcast(names), on="file_id", how="inner").select(
                "file_id", "file_path", "line_number", F.coalesce("raw", F.lit("")).alias("raw"), "reason"
            )
        )
    # Of several reasons, one for which the line is not used comes first.
    first = F.min(F.struct(F.col("reason").startswith(KEPT_WITHOUT).alias("is_kept"), "reason"))
    return (
        refused.groupBy("file_id", "file_path", "line_number")
        .agg(F.max("raw").alias("raw"), first.alias("first"))
        .select("file_id", "file_path", "line_number", "raw", F.col("first.reason").alias("reason"))
    )


def figures(
    rows: DataFrame,
    items_before: int | None,
    refused: DataFrame,
    catalogue: tuple[CatalogueLines, ...],
    empty_files: tuple[str, ...] = (),
) -> ItemsFigures:
    """Counts of the table's rows and of refused lines. `items_before` is the number of items before this
    run; None where it changed nothing. `catalogue` counts the lines by kind of file, `empty_files` have none."""
    counted = rows.agg(
        F.count(F.lit(1)).alias("items"),
        F.count("title").alias("items_with_title"),
        F.count("description").alias("items_with_description"),
        F.count("launched_at").alias("items_with_launch"),
        F.count_if(F.size("tags") > 0).alias("items_with_tags"),
        F.count_if(F.size("edges") > 0).alias("items_with_edges"),
    ).first()
    told = dict(sorted(tuple(row) for row in refused.groupBy("reason").count().collect()))
    reasons = {reason: lines for reason, lines in told.items() if not reason.startswith(KEPT_WITHOUT)}
    return ItemsFigures(
        **counted.asDict(),
        items_new=0 if items_before is None else counted["items"] - items_before,
        rejected=sum(reasons.values()),
        rejected_by_reason=reasons,
        kept_without=sum(told.values()) - sum(reasons.values()),
        kept_without_by_reason={reason: told[reason] for reason in told if reason not in reasons},
        catalogue=catalogue,
        empty_files=empty_files,
    )


def _mappings(job: Job) -> tuple[FileMapping, ...]:
    return (*job.source.items, *job.source.tags, *job.source.edges)


def landed_files(spark: SparkSession, job: Job) -> list[list[LandedFile]]:
    """The landed files of every mapping of items, tags and edges. Raises LandingError."""
    return [_landed(spark, job, mapping) for mapping in _mappings(job)]


def was_made_of(note: str | None, job: Job, landed: list[list[LandedFile]]) -> bool:
    """Whether the note of a version of `items` says that it was made of the job's events and mappings and of these
    files, by this revision's rules."""
    return json.loads(note or "{}").get("inputs") == _inputs_digest(job, landed)


def _landed(spark: SparkSession, job: Job, mapping: FileMapping) -> list[LandedFile]:
    """The mapping's files. Raises LandingError when there is none."""
    mapping = by_files(spark, mapping)
    if mapping.table is not None:
        return [source_tables.whole(spark, job.landing, mapping.table)]
    files = landing.find(spark, job.landing, mapping.files, job.digests)
    if not files:
        raise landing.LandingError(
            f"no file matches {KINDS[type(mapping)]}.files = {', '.join(mapping.files)} under {job.landing}"
        )
    return files


def _mappings_digest(job: Job) -> str:
    mappings = job.source.model_dump(mode="json", include={"items", "tags", "edges"})
    return hashlib.sha256(json.dumps(mappings, sort_keys=True).encode()).hexdigest()


def _inputs_digest(job: Job, landed: list[list[LandedFile]]) -> str:
    """SHA-256 over everything that `items` is computed from, except its own earlier rows."""
    content = {
        "events": job.versions.get(EVENTS.name),
        "files": [[(file.name, file.file_id) for file in files] for files in landed],
        "mappings": job.source.model_dump(mode="json", include={"items", "tags", "edges", "missing"}),
        "rules": RULES_NUMBER,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
