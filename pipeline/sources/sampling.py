"""The sample of a source's files that `check-source` reads: the first lines of some of them.

Text files are cut to their first records, unpacked where they are compressed; of Parquet, ORC and Avro files and of
tables the first rows are kept. Of many files some are taken, evenly spread over their names, the first and the last
among them. Files on an object store are read whole.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from spark_jobs.config import FileMapping

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_jobs.landing.files import LandedFile
    from spark_jobs.landing.reading import Mapped

SAMPLE_LINES = 20_000
"""Lines read of each file."""
SAMPLE_FILES = 20
"""Files read of each mapping."""


class Sampled(NamedTuple):
    """The files of one mapping, and the sample of their lines with the mapping applied."""

    files: list[LandedFile]
    """All files of the mapping."""
    read: list[LandedFile]
    """Those of which lines are read."""
    mapped: Mapped


def sample(
    spark: SparkSession,
    landing: str,
    mapping: FileMapping,
    expressions: dict[str, str],
    label: str,
    scratch: Path,
) -> Sampled:
    """Reads a sample of the mapping's files; cut copies are put into `scratch`. Raises LandingError without a
    file, MappingError."""
    from pyspark.sql import functions as F

    from spark_jobs.landing.catalogs import by_files
    from spark_jobs.landing.files import LandingError, find
    from spark_jobs.landing.layouts import LINE_NUMBER
    from spark_jobs.landing.reading import TYPED, read_mapped
    from spark_jobs.landing.source_tables import whole

    mapping = by_files(spark, mapping)
    if mapping.table is not None:
        files = [whole(spark, landing, mapping.table, SAMPLE_FILES)]
    else:
        files = find(spark, landing, mapping.files)
    if not files:
        raise LandingError(f"no file matches {label}.files = {', '.join(mapping.files)} under {landing}")
    chosen = spread(files, SAMPLE_FILES)
    if mapping.format in TYPED:
        mapped = read_mapped(spark, chosen, mapping, expressions, label)
        parts = [part.where(F.col(LINE_NUMBER) <= SAMPLE_LINES) for part in mapped.parts]
        return Sampled(files, chosen, replace(mapped, parts=parts))
    heads = [_head(file, mapping, scratch, number) for number, file in enumerate(chosen)]
    return Sampled(files, chosen, read_mapped(spark, heads, mapping, expressions, label))


def spread(files: list[LandedFile], most: int) -> list[LandedFile]:
    """At most `most` of the files, evenly spread over their names."""
    by_name = sorted(files, key=lambda file: file.name)
    if len(by_name) <= most:
        return by_name
    return [by_name[round(place * (len(by_name) - 1) / (most - 1))] for place in range(most)]


def _head(file: LandedFile, mapping: FileMapping, scratch: Path, number: int) -> LandedFile:
    """A copy of a local text file's first records, unpacked and in UTF-8; other files as they are."""
    from spark_jobs.landing.delimited import dialect_of
    from spark_jobs.landing.unpacking import DamagedFile
    from spark_jobs.landing.whole_files import first_records

    if file.unreadable or not file.is_local:
        return file
    dialect = None if mapping.format == "jsonl" else dialect_of(mapping)
    path = scratch / f"{number:05d}.txt"
    try:
        with path.open("wb") as head:
            for record in first_records(file, dialect, SAMPLE_LINES):
                # A JSON value over several lines becomes one line: its line breaks are blanks between tokens.
                raw = record.raw if dialect else record.raw.replace(b"\n", b" ")
                head.write(raw + b"\n")
    except (DamagedFile, OSError) as reason:
        return replace(file, unreadable=" ".join(str(reason).split()))
    return replace(file, path=str(path), size_bytes=path.stat().st_size)
