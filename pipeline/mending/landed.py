"""Takes a person's lines out of landed event files: those that map to the person, and unreadable ones that name
the person.

A file is rewritten beside the landing folder, read again by the same mapping, and put in its place only if that finds nobody
and every other line. What cannot be rewritten so is told by name, and stays as it is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from expectations.files import replacing
from spark_jobs.config import Job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_jobs.landing.files import LandedFile

_OPENERS: dict[str, Callable[..., IO[bytes]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_UNKNOWN = (".zst", ".zstd", ".lz4", ".snappy", ".deflate", ".zip")


@dataclass(frozen=True)
class Rewritten:
    """What became of the landed files that hold a person."""

    lines: int = 0
    """Lines that left."""
    files: tuple[str, ...] = ()
    """Names of the files that they left."""
    kept: tuple[tuple[str, str], ...] = ()
    """Names of files that still hold the person, and why."""


def rewrite_without(spark: SparkSession, job: Job, digest: str) -> Rewritten:
    """Rewrites every landed event file that holds the person with this digest."""
    from spark_jobs.events import landed_files

    files = {file.file_id: file for file in landed_files(spark, job)}
    found, _ = _lines_of(spark, job, list(files.values()), digest)
    lines, done, kept = 0, [], []
    for file_id, numbers in sorted(found.items(), key=lambda entry: files[entry[0]].name):
        file = files[file_id]
        try:
            why = _rewrite(spark, job, file, sorted(numbers), digest)
        except (OSError, ValueError) as error:
            why = str(error)
        if why:
            kept.append((file.name, why))
        else:
            lines += len(numbers)
            done.append(file.name)
    return Rewritten(lines, tuple(done), tuple(kept))


def _lines_of(
    spark: SparkSession, job: Job, files: list[LandedFile], digest: str
) -> tuple[dict[str, set[int]], dict[str, int]]:
    """Line numbers that belong to the person, by file_id, and all lines by file_id."""
    from pyspark.sql import functions as F

    from spark_jobs.landing.catalogs import by_files
    from spark_jobs.landing.erased import is_erased, names_erased
    from spark_jobs.landing.event_lines import OPTIONAL, checked_lines, mapped_expressions
    from spark_jobs.landing.reading import WHERE, read_mapped

    source = job.source
    mapped = read_mapped(
        spark,
        files,
        by_files(spark, source.events),
        mapped_expressions(source),
        "events",
        frozenset((*OPTIONAL, WHERE)),
    )
    found: dict[str, set[int]] = {}
    if mapped.parts:
        checked = mapped.through(lambda rows: checked_lines(rows, source))
        own = is_erased(source.name, F.col("user_id"), [digest])
        named = names_erased(source.name, F.col("raw"), [digest])
        for row in checked.where(own | named).select("file_id", "line_number").collect():
            found.setdefault(row["file_id"], set()).add(row["line_number"])
    return found, mapped.line_counts


def _rewrite(spark: SparkSession, job: Job, file: LandedFile, numbers: list[int], digest: str) -> str | None:
    """Puts a file without these lines in the place of a landed one; returns why not, or None when it is done."""
    from spark_jobs.landing.files import path_key

    path = Path(path_key(file.path))
    if job.source.events.table is not None:
        return "it is a table, which is not rewritten"
    if "://" in str(path):
        return "it is in an object store, which is not rewritten"
    if job.source.events.format == "avro":
        return "Avro files are not rewritten"
    if path.suffix.lower() in _UNKNOWN:
        return f"files of type {path.suffix} are not rewritten"
    if not os.access(path.parent, os.W_OK):
        return "its folder may not be written"
    with tempfile.TemporaryDirectory(prefix="erase-user-") as scratch:
        fresh = Path(scratch) / path.name
        write = _WRITERS.get(job.source.events.format, _write_text)
        write(path, fresh, set(numbers))
        copy = replace(file, path=str(fresh), size_bytes=fresh.stat().st_size)
        left, counts = _lines_of(spark, job, [copy], digest) if copy.size_bytes else ({}, {})
        _, before = _lines_of(spark, job, [file], digest)
        if left or counts.get(file.file_id, 0) != before[file.file_id] - len(numbers):
            return "its lines cannot be told apart well enough to take some out"
        with replacing(path) as target:
            shutil.copyfile(fresh, target)
            shutil.copymode(path, target)
    return None


def _write_text(path: Path, fresh: Path, without: set[int]) -> None:
    opener = _OPENERS.get(path.suffix.lower(), open)
    with opener(path, "rb") as lines, opener(fresh, "wb") as kept:
        for number, line in enumerate(lines, 1):
            if number not in without:
                kept.write(line)


def _write_parquet(path: Path, fresh: Path, without: set[int]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, partitioning=None)
    mask = [number not in without for number in range(1, table.num_rows + 1)]
    pq.write_table(table.filter(pa.array(mask)), fresh)


def _write_orc(path: Path, fresh: Path, without: set[int]) -> None:
    import pyarrow as pa
    from pyarrow import orc

    table = orc.read_table(path)
    mask = [number not in without for number in range(1, table.num_rows + 1)]
    orc.write_table(table.filter(pa.array(mask)), fresh)


_WRITERS: dict[str | None, Callable[[Path, Path, set[int]], None]] = {
    "parquet": _write_parquet,
    "orc": _write_orc,
}
"""What writes a file without some of its rows, by format; text is written line by line."""
