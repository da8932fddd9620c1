"""Which landed files are ingested, and writes that ingest a set of new files exactly once.

A file is identified by its bytes and the mapping that read it: under a changed mapping it is new again,
and the rows it gave before are replaced. A file that could not be read is tried again by every run.
How a line becomes an event is not known here.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace

from pyspark.sql import DataFrame, Row, SparkSession

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, Table
from spark_jobs.config import Job, SourceConfig
from spark_jobs.figures import EventsFigures
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.fields import RULES_NUMBER
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.reading import Mapped

Counts = dict[str, dict[str | None, int]]
"""Lines by file_id and reason; the reason of an accepted line is None."""


class Ingestion:
    """The writes of one set of new files. A table that holds exactly the rows of the ingested files gets the
    new rows appended; where an earlier run was killed before it finished, its leftovers are replaced."""

    def __init__(
        self, spark: SparkSession, job: Job, new: list[LandedFile], ingested: dict[str, Row]
    ) -> None:
        self._spark, self._lake, self._source = spark, job.lake, job.source.name
        # The version distinguishes two ingestions of the same files; a killed run and its rerun share it.
        version = delta.latest_version(spark, job.lake, job.source.name, INGESTED_FILES)
        files = "".join(sorted(file.file_id for file in new))
        self._transaction = f"files-{hashlib.sha256(files.encode()).hexdigest()}-{version}"
        self._expected_rows = {
            EVENTS.name: sum(row["accepted_count"] for row in ingested.values()),
            REJECTED_EVENTS.name: sum(row["rejected_count"] for row in ingested.values()),
            INGESTED_FILES.name: len(ingested),
        }
        self.committed = delta.within("file_id", sorted(ingested))
        """SQL predicate: the row belongs to an ingested file."""

    def interrupted(self, table: Table) -> bool:
        """Whether the table holds more or fewer rows than its ingested files gave."""
        rows = delta.row_count(self._spark, self._lake, self._source, table)
        return rows != self._expected_rows[table.name]

    def write(self, rows: DataFrame, table: Table, count: int) -> int:
        """Writes `rows`, `count` of them, into `table`; returns its version."""
        place = (self._lake, self._source)
        if self.interrupted(table):
            return delta.replace(self._spark, rows, table, *place, f"NOT {self.committed}")
        if not count:
            return delta.create(self._spark, *place, table)
        return delta.append_once(self._spark, rows, table, *place, self._transaction)


def ingested_files(spark: SparkSession, lake: str, source: str) -> dict[str, Row]:
    """Rows of `ingested_files` by file_id; empty before the first ingestion."""
    if delta.latest_version(spark, lake, source, INGESTED_FILES) is None:
        return {}
    return {row["file_id"]: row for row in delta.read(spark, lake, source, INGESTED_FILES).collect()}


def mapping_digest(source: SourceConfig) -> str:
    """Digest of the part of a source's configuration that decides what a line of a file becomes."""
    read_by = {"actions", "earliest", "latest", "events", "missing", "on_conflict", "repeats"}
    content = source.model_dump(mode="json", include=read_by) | {"rules": RULES_NUMBER}
    del content["events"]["files"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def forget_outdated(
    spark: SparkSession, job: Job, files: list[LandedFile], ingested: dict[str, Row]
) -> dict[str, Row]:
    """Removes from `ingested_files` the landed files that another mapping read and every file that could
    not be read; returns the remaining rows by file_id. This write comes first: a run killed after it is an
    interrupted ingestion, which the next run repairs."""
    landed, digest = {file.file_id for file in files}, mapping_digest(job.source)
    outdated = sorted(
        file_id
        for file_id, row in ingested.items()
        if not row["mapping_digest"] or (row["mapping_digest"] != digest and file_id in landed)
    )
    if not outdated:
        return ingested
    nothing = local_rows(spark, [], INGESTED_FILES.ddl)
    where = delta.within("file_id", outdated)
    delta.replace(spark, nothing, INGESTED_FILES, job.lake, job.source.name, where)
    return {file_id: row for file_id, row in ingested.items() if file_id not in set(outdated)}


def split_new(files: list[LandedFile], ingested: set[str]) -> tuple[list[LandedFile], list[LandedFile]]:
    """The files to ingest, one per content, and the files to skip; `ingested` are file_ids."""
    new: dict[str, LandedFile] = {}
    skipped = []
    for file in files:
        if file.file_id in ingested or file.file_id in new:
            skipped.append(file)
        else:
            new[file.file_id] = file
    return list(new.values()), skipped


def line_counts(lines: DataFrame) -> Counts:
    """Counts checked lines by file and problem."""
    counts: Counts = {}
    for row in lines.groupBy("file_id", "problem").count().collect():
        counts.setdefault(row["file_id"], {})[row["problem"]] = row["count"]
    return counts


def unreadable_rows(spark: SparkSession, files: list[LandedFile], mapped: Mapped) -> DataFrame:
    """Rows of `rejected_events` for the files that cannot be read at all, one row each."""
    rows = [
        (file.file_id, file.name, 1, "", mapped.unreadable[file.file_id])
        for file in files
        if file.file_id in mapped.unreadable
    ]
    return local_rows(spark, rows, REJECTED_EVENTS.ddl)


def log_rows(files: list[LandedFile], mapped: Mapped, counts: Counts, job: Job) -> list[tuple]:
    """Rows of `ingested_files`. Raises RuntimeError when accepted + refused are not a file's lines."""
    rows, digest = [], mapping_digest(job.source)
    for file in files:
        lines = mapped.line_counts[file.file_id]
        reasons = (
            {mapped.unreadable[file.file_id]: 1}
            if file.file_id in mapped.unreadable
            else counts.get(file.file_id, {})
        )
        accepted = reasons.get(None, 0)
        refused = sum(reasons.values()) - accepted
        if accepted + refused != lines:
            raise RuntimeError(
                f"{file.name}: {accepted} accepted + {refused} refused lines do not add up to its {lines} lines"
            )
        read_by = "" if file.file_id in mapped.unreadable else digest
        rows.append((file.file_id, file.name, file.size_bytes, lines, accepted, refused, read_by, job.cycle))
    return rows


def file_figures(
    new: list[LandedFile], skipped: list[LandedFile], ingested: dict[str, Row], before: dict[str, Row]
) -> EventsFigures:
    """Counts of landed files, with no line counted yet. `before` are the files that were ingested when the
    run started, `ingested` those of them that need not be read again."""
    again = [f for f in skipped if f.file_id not in ingested or ingested[f.file_id]["file_path"] != f.name]
    return EventsFigures(
        files_new=len(new),
        files_read_again=sum(file.file_id in before for file in new),
        files_skipped=len(skipped),
        files_landed_again=len(again),
        bytes=sum(file.size_bytes for file in new),
    )


def with_lines(figures: EventsFigures, mapped: Mapped, counts: Counts) -> EventsFigures:
    """`figures` with the line counts of the new files: accepted, refused, and refused by reason."""
    accepted, refused = 0, Counter(mapped.unreadable.values())
    for reasons in counts.values():
        accepted += reasons.get(None, 0)
        refused.update({reason: count for reason, count in reasons.items() if reason is not None})
    lines = sum(mapped.line_counts.values())
    return replace(
        figures,
        lines=lines,
        accepted=accepted,
        rejected=lines - accepted,
        rejected_by_reason=dict(sorted(refused.items())),
        absent_columns=mapped.absent,
    )


def newest_versions(spark: SparkSession, lake: str, source: str) -> dict[str, int]:
    """Newest version of each existing table of the ingestion, by name."""
    versions = {
        table.name: delta.latest_version(spark, lake, source, table)
        for table in (EVENTS, REJECTED_EVENTS, INGESTED_FILES)
    }
    return {name: version for name, version in versions.items() if version is not None}
