"""Table `events`: one row per event_id, from every landed line that is an event.

Reads the files that `source.events` matches and the tables `events` and `ingested_files`. Writes
`rejected_events` (every other line, with its reason), `events`, and last `ingested_files`: a file
counts as ingested once it is listed there. A job killed before that ingests the file again, and so does
a changed mapping. For every file, accepted + rejected = lines. Files that were withdrawn, that landed again
with other content or that left before a cycle passed them take their events with them (`landing.outdated`).

Where the source keeps the last line of an event_id, events of earlier files may be replaced: their lines are
then refused, and the rows of those files are written anew (`landing.replacement`).

Shuffles once by event (occurrences and duplicates) and once by date (files of the table).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs.config import Job, SourceConfig
from spark_jobs.figures import JobResult
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing import files as landing
from spark_jobs.landing import source_tables
from spark_jobs.landing.catalogs import by_files
from spark_jobs.landing.erased import refuse_erased
from spark_jobs.landing.event_lines import (
    BESIDE_ANOTHER,
    CHECKED_LINES,
    CONTENT,
    DUPLICATE,
    OPTIONAL,
    accepted_events,
    checked_lines,
    digest,
    mapped_expressions,
    mapped_optional,
    numbered_occurrences,
    refuse_known,
)
from spark_jobs.landing.fields import kept_raw
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.ingestion import (
    Counts,
    Ingestion,
    file_figures,
    forget,
    held_to_rules,
    ingested_files,
    line_counts,
    log_rows,
    lost_rows,
    mapping_digest,
    new_columns,
    newest_versions,
    only_counted,
    retyped_columns,
    shadowed,
    split_new,
    unreadable_rows,
    with_lines,
)
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, RAW
from spark_jobs.landing.listing import vanished_folders
from spark_jobs.landing.outdated import GONE, SHADOWED, admitted, outdated, split_digest
from spark_jobs.landing.reading import WHERE, Mapped, read_mapped
from spark_jobs.landing.replacement import reopened
from spark_jobs.landing.table_rows import lost_to_reading, measured

BROADCAST_IDS = 1_000_000
"""Known events up to this many are joined without a shuffle (about 120 MB on every executor)."""


def main(spark: SparkSession, job: Job) -> JobResult:
    """Ingests the new files; without any, writes nothing and returns the versions unchanged.

    Raises MappingError (the mapping does not fit the files), LandingError, TableError.
    """
    source, lake, mapping = job.source, job.lake, by_files(spark, job.source.events)
    before = ingested_files(spark, lake, source.name)
    found = landed_files(spark, job, before)
    files = admitted(found, job.kept_out)
    names = [row["file_path"] for row in before.values()]
    if gone := vanished_folders(job.landing, mapping.files, names):
        raise landing.LandingError(
            f"the landing folder {', '.join(gone)} is gone, from which files were ingested before; bring it back "
            "(its disk may not be mounted), or take its pattern out of events.files"
        )
    if not found and not before and mapping.table is None:
        raise landing.LandingError(
            f"no file matches events.files = {', '.join(mapping.files)} under {job.landing}"
        )
    digest = mapping_digest(source)
    files = _still_read(
        spark, files, {name for name, row in before.items() if row["mapping_digest"] != digest}
    )
    before, touched = held_to_rules(spark, job, files, before)
    lost = lost_rows(spark, job, before)

    def reasons(files: list[LandedFile]) -> dict[str, str]:
        why = outdated(files, before, digest, job.kept_out, job.passed_ingestion, touched, lost)
        why |= shadowed(spark, job, files, before, why)
        landed = {file.file_id for file in files}
        if source.on_conflict == "keep_last" and not landed.isdisjoint(why):
            # Which line is the last goes by the order of the files: one that is read again alone would come last.
            why |= {file_id: SHADOWED for file_id in sorted(landed & before.keys() - why.keys())}
        return why

    why = reasons(files)
    if len(readable := _still_read(spark, files, why)) < len(files):
        files, why = readable, reasons(readable)
    if not files and GONE in why.values() and len(why) == len(before):
        raise landing.LandingError(
            f"no file matches events.files = {', '.join(mapping.files)} under {job.landing}, and no cycle "
            f"has passed the {len(before)} files that were ingested: land them again"
        )
    ingested = forget(spark, job, before, why)
    new, skipped = split_new(files, set(ingested))
    figures = file_figures(new, skipped, ingested, before, why, len(found))
    ingestion = Ingestion(spark, job, new, ingested)
    if not new and not ingestion.interrupted(EVENTS) and not ingestion.interrupted(REJECTED_EVENTS):
        return JobResult(versions=newest_versions(spark, lake, source.name), figures=figures)
    mapped = read_mapped(
        spark, new, mapping, mapped_expressions(source), "events", _may_be_absent(source, before)
    )
    figures = replace(figures, new_columns=new_columns(mapped, before), empty_files=mapped.empty(new))
    lines = spark.createDataFrame([], CHECKED_LINES)
    cached: list[DataFrame] = []
    if mapped.parts:
        checked = mapped.through(lambda rows: checked_lines(rows, source))
        checked = refuse_erased(checked, source.name, job.erased)
        lines = numbered_occurrences(checked, source, new).persist()
        cached = [lines]
    known, earlier = None, None
    if mapped.parts and ingested:
        events = delta.read(spark, lake, source.name, EVENTS)
        # Where events are replaced, rows of a killed run may be as many as those that it took away.
        if source.on_conflict == "keep_last" or ingestion.interrupted(EVENTS):
            events = events.where(ingestion.committed)
        known = known_events(lines, events, has_source_ids=source.events.event_id is not None)
        if known is not None:
            cached.append(known)
            lines = refuse_known(lines, known, source)
    if ingested and source.on_conflict == "keep_last":
        earlier = reopened(spark, job, lines, known, ingested)
    if earlier is not None:
        rest = {name: row for name, row in ingested.items() if name not in earlier.file_ids}
        ingestion = Ingestion(spark, job, new, rest)
    again = source_tables.read_again(new)
    if again:
        is_known = F.coalesce(F.col("problem") == DUPLICATE, F.lit(False))
        lines = lines.where(~(F.col("file_id").isin(*again) & is_known))
    counts = line_counts(lines, mapped_optional(source), mapped.measured.names) if mapped.parts else {}
    mapped = only_counted(mapped, again, counts)
    refused = refused_lines(lines, mapped, new, counts).unionByName(unreadable_rows(spark, new, mapped))
    log = local_rows(spark, log_rows(new, mapped, counts, job, ingestion.number), INGESTED_FILES.ddl)
    accepted = accepted_events(lines)
    figures = replace(
        with_lines(figures, mapped, counts), retyped=retyped_columns(new, mapped, counts, before, job)
    )
    if earlier is not None:
        figures = replace(figures, replaced=earlier.replaced)
        refused, log = refused.unionByName(earlier.rejected), log.unionByName(earlier.log)
        accepted = accepted.unionByName(earlier.events)
    versions = {
        REJECTED_EVENTS.name: ingestion.write(refused, REJECTED_EVENTS, figures.rejected),
        EVENTS.name: ingestion.write(accepted, EVENTS, figures.accepted),
    }
    # Last: this write makes the files count as ingested.
    versions[INGESTED_FILES.name] = ingestion.write(log, INGESTED_FILES, len(new))
    for frame in cached:
        frame.unpersist()
    return JobResult(versions=versions, figures=figures)


def landed_files(spark: SparkSession, job: Job, ingested: dict[str, Row] | None = None) -> list[LandedFile]:
    """The landed event files, withdrawn ones too; of a table the parts of its history. `ingested` are the rows of
    `ingested_files`, where they are at hand. Raises LandingError."""
    mapping = by_files(spark, job.source.events)
    if mapping.table is None:
        return landing.find(spark, job.landing, mapping.files, job.digests)
    if ingested is None:
        ingested = ingested_files(spark, job.lake, job.source.name)
    return source_tables.versions(
        spark,
        job.landing,
        mapping.table,
        ingested,
        job.passed_ingestion,
        job.kept_out,
        partial(measured, spark),
    )


def _still_read(spark: SparkSession, files: list[LandedFile], wanted: Collection[str]) -> list[LandedFile]:
    """The files without those parts of a table, among the `wanted`, that cannot be read again: they keep what they gave,
    as files that are landed no more do."""
    lost = lost_to_reading(spark, files, wanted)
    return [file for file in files if file.file_id not in lost]


def _may_be_absent(source: SourceConfig, before: dict[str, Row]) -> frozenset[str]:
    """Expressions that may name columns which no new file has. Under a mapping that has read files before, all: a column
    has vanished then, and a file that needs it cannot be read. Under another one, those that a line may leave empty: a
    column that no file has is a mistake of the mapping."""
    mapping, _ = split_digest(mapping_digest(source))
    if any(split_digest(row["mapping_digest"])[0] == mapping for row in before.values()):
        return frozenset((*mapped_expressions(source), WHERE))
    # JSON leaves out keys without a value.
    json_where = (WHERE,) if source.events.format == "jsonl" else ()
    return frozenset((*OPTIONAL, *json_where)) if before else frozenset()


def known_events(lines: DataFrame, events: DataFrame, has_source_ids: bool) -> DataFrame | None:
    """The events whose id one of the new lines has, cached; None when there are none. Columns `event_id`, and
    `known_content` and `known_about`, the digests of `numbered_occurrences`.

    `has_source_ids` says whether the source gives the ids itself; a derived id hashes the time, so only
    events of the new lines' dates can share one.
    """
    fresh = lines.where(F.col("problem").isNull())
    if not has_source_ids:
        dates = F.to_date(F.min("event_at")).alias("low"), F.to_date(F.max("event_at")).alias("high")
        span = fresh.agg(*dates).first()
        if span["low"] is None:
            return None
        events = events.where(F.col("event_date").between(span["low"], span["high"]))
    shared = (
        events.join(fresh.select("event_id"), on="event_id", how="left_semi")
        .select(
            "event_id",
            digest(CONTENT).alias("known_content"),
            digest(("user_id", "item_id")).alias("known_about"),
        )
        .persist()
    )
    count = shared.count()
    if not count:
        shared.unpersist()
        return None
    # A log landed again in full shares every id with the table: too many to send to every task.
    return F.broadcast(shared) if count <= BROADCAST_IDS else shared


def refused_lines(lines: DataFrame, mapped: Mapped, files: list[LandedFile], counts: Counts) -> DataFrame:
    """Rows of `rejected_events`. The text of duplicates and their like is read a second time, so that lines that become
    events need not carry theirs through the shuffle."""
    columns = ("file_id", "line_number", "problem", "event_date")
    refused = lines.where(F.col("problem").isNotNull()).select(*columns, "raw")
    if any(reason in counted.by_reason for counted in counts.values() for reason in BESIDE_ANOTHER):
        copies = refused.where(F.col("raw").isNull()).select(*columns)
        named = (F.col(FILE_ID).alias("file_id"), F.col(LINE_NUMBER).alias("line_number"))
        texts = mapped.through(lambda rows: rows.select(*named, kept_raw(RAW).alias("raw")))
        with_text = texts.join(copies, on=["file_id", "line_number"], how="inner")
        refused = refused.where(F.col("raw").isNotNull()).unionByName(with_text)
    names = local_rows(
        refused.sparkSession,
        [(file.file_id, file.name) for file in files],
        "file_id string, file_path string",
    )
    joined = refused.join(F.broadcast(names), on="file_id", how="inner")
    return joined.select(
        "file_id", "file_path", "line_number", "raw", F.col("problem").alias("reason"), "event_date"
    )
