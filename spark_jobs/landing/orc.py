"""ORC files, grouped by the types of the columns that a mapping names; damaged ones are recognised before a job relies
on them.

Each file is read by one task, stripe by stripe, with Arrow's reader: Spark's own does not know all types, refuses a
file for a column that nobody reads, and takes times without a zone for those of the machine that it runs on. Here they
are UTC, as in other formats, and rounded down to microseconds.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import orc
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from spark_jobs.landing.cells import shown
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.whole_files import contents, too_large

_HEADS = f"{FILE_ID} string, schema binary, {PROBLEM} string"
_ARROW_HEADS = pa.schema([(FILE_ID, pa.string()), ("schema", pa.binary()), (PROBLEM, pa.string())])
_BATCH_ROWS = 10_000
_DAMAGE = (OSError, pa.ArrowException, ValueError)
"""What Arrow's reader raises for what it cannot read."""


@dataclass(frozen=True)
class _Read:
    """The columns that are read of a file."""

    places: tuple[int, ...]
    """Where they are in the file."""
    schema: pa.Schema
    """Their names and types, as they are given to Spark."""
    column_of: tuple[tuple[str, str], ...]
    """The mapping's spelling and the file's, of the columns that are there."""

    @classmethod
    def of(cls, schema: pa.Schema, paths: Paths) -> _Read:
        """Raises ValueError for a column of a type that cannot be read."""
        columns = tuple(schema.names)
        column_of = {name: spelled(name, columns) for name, *_ in sorted(paths)}
        column_of = {name: column for name, column in column_of.items() if column is not None}
        for column in sorted(set(column_of.values())):
            if columns.count(column) > 1:
                raise ValueError(
                    f"column {column}, which the mapping reads, occurs {columns.count(column)} times"
                )
        places = tuple(place for place, name in enumerate(columns) if name in column_of.values())
        fields = [pa.field(columns[place], _given(schema.field(place).type)) for place in places]
        for read in fields:
            try:
                from_arrow_schema(pa.schema([read]))
            except PySparkException:
                raise ValueError(
                    f"column {read.name}, which the mapping reads, has a type that cannot be read: {read.type}; write it as "
                    "text, a number or a timestamp"
                ) from None
        return cls(places, pa.schema(fields), tuple(column_of.items()))


def orc_groups(
    spark: SparkSession, files: list[LandedFile], paths: Paths, unreadable: dict[str, str]
) -> list[Group]:
    """One group per set of columns and types of the columns that `paths` name. Damaged files, and files with one of these
    columns of a type that cannot be read, are added to `unreadable`, by file_id with the reason."""
    unreadable.update(too_large(files, "ORC"))
    heads = contents(spark, [file for file in files if file.file_id not in unreadable]).mapInArrow(
        _each(_head), _HEADS
    )
    found = {row[FILE_ID]: row for row in heads.collect()}
    by_read: dict[tuple, tuple[_Read, list[LandedFile]]] = {}
    for file in files:
        if (row := found.get(file.file_id)) is None:
            continue
        if row[PROBLEM] is not None:
            unreadable[file.file_id] = row[PROBLEM]
            continue
        schema = pa.ipc.read_schema(pa.py_buffer(bytes(row["schema"])))
        try:
            read = _Read.of(schema, paths)
        except ValueError as error:
            unreadable[file.file_id] = f"ORC file: {error}"
            continue
        key = (tuple(schema.names), read.places, str(read.schema), read.column_of)
        by_read.setdefault(key, (read, []))[1].append(file)
    groups = []
    for (columns, *_), (read, members) in by_read.items():
        counts = _counted(spark, members, read, unreadable)
        members = [file for file in members if file.file_id in counts]
        if members:
            groups.append(Group(members, columns, counts, opened=partial(_opened, spark, members, read)))
    return groups


def _counted(
    spark: SparkSession, files: list[LandedFile], read: _Read, unreadable: dict[str, str]
) -> dict[str, int]:
    """Rows by file_id of the files that can be decoded; the others are added to `unreadable`."""
    damage = F.when(F.col(LINE_NUMBER) == 0, F.col(PROBLEM))
    rows = _rows(spark, files, read).groupBy(FILE_ID)
    counted = rows.agg(F.count_if(F.col(LINE_NUMBER) > 0).alias("n"), F.max(damage).alias("damage"))
    found = {row[FILE_ID]: row for row in counted.collect()}
    unreadable.update({name: row["damage"] for name, row in found.items() if row["damage"] is not None})
    good = [file.file_id for file in files if file.file_id not in unreadable]
    return {name: found[name]["n"] if name in found else 0 for name in good}


def _opened(spark: SparkSession, files: list[LandedFile], read: _Read, paths: Paths) -> DataFrame:
    rows = _rows(spark, files, read)
    names = read.schema.names
    raw = [
        shown(F.col(f"__c{place}"), rows.schema[f"__c{place}"].dataType).alias(name)
        for place, name in enumerate(names)
    ]
    wanted = {name for name, *_ in paths}
    return rows.select(
        FILE_ID,
        LINE_NUMBER,
        (F.to_json(F.struct(*raw)) if raw else F.lit("")).alias(RAW),
        PROBLEM,
        *(
            F.col(f"__c{names.index(column)}").alias(name)
            for name, column in read.column_of
            if name in wanted
        ),
    )


def _rows(spark: SparkSession, files: list[LandedFile], read: _Read) -> DataFrame:
    """`__file_id`, `__line_number`, `__problem` and the columns as `__c0`, `__c1` …; a damaged file ends with a row of number
    0 whose problem is the reason."""
    own = [pa.field(f"__c{place}", field.type) for place, field in enumerate(read.schema)]
    schema = pa.schema([(FILE_ID, pa.string()), (LINE_NUMBER, pa.int64()), (PROBLEM, pa.string()), *own])
    return contents(spark, files).mapInArrow(
        _each(partial(_lines, read.places, schema)), from_arrow_schema(schema)
    )


def _given(kind: pa.DataType) -> pa.DataType:
    """An Arrow type as Spark takes it: times in microseconds, and UTC where they name no zone."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _given(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_given(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(_given(kind.key_type), _given(kind.item_type))
    return kind


def _each(
    read: Callable[[dict[str, Any]], Iterator[pa.RecordBatch]],
) -> Callable[..., Iterator[pa.RecordBatch]]:
    """For `mapInArrow`: rows of files → what `read` gives for each."""

    def each(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                yield from read(file)

    return each


def _file(file: dict[str, Any]) -> orc.ORCFile:
    return orc.ORCFile(file["path"] if file["content"] is None else io.BytesIO(file["content"]))


def _head(file: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    """What a file's footer says: its schema, or why there is none."""
    schema = problem = None
    try:
        schema = _file(file).schema.serialize().to_pybytes()
    except _DAMAGE as error:
        problem = f"not a readable ORC file: {' '.join(str(error).split())[:200]}"
    rows = ([file[FILE_ID]], [schema], [problem])
    yield pa.RecordBatch.from_arrays(
        [pa.array(column, kind) for column, kind in zip(rows, _ARROW_HEADS.types, strict=True)],
        schema=_ARROW_HEADS,
    )


def _lines(places: tuple[int, ...], schema: pa.Schema, file: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    """The rows of one file in batches."""
    number, reason = 0, None
    try:
        opened = _file(file)
        total = opened.nrows
        for stripe in range(opened.nstripes):
            # Without a column Arrow gives no rows: the first one stands for the row.
            rows = opened.read_stripe(stripe, columns=list(places) or [0])
            cells = [
                column.cast(kind, safe=False)
                for column, kind in zip(rows.columns if places else [], schema.types[3:], strict=True)
            ]
            for start in range(0, rows.num_rows, _BATCH_ROWS):
                size = min(_BATCH_ROWS, rows.num_rows - start)
                numbers = pa.array(range(number + 1, number + size + 1), pa.int64())
                own = [pa.array([file[FILE_ID]] * size), numbers, pa.nulls(size, pa.string())]
                yield pa.RecordBatch.from_arrays(
                    [*own, *(cell.slice(start, size) for cell in cells)], schema=schema
                )
                number += size
        if number != total:
            reason = f"{number} of {total} rows can be read"
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
    if reason is not None:
        told = [
            pa.array([file[FILE_ID]]),
            pa.array([0], pa.int64()),
            pa.array([f"damaged ORC file: {reason}"]),
        ]
        yield pa.RecordBatch.from_arrays(
            [*told, *(pa.nulls(1, kind) for kind in schema.types[3:])], schema=schema
        )
