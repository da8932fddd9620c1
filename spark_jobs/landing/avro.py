"""Avro files, grouped by the types of the columns that a mapping names; damaged ones are recognised before a job
relies on them.

The schemas are read on the driver, a few at a time. Such a file says neither how many rows it has nor where a row is: rows
are counted by the blocks that Spark cuts it into, and a row's number is its place after the rows of the blocks before.
"""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType, _parse_datatype_json_string

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.lake.session import silent
from spark_jobs.landing.cells import microseconds, shown
from spark_jobs.landing.files import LandedFile, metadata_key
from spark_jobs.landing.folders import LITERAL
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.scanning import cause, hadoop_configuration, handed_over, reading_session

_READERS = 8
_ERRORS = (PySparkException, Py4JJavaError)
_HAS_TIME_OF_DAY = re.compile(r'"logicalType"\s*:\s*"time-')


@dataclass(frozen=True)
class _Head:
    """What the beginning of an Avro file says."""

    schema: str
    """As JSON."""
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """The columns that are read of a file."""

    schema: str
    """Of the columns that are there, as the JSON text of a Spark schema."""
    asked: str
    """The same as an Avro schema, in which the columns are `__c0`, `__c1` …: Spark takes names that differ in case alone
    for one, and a reader's schema leaves the other columns out."""
    column_of: tuple[tuple[str, str], ...]
    """The mapping's spelling and the file's, of the columns that are there."""
    nanoseconds: frozenset[tuple[str, ...]]
    """Paths of times in nanoseconds, which Spark reads as plain numbers."""

    @property
    def fields(self) -> StructType:
        return StructType.fromJson(json.loads(self.schema))


_Block = tuple[str, int]
"""A file's path as Spark spells it, and where the block begins in it."""


def avro_groups(
    spark: SparkSession, files: list[LandedFile], paths: Paths, unreadable: dict[str, str]
) -> list[Group]:
    """One group per set of columns and types of the columns that `paths` name. Damaged files, and files with one of these
    columns of a type that cannot be read, are added to `unreadable`, by file_id with the reason."""
    with ThreadPoolExecutor(_READERS) as readers:
        looked = partial(_head, spark, hadoop_configuration(spark))
        heads = dict(zip(files, readers.map(looked, files), strict=True))
    unreadable.update({file.file_id: head for file, head in heads.items() if isinstance(head, str)})
    reads: dict[_Head, _Read | str] = {}
    by_read: dict[tuple[tuple[str, ...], _Read], list[LandedFile]] = {}
    for file, head in heads.items():
        if not isinstance(head, _Head):
            continue
        if head not in reads:
            reads[head] = _read(spark, head, paths)
        read = reads[head]
        if isinstance(read, _Read):
            by_read.setdefault((head.columns, read), []).append(file)
        else:
            unreadable[file.file_id] = f"Avro file: {read}"
    groups = []
    for (columns, read), members in by_read.items():
        good, blocks = _decodable(spark, members, read, unreadable)
        if not good:
            continue
        counts = {file.file_id: 0 for file in good}
        by_key = {file.key: file.file_id for file in good}
        places = []
        for (path, start), (first, rows) in sorted(blocks.items()):
            file_id = by_key[metadata_key(path)]
            # Of the ids that Spark gives the rows of the block, the first stands for the next number of the file.
            places.append((path, start, counts[file_id] + 1 - first, file_id))
            counts[file_id] += rows
        groups.append(Group(good, columns, counts, opened=partial(_opened, spark, good, read, places)))
    return groups


def _head(spark: SparkSession, configuration: JavaObject, file: LandedFile) -> _Head | str:
    """What the file's beginning says, or why there is nothing."""
    if not file.size_bytes:
        return "not a readable Avro file: it has no bytes"
    avro = spark._jvm.org.apache.avro
    try:
        opened = avro.mapred.FsInput(spark._jvm.org.apache.hadoop.fs.Path(file.path), configuration)
        try:
            reader = avro.file.DataFileReader.openReader(opened, avro.generic.GenericDatumReader())
            schema = json.loads(reader.getSchema().toString())
        finally:
            opened.close()
    except Py4JJavaError as error:
        return f"not a readable Avro file: {cause(error)}"
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return "not a readable Avro file: its values are no records"
    return _Head(json.dumps(schema), tuple(field["name"] for field in schema["fields"]))


def _read(spark: SparkSession, head: _Head, paths: Paths) -> _Read | str:
    """The columns to read of files with this schema, or why one of them cannot be read."""
    column_of = {name: spelled(name, head.columns) for name, *_ in sorted(paths)}
    column_of = {name: column for name, column in column_of.items() if column is not None}
    schemas = spark._jvm.org.apache.avro.Schema
    parsed = schemas.Parser().parse(head.schema)
    fields, asked, nanoseconds = [], spark._jvm.java.util.ArrayList(), set()
    for column in (column for column in head.columns if column in column_of.values()):
        kind = parsed.getField(column).schema()
        told = json.loads(kind.toString())
        converted = None
        try:
            if not _HAS_TIME_OF_DAY.search(json.dumps(told)):
                converted = spark._jvm.org.apache.spark.sql.avro.SchemaConverters.toSqlType(kind).dataType()
        except _ERRORS:
            pass
        if converted is None:
            shortened = json.dumps(told)[:100]
            return (
                f"column {column}, which the mapping reads, has a type that cannot be read: {shortened}; write it as text, "
                "a number or a timestamp"
            )
        renamed = schemas.Field(f"__c{len(fields)}", kind)
        renamed.addAlias(column)
        asked.add(renamed)
        fields.append(StructField(column, _parse_datatype_json_string(converted.json())))
        nanoseconds |= _nanosecond_paths(column, told)
    record = schemas.createRecord(parsed.getName(), None, parsed.getNamespace(), False, asked)
    return _Read(
        StructType(fields).json(), record.toString(), tuple(column_of.items()), frozenset(nanoseconds)
    )


def _nanosecond_paths(name: str, kind: object) -> set[tuple[str, ...]]:
    """Paths of the times in nanoseconds in an Avro type, through records alone."""
    if isinstance(kind, list):  # a union with null
        return {path for one in kind for path in _nanosecond_paths(name, one)}
    if not isinstance(kind, dict):
        return set()
    if str(kind.get("logicalType", "")).endswith("timestamp-nanos"):
        return {(name,)}
    if kind.get("type") != "record":
        return set()
    return {
        (name, *path) for field in kind["fields"] for path in _nanosecond_paths(field["name"], field["type"])
    }


def _scan(spark: SparkSession, files: list[LandedFile], read: _Read) -> DataFrame:
    """The columns that are read as `__c0`, `__c1` …, with `__path`, `__block` and `__id`: a number that is one larger in
    the next row of a block."""
    schema = StructType(
        [StructField(f"__c{place}", field.dataType) for place, field in enumerate(read.fields)]
    )
    scan = (
        reading_session(spark, files)
        .read.format("avro")
        .schema(schema)
        .options(avroSchema=read.asked, **LITERAL)
        .load([file.path for file in files])
        .select(
            F.col("_metadata.file_path").alias("__path"),
            F.col("_metadata.file_block_start").alias("__block"),
            F.monotonically_increasing_id().alias("__id"),
            *schema.names,
        )
    )
    return handed_over(spark, scan)


def _opened(
    spark: SparkSession,
    files: list[LandedFile],
    read: _Read,
    places: list[tuple[str, int, int, str]],
    paths: Paths,
) -> DataFrame:
    scan, schema = _scan(spark, files, read), read.fields
    values = {
        field.name: microseconds(F.col(f"__c{place}"), field.dataType, (field.name,), read.nanoseconds)
        for place, field in enumerate(schema)
    }
    known = local_rows(spark, places, f"__path string, __block bigint, __more bigint, {FILE_ID} string")
    cells = [shown(values[field.name], field.dataType).alias(field.name) for field in schema]
    wanted = {name for name, *_ in paths}
    return scan.join(F.broadcast(known), on=["__path", "__block"], how="inner").select(
        FILE_ID,
        (F.col("__id") + F.col("__more")).alias(LINE_NUMBER),
        (F.to_json(F.struct(*cells)) if cells else F.lit("")).alias(RAW),
        F.lit(None).cast("string").alias(PROBLEM),
        *(values[column].alias(name) for name, column in read.column_of if name in wanted),
    )


def _decodable(
    spark: SparkSession, files: list[LandedFile], read: _Read, unreadable: dict[str, str]
) -> tuple[list[LandedFile], dict[_Block, tuple[int, int]]]:
    """The files that can be decoded, and the first id and the number of rows of every block of these files; the others are
    found by halves and added to `unreadable`."""
    try:
        with silent(spark):
            return files, _blocks(spark, files, read)
    except _ERRORS as error:
        if len(files) == 1:
            unreadable[files[0].file_id] = f"damaged Avro file: {cause(error)}"
            return [], {}
    half = len(files) // 2
    good = [
        file for part in (files[:half], files[half:]) for file in _decodable(spark, part, read, unreadable)[0]
    ]
    # The ids of rows depend on all files that are read together.
    return (good, _blocks(spark, good, read)) if good else ([], {})


def _blocks(spark: SparkSession, files: list[LandedFile], read: _Read) -> dict[_Block, tuple[int, int]]:
    """Reads every row once."""
    scan = _scan(spark, files, read)
    cells = [shown(F.col(f"__c{place}"), field.dataType) for place, field in enumerate(read.fields)]
    digest = F.max(F.xxhash64(F.to_json(F.struct(*cells)))) if cells else F.max(F.lit(0))
    found = scan.groupBy("__path", "__block").agg(
        F.min("__id").alias("first"),
        F.count(F.lit(1)).alias("n"),
        digest.alias("digest"),  # makes Spark decode the columns
    )
    return {(row["__path"], row["__block"]): (row["first"], row["n"]) for row in found.collect()}
