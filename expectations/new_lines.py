"""Landed files that no earlier cycle has passed: what became of their lines, and how many of them are faulty.

Measures only: the bounds are in `expectations.suites.events` and `expectations.suites.losses`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from expectations.figures import FileLines, KindLines, NewLines

EXAMPLES = 5
"""Reasons of faulty lines that are shown."""

RECORDED = ("excluded_count", "duplicate_count", "repeat_count", "null_counts", "column_kinds")
"""Columns of `ingested_files` that a version of an earlier release lacks."""


@dataclass(frozen=True)
class Reasons:
    """What reasons of refused lines mean; every other one makes a line faulty."""

    excluded: str
    duplicate: str
    harmless: Sequence[str] = ()
    """Reasons that say nothing against a line and mean no loss."""
    conflicts: Sequence[str] = ()
    """Reasons of faulty lines that say that an event_id does not name one event."""

    @property
    def not_faulty(self) -> tuple[str, ...]:
        """Every reason of a line that is not faulty."""
        return (self.excluded, self.duplicate, *self.harmless)


def new_files(
    ingested_files: DataFrame, rejected_events: DataFrame, cycle: str, passed: int | None, reasons: Reasons
) -> tuple[FileLines, ...]:
    """The files that no other cycle has passed, by path.

    These are the files that `cycle` ingested itself and those of ingestions after `passed`, the newest version
    of `ingested_files` that another cycle has passed. What a failed cycle ingested counts as new for the next.
    """
    new = _new(ingested_files, cycle, passed)
    refused = (
        rejected_events.join(new.select("file_id"), on="file_id", how="left_semi")
        .groupBy("file_id")
        .agg(
            F.count_if(F.col("reason") == reasons.excluded).alias("excluded"),
            F.count_if(F.col("reason") == reasons.duplicate).alias("duplicates"),
            F.count_if(F.col("reason").isin(*reasons.harmless)).alias("harmless"),
            F.count_if(~F.col("reason").isin(*reasons.not_faulty)).alias("faulty"),
            F.count_if(F.col("reason").isin(*reasons.conflicts)).alias("conflicts"),
            F.min("reason").alias("reason"),
        )
    )
    lacking = [F.lit(None).alias(name) for name in RECORDED if name not in new.columns]
    columns = ("file_id", "file_path", "size_bytes", "line_count", "accepted_count", "mapping_digest")
    known = new.select(*columns, *(name for name in RECORDED if name in new.columns), *lacking)
    rows = known.join(refused, on="file_id", how="left").orderBy("file_path").collect()
    return tuple(_file(row) for row in rows)


def counted(files: Sequence[FileLines]) -> NewLines:
    """The lines of files, without those that mean nothing: `where` excludes them, or their event is another line's."""
    passed_over = sum(file.excluded + file.duplicates + file.replaced for file in files)
    return NewLines(
        lines=sum(file.lines for file in files) - passed_over,
        faulty=sum(file.faulty for file in files),
        conflicts=sum(file.conflicts for file in files),
    )


def examples(
    ingested_files: DataFrame, rejected_events: DataFrame, cycle: str, passed: int | None, reasons: Reasons
) -> tuple[str, ...]:
    """The most frequent reasons of faulty lines of the new files: how many lines, and where the first of them is."""
    faulty = rejected_events.where(~F.col("reason").isin(*reasons.not_faulty))
    new = _new(ingested_files, cycle, passed)
    by_reason = faulty.join(new, on="file_id", how="left_semi").groupBy("reason")
    first = F.min(F.struct("file_path", "line_number")).alias("first")
    most = by_reason.agg(F.count("*").alias("n"), first).orderBy(F.desc("n"), "reason").limit(EXAMPLES)
    return tuple(
        f"{row['n']:,} × {row['reason']} (first: {row['first']['file_path']}, line {row['first']['line_number']})"
        for row in most.collect()
    )


def is_new(ingested_files: DataFrame, cycle: str, passed: int | None) -> Column:
    """Condition on `ingested_files`: no cycle but `cycle` has passed the file."""
    numbered = "ingestion" in ingested_files.columns  # not in a version of an earlier release
    number = F.coalesce("ingestion", F.lit(0)) if numbered else F.lit(0)
    return (F.col("cycle") == cycle) | (F.lit(True) if passed is None else number > passed)


def _new(ingested_files: DataFrame, cycle: str, passed: int | None) -> DataFrame:
    return ingested_files.where(is_new(ingested_files, cycle, passed))


def _file(row: Row) -> FileLines:
    faulty, harmless = row["faulty"] or 0, row["harmless"] or 0
    excluded = row["excluded"] if row["excluded_count"] is None else row["excluded_count"]
    duplicates = row["duplicates"] if row["duplicate_count"] is None else row["duplicate_count"]
    return FileLines(
        path=row["file_path"] or "",
        size_bytes=row["size_bytes"] or 0,
        lines=row["line_count"] or 0,
        accepted=row["accepted_count"] or 0,
        excluded=excluded or 0,
        duplicates=duplicates or 0,
        faulty=faulty,
        replaced=harmless,
        conflicts=row["conflicts"] or 0,
        repeats=row["repeat_count"],
        nulls=json.loads(row["null_counts"] or "{}"),
        readable=row["mapping_digest"] != "",
        unreadable_because=None if row["mapping_digest"] else row["reason"],
        kinds=kinds_of(row["column_kinds"]),
        mapping=(row["mapping_digest"] or "").partition(".")[0],
    )


def kinds_of(recorded: str | None) -> dict[str, dict[str, KindLines]]:
    """`column_kinds` of `ingested_files`; empty where it is not known."""
    read = json.loads(recorded or "{}")
    return {
        column: {kind: KindLines(*counts) for kind, counts in kinds.items()} for column, kinds in read.items()
    }
