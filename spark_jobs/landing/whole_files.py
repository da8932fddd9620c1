"""Text files that one task reads from beginning to end, as records with their numbers.

For files that Spark's text reader would read wrongly or in the wrong pieces: packed ones, other encodings
and line ends, quoted fields, JSON arrays. From `LandedFile`s to rows, by way of `unpacking` and `records` on the
executors. These open local paths by themselves; the bytes of other file systems come through Spark.

A file that turns out to be damaged gives no line at all.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.files import LandedFile, metadata_key, open_head
from spark_jobs.landing.folders import LITERAL
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW
from spark_jobs.landing.records import (
    Dialect,
    Record,
    delimited_records,
    holds_json_values,
    json_values,
    line_records,
)
from spark_jobs.landing.scanning import handed_over, reading_session
from spark_jobs.landing.unpacking import HEAD_BYTES, DamagedFile, Head, head_of, lines, text_chunks

FIELDS = "__fields"
"""Column of a delimited record's fields as an array of text; null where it cannot be cut."""
_READERS = 4
_BATCH_ROWS, _BATCH_BYTES = 10_000, 4 << 20
_LARGEST_REMOTE_BYTES = 1 << 30
_SCHEMA = f"{FILE_ID} string, {LINE_NUMBER} bigint, raw binary, fields array<binary>, {PROBLEM} string"
_ARROW_SCHEMA = pa.schema(
    [
        (FILE_ID, pa.string()),
        (LINE_NUMBER, pa.int64()),
        ("raw", pa.binary()),
        ("fields", pa.list_(pa.binary())),
        (PROBLEM, pa.string()),
    ]
)


def heads_of(spark: SparkSession, files: list[LandedFile], unreadable: dict[str, str]) -> dict[str, Head]:
    """What the first bytes of each file say, by file_id. Files that are no text are added to `unreadable`, by file_id
    with the reason."""

    def looked_at(file: LandedFile) -> Head | str:
        try:
            return head_of(open_head(spark, file, HEAD_BYTES), file.name, file.size_bytes > HEAD_BYTES)
        except DamagedFile as reason:
            return str(reason)
        except OSError as error:
            return f"the file cannot be read: {error.strerror or error}"

    with ThreadPoolExecutor(_READERS) as readers:
        seen = dict(zip(files, readers.map(looked_at, files), strict=True))
    unreadable.update({file.file_id: head for file, head in seen.items() if isinstance(head, str)})
    return {file.file_id: head for file, head in seen.items() if isinstance(head, Head)}


def whole_files(
    spark: SparkSession,
    files: list[LandedFile],
    dialect: Dialect | None,
    unreadable: dict[str, str],
    seen: Column | None = None,
) -> tuple[DataFrame, dict[str, int], dict[str, Any]]:
    """`__file_id`, `__line_number`, `__raw`, `__problem` and `__fields` of the files' records, and the number of records
    by file_id; and the value of the aggregate `seen` over each file's records. A `dialect` reads delimited records, None
    JSON. Damaged files are added to `unreadable`, by
    file_id with the reason."""
    unreadable.update(too_large(files))
    rows = _rows(spark, [file for file in files if file.file_id not in unreadable], dialect)
    damage = F.when(F.col(LINE_NUMBER) == 0, F.col(PROBLEM))
    counted = rows.groupBy(FILE_ID).agg(
        F.count_if(F.col(LINE_NUMBER) > 0).alias("n"),
        F.max(damage).alias("damage"),
        (F.lit(None) if seen is None else seen).alias("seen"),
    )
    counts, values = {}, {}
    for row in counted.collect():
        if row["damage"] is not None:
            unreadable[row[FILE_ID]] = row["damage"]
        else:
            counts[row[FILE_ID]], values[row[FILE_ID]] = row["n"], row["seen"]
    good = [file for file in files if file.file_id not in unreadable]
    rows = rows if len(good) == len(files) else _rows(spark, good, dialect)
    return rows, {file.file_id: counts.get(file.file_id, 0) for file in good}, values


def too_large(
    files: list[LandedFile], kind: str = "text that is not plain UTF-8 without quotes"
) -> dict[str, str]:
    """Why files of an object store cannot be read in one piece, by file_id; `kind` says what they are."""
    return {
        file.file_id: f"larger than 1 GiB, and {kind}: on an object store such a file is read in one piece; split it, or "
        "land Parquet"
        for file in files
        if not file.is_local and file.size_bytes > _LARGEST_REMOTE_BYTES
    }


def first_records(file: LandedFile, dialect: Dialect | None, count: int) -> list[Record]:
    """The first records of a local file. Raises DamagedFile where damage comes before them, OSError."""
    return list(islice(_records(partial(open, file.path, "rb"), file.name, dialect), count))


def contents(spark: SparkSession, files: list[LandedFile]) -> DataFrame:
    """`__file_id`, `name`, `path` and `content` of files, one row each; `content` is null where a task opens the path."""
    local = [file for file in files if file.is_local]
    remote = [file for file in files if not file.is_local]
    columns = f"{FILE_ID} string, name string, path string"
    given = local_rows(spark, [(file.file_id, file.name, file.path) for file in local], columns)
    given = given.withColumn("content", F.lit(None).cast("binary")).repartition(max(len(local), 1))
    if remote:
        scan = (
            reading_session(spark, remote)
            .read.format("binaryFile")
            .options(**LITERAL)
            .load([file.path for file in remote])
            .select(F.col("_metadata.file_path").alias("path"), "content")
        )
        scan = handed_over(spark, scan)
        spellings = {
            metadata_key(row["path"]): row["path"] for row in scan.select("path").distinct().collect()
        }
        names = [(file.file_id, file.name, spellings[file.key]) for file in remote]
        named = scan.join(F.broadcast(local_rows(spark, names, columns)), on="path", how="inner")
        given = given.unionByName(named)
    return given


def _rows(spark: SparkSession, files: list[LandedFile], dialect: Dialect | None) -> DataFrame:
    """The records of all files; a damaged file ends with a record of number 0 whose problem is the reason."""
    rows = contents(spark, files).mapInArrow(_reading(dialect), _SCHEMA)
    return rows.select(
        FILE_ID,
        LINE_NUMBER,
        F.col("raw").cast("string").alias(RAW),
        PROBLEM,
        F.col("fields").cast("array<string>").alias(FIELDS),
    )


def _reading(dialect: Dialect | None) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """For `mapInArrow`: rows of files → rows of their records."""

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                yield from _batches(file, dialect)

    return read


def _batches(file: dict, dialect: Dialect | None) -> Iterator[pa.RecordBatch]:
    """The records of one file in batches of bounded size."""
    rows: list[tuple] = []
    size = 0
    try:
        content = file["content"]
        opened = partial(open, file["path"], "rb") if content is None else partial(io.BytesIO, content)
        for record in _records(opened, file["name"], dialect):
            rows.append((file[FILE_ID], *record))
            size += len(record.raw)
            if len(rows) >= _BATCH_ROWS or size >= _BATCH_BYTES:
                yield _batch(rows)
                rows, size = [], 0
    except DamagedFile as reason:
        rows.append((file[FILE_ID], 0, b"", None, str(reason)))
    except OSError as error:
        rows.append((file[FILE_ID], 0, b"", None, f"the file cannot be read: {error.strerror or error}"))
    if rows:
        yield _batch(rows)


def _batch(rows: list[tuple]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _ARROW_SCHEMA.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_ARROW_SCHEMA)


def _records(opened: Callable[[], BinaryIO], name: str, dialect: Dialect | None) -> Iterator[Record]:
    if dialect is not None:
        with opened() as stream:
            yield from delimited_records(lines(stream, name), dialect)
        return
    with opened() as stream:
        is_values = holds_json_values(head_of(stream, name).text)
    with opened() as stream:
        yield from json_values(text_chunks(stream, name)) if is_values else line_records(lines(stream, name))
