"""Parquet files, grouped by the types of the columns that a mapping names; damaged ones are recognised before
a job relies on them.

The footers are read on the driver: they give the columns, their types and the number of rows. Arrow reads those of local
files, 2,000 in half a second; the JVM opens one file of each schema, and the files that Arrow refuses or that lie on an
object store. Only the columns that the mapping names are read, so the others may be of any type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.lake.session import silent
from spark_jobs.landing.cells import microseconds, shown
from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile, metadata_key
from spark_jobs.landing.folders import LITERAL
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.scanning import cause, hadoop_configuration, handed_over, reading_session

Result = TypeVar("Result")
_READERS = 8
_HAS_TIME_OF_DAY = re.compile(r'"type":"time\(')
"""A type that Spark converts and then cannot read."""


@dataclass(frozen=True)
class Footer:
    """What the end of a Parquet file says."""

    schema: str
    """The schema as text, which only groups files: Arrow and the JVM print it differently."""
    rows: int
    """Of all row groups."""


def parquet_groups(
    spark: SparkSession, files: list[LandedFile], paths: Paths, unreadable: dict[str, str]
) -> list[Group]:
    """One group per set of columns and types of the columns that `paths` name. Files with a damaged footer or damaged
    pages of these columns, or with one of them of a type that cannot be read, are added to `unreadable`, by file_id
    with the reason."""
    configuration = hadoop_configuration(spark)
    read_footer = partial(_footer, spark, configuration)
    with ThreadPoolExecutor(_READERS) as readers:
        footers = dict(zip(files, readers.map(read_footer, files), strict=True))
    unreadable.update({file.file_id: footer for file, footer in footers.items() if isinstance(footer, str)})
    by_schema: dict[str, list[LandedFile]] = {}
    for file, footer in footers.items():
        if isinstance(footer, Footer):
            by_schema.setdefault(footer.schema, []).append(file)
    by_read: dict[tuple, list[LandedFile]] = {}
    for members in by_schema.values():
        message, members = _schema_of(spark, configuration, members, unreadable)
        if message is None:
            continue
        columns = tuple(one.getName() for one in message.getFields())
        try:
            read = _Read.of(spark, message, columns, paths)
        except (PySparkException, Py4JJavaError, ValueError) as error:
            unreadable.update({file.file_id: f"Parquet file: {cause(error)}" for file in members})
            continue
        by_read.setdefault((columns, read), []).extend(members)
    groups = []
    for (columns, read), members in by_read.items():
        counts = {file.file_id: footers[file].rows for file in members}
        decoded = _decodable(spark, members, read, unreadable)
        for file in members:
            rows = decoded.get(file.key, ("", 0))[1]
            if rows < counts[file.file_id] and file.file_id not in unreadable:
                unreadable[file.file_id] = (
                    f"damaged Parquet file: {rows} of {counts[file.file_id]} rows can be read"
                )
        members = [file for file in members if file.file_id not in unreadable]
        if members:
            counts = {file.file_id: counts[file.file_id] for file in members}
            spellings = [(decoded[file.key][0], file.file_id) for file in members if file.key in decoded]
            opened = partial(_opened, spark, members, read, spellings)
            groups.append(Group(members, columns, counts, opened=opened))
    return groups


@dataclass(frozen=True)
class _Read:
    """The columns that are read of a file."""

    schema: str
    """Of the columns that are there, as the JSON text of a Spark schema; the fields no expression names are left out."""
    column_of: tuple[tuple[str, str], ...]
    """The mapping's spelling and the file's, of the columns that are there."""
    nanoseconds: frozenset[tuple[str, ...]]
    """Paths of times in nanoseconds, which Spark reads as plain numbers (`nanosAsLong`)."""

    @classmethod
    def of(cls, spark: SparkSession, message: JavaObject, columns: tuple[str, ...], paths: Paths) -> _Read:
        """Of files with the schema `message`, whose columns have these names. Raises ValueError for a column of a type
        that cannot be read."""
        java = spark._jvm.org.apache.parquet.schema
        sql = spark._jvm.org.apache.spark.sql.execution.datasources.parquet
        converter = sql.ParquetToSparkSchemaConverter(spark._jsparkSession.sessionState().conf())
        column_of = {parts[0]: spelled(parts[0], columns) for parts in sorted(paths)}
        column_of = {name: column for name, column in column_of.items() if column is not None}
        fields, nanoseconds = [], set()
        for column in (column for column in columns if column in column_of.values()):
            if columns.count(column) > 1:
                raise ValueError(
                    f"column {column}, which the mapping reads, occurs {columns.count(column)} times"
                )
            below = {parts[1:] for parts in paths if column_of.get(parts[0]) == column}
            kind = _pruned(spark, message.getType(message.getFieldIndex(column)), below)
            if str(kind.getLogicalTypeAnnotation()) == "UUID":  # 16 bytes, by a name that Spark does not know
                plain = java.Types.primitive(kind.getPrimitiveTypeName(), kind.getRepetition())
                kind = plain.length(kind.getTypeLength()).named(column)
            only = spark._jvm.java.util.ArrayList()
            only.add(kind)
            try:
                converted = converter.convert(java.MessageType("file", only))
            except (PySparkException, Py4JJavaError):
                converted = None
            if converted is None or _HAS_TIME_OF_DAY.search(converted.json()):
                shown = " ".join(kind.toString().split())
                raise ValueError(
                    f"column {column}, which the mapping reads, has a type that cannot be read: {shown[:100]}; write it as "
                    "text, a number or a timestamp"
                )
            fields += StructType.fromJson(json.loads(converted.json()))
            nanoseconds |= _nanosecond_paths(kind)
        return cls(StructType(fields).json(), tuple(column_of.items()), frozenset(nanoseconds))

    @property
    def fields(self) -> StructType:
        """The columns that are read, with their types."""
        return StructType.fromJson(json.loads(self.schema))


def _footer(spark: SparkSession, configuration: JavaObject, file: LandedFile) -> Footer | str:
    """The file's footer, or why there is none."""
    if not file.size_bytes:
        return "not a readable Parquet file: it has no bytes"
    if file.is_local and (footer := _footer_by_arrow(file.path)) is not None:
        return footer
    try:
        return _opened_footer(
            spark,
            configuration,
            file,
            lambda reader: Footer(_message(reader).toString(), reader.getRecordCount()),
        )
    except Py4JJavaError as error:
        return _refused(error)


def _footer_by_arrow(path: str) -> Footer | None:
    """A local file's footer; None where Spark's own reader decides, and says why."""
    try:
        metadata = pq.read_metadata(path)
        # Not `num_rows`, which is a figure of its own, and in a damaged footer another.
        rows = sum(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
        schema = str(metadata.schema).partition("\n")[2]  # its first line is the object's address
    except (pa.ArrowException, OSError, ValueError):  # the last for names that are not UTF-8
        return None
    # Of a file without rows nothing else would show that Spark cannot open it.
    return Footer(schema, rows) if rows else None


def _schema_of(
    spark: SparkSession, configuration: JavaObject, files: list[LandedFile], unreadable: dict[str, str]
) -> tuple[JavaObject | None, list[LandedFile]]:
    """The schema that files have in common as Parquet's own object, and the files from the first that the JVM opens;
    those before it are added to `unreadable`. (Printed, a schema cannot be read back where a name has a blank.)"""
    for number, file in enumerate(files):
        try:
            return _opened_footer(spark, configuration, file, _message), files[number:]
        except Py4JJavaError as error:
            unreadable[file.file_id] = _refused(error)
    return None, []


def _refused(error: Py4JJavaError) -> str:
    return f"not a readable Parquet file: {cause(error)}"


def _opened_footer(
    spark: SparkSession, configuration: JavaObject, file: LandedFile, ask: Callable[[JavaObject], Result]
) -> Result:
    """What Parquet's own reader answers about a file. Raises Py4JJavaError where it cannot open it."""
    parquet = spark._jvm.org.apache.parquet.hadoop
    path = spark._jvm.org.apache.hadoop.fs.Path(file.path)
    reader = parquet.ParquetFileReader.open(parquet.util.HadoopInputFile.fromPath(path, configuration))
    try:
        return ask(reader)
    finally:
        reader.close()


def _message(reader: JavaObject) -> JavaObject:
    return reader.getFooter().getFileMetaData().getSchema()


def _pruned(spark: SparkSession, kind, below: set[tuple[str, ...]]):
    """A Parquet type without the fields of groups that no path names; `below` are the paths from here on."""
    if () in below or kind.isPrimitive() or kind.getLogicalTypeAnnotation() is not None:
        return kind
    names = tuple(field.getName() for field in kind.asGroupType().getFields())
    kept = spark._jvm.java.util.ArrayList()
    for name in names:
        further = {parts[1:] for parts in below if spelled(parts[0], names) == name}
        if further:
            kept.add(_pruned(spark, kind.asGroupType().getType(names.index(name)), further))
    return kind.asGroupType().withNewFields(kept) if len(kept) else kind


def _nanosecond_paths(kind) -> set[tuple[str, ...]]:
    """Paths of the times in nanoseconds in a Parquet type, through groups alone."""
    annotation = kind.getLogicalTypeAnnotation()
    name = kind.getName()
    if kind.isPrimitive():
        is_time = annotation is not None and re.match(r"TIMESTAMP\(NANOS", annotation.toString())
        return {(name,)} if is_time else set()
    if annotation is not None:
        return set()
    return {(name, *path) for field in kind.asGroupType().getFields() for path in _nanosecond_paths(field)}


def _scan(spark: SparkSession, files: list[LandedFile], read: _Read, skip_damage: bool) -> DataFrame:
    """The columns that are read as `__c0`, `__c1` …, with `__path` and `__row`."""
    schema = read.fields
    scan = (
        reading_session(spark, files)
        .read.schema(schema)
        .options(ignoreCorruptFiles=str(skip_damage).lower(), **LITERAL)
        .parquet(*[file.path for file in files])
        .select(
            F.col("_metadata.file_path").alias("__path"),
            F.col("_metadata.row_index").alias("__row"),
            *(F.col(quoted(field.name)).alias(f"__c{place}") for place, field in enumerate(schema)),
        )
    )
    if len({field.name.lower() for field in schema}) == len(schema):
        return handed_over(spark, scan)
    # The job's session would take columns that differ in case for one: plan their scan with the reading session.
    rows = spark._jsparkSession.createDataFrame(scan._jdf.toJavaRDD(), scan._jdf.schema())
    return DataFrame(rows, spark)


def _opened(
    spark: SparkSession,
    files: list[LandedFile],
    read: _Read,
    spellings: list[tuple[str, str]],
    paths: Paths,
) -> DataFrame:
    """`spellings` are Spark's spelling of each file's path, and its file_id."""
    scan, schema = _scan(spark, files, read, skip_damage=False), read.fields
    values = {
        field.name: microseconds(F.col(f"__c{place}"), field.dataType, (field.name,), read.nanoseconds)
        for place, field in enumerate(schema)
    }
    known = local_rows(spark, spellings, f"__path string, {FILE_ID} string")
    cells = [shown(values[field.name], field.dataType).alias(field.name) for field in schema]
    wanted = {parts[0] for parts in paths}
    rows = scan.join(F.broadcast(known), on="__path", how="inner").select(
        FILE_ID,
        (F.col("__row") + 1).alias(LINE_NUMBER),
        (F.to_json(F.struct(*cells)) if cells else F.lit("")).alias(RAW),
        F.lit(None).cast("string").alias(PROBLEM),
        *(values[column].alias(name) for name, column in read.column_of if name in wanted),
    )
    return rows


def _decodable(
    spark: SparkSession, files: list[LandedFile], read: _Read, unreadable: dict[str, str]
) -> dict[str, tuple[str, int]]:
    """As `_decoded_rows`. Of damage that Spark does not pass over, the files that have it are found by halves."""
    try:
        with silent(spark):
            return _decoded_rows(spark, files, read)
    except (PySparkException, Py4JJavaError) as error:
        if len(files) == 1:
            unreadable[files[0].file_id] = f"damaged Parquet file: {cause(error)}"
            return {}
    half = len(files) // 2
    found = _decodable(spark, files[:half], read, unreadable)
    return found | _decodable(spark, files[half:], read, unreadable)


def _decoded_rows(spark: SparkSession, files: list[LandedFile], read: _Read) -> dict[str, tuple[str, int]]:
    """Spark's spelling of the path, and the number of rows that can be decoded, by the file's key; files of which
    no row can be are missing. Reads every page of the columns once."""
    scan = _scan(spark, files, read, skip_damage=True)
    cells = [shown(F.col(f"__c{place}"), field.dataType) for place, field in enumerate(read.fields)]
    digest = F.max(F.xxhash64(F.to_json(F.struct(*cells)))) if cells else F.max(F.lit(0))
    decoded = scan.groupBy("__path").agg(
        F.count(F.lit(1)).alias("n"),
        digest.alias("digest"),  # the digest makes Spark decode the columns
    )
    return {metadata_key(row["__path"]): (row["__path"], row["n"]) for row in decoded.collect()}
