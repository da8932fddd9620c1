"""Parquet files, grouped by schema; damaged ones are recognised before a job relies on them."""

from __future__ import annotations

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile, metadata_key
from spark_jobs.landing.instants import nanoseconds_sql
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW, Group


def parquet_groups(spark: SparkSession, files: list[LandedFile], unreadable: dict[str, str]) -> list[Group]:
    """One group per schema. Files with a damaged footer or damaged pages are added to `unreadable`, by
    file_id with the reason."""
    by_schema: dict[tuple[str, tuple[str, ...]], list[LandedFile]] = {}
    for file in files:
        try:
            schema = spark.read.parquet(file.glob_safe_path).schema
            may_be = any(field.dataType == LongType() for field in schema)
            nanoseconds = _nanosecond_columns(spark, file) if may_be else ()
        except (PySparkException, Py4JJavaError) as error:
            unreadable[file.file_id] = f"not a readable Parquet file: {_cause(error)}"
            continue
        by_schema.setdefault((schema.json(), nanoseconds), []).append(file)
    groups = []
    for (_, nanoseconds), members in by_schema.items():
        group = _parquet_group(spark, members, nanoseconds)
        damaged = _damaged(spark, members, group.counts)
        if damaged:
            unreadable.update(damaged)
            members = [file for file in members if file.file_id not in damaged]
            if not members:
                continue
            group = _parquet_group(spark, members, nanoseconds)
        groups.append(group)
    return groups


def _nanosecond_columns(spark: SparkSession, file: LandedFile) -> tuple[str, ...]:
    """Top-level columns of times in nanoseconds. The session reads them as plain numbers (`nanosAsLong`), so
    only the file's own schema tells them from numbers."""
    parquet = spark._jvm.org.apache.parquet.hadoop
    path = spark._jvm.org.apache.hadoop.fs.Path(file.path)
    opened = parquet.util.HadoopInputFile.fromPath(path, spark._jsc.hadoopConfiguration())
    reader = parquet.ParquetFileReader.open(opened)
    try:
        fields = list(reader.getFooter().getFileMetaData().getSchema().getFields())
        kinds = {field.getName(): field.getLogicalTypeAnnotation() for field in fields}
        return tuple(sorted(name for name, kind in kinds.items() if kind and "NANOS" in kind.toString()))
    finally:
        reader.close()


def _parquet_scan(spark: SparkSession, files: list[LandedFile], skip_damage: bool) -> DataFrame:
    return (
        spark.read.option("recursiveFileLookup", "true")
        .option("ignoreCorruptFiles", str(skip_damage).lower())
        .parquet(*[file.glob_safe_path for file in files])
    )


def _parquet_group(spark: SparkSession, files: list[LandedFile], nanoseconds: tuple[str, ...]) -> Group:
    by_key = {file.key: file.file_id for file in files}
    scan = _parquet_scan(spark, files, skip_damage=False)
    names = tuple(scan.columns)
    # Reads no column, so the row counts come from the footers alone.
    footers = (
        scan.groupBy(F.col("_metadata.file_path").alias("path")).agg(F.count(F.lit(1)).alias("n")).collect()
    )
    counts = {by_key[metadata_key(row["path"])]: row["n"] for row in footers}
    paths = [(row["path"], by_key[metadata_key(row["path"])]) for row in footers]
    known = local_rows(spark, paths, f"__path string, {FILE_ID} string")
    columns = [
        F.expr(nanoseconds_sql(name) if name in nanoseconds else quoted(name)).alias(name) for name in names
    ]
    rows = scan.select(
        F.col("_metadata.file_path").alias("__path"),
        (F.col("_metadata.row_index") + 1).alias(LINE_NUMBER),
        F.to_json(F.struct(*columns)).alias(RAW),
        F.lit(None).cast("string").alias(PROBLEM),
        *columns,
    ).join(F.broadcast(known), on="__path", how="inner")
    return Group(rows.drop("__path"), names, counts)


def _damaged(spark: SparkSession, files: list[LandedFile], counts: dict[str, int]) -> dict[str, str]:
    """Files of which fewer rows can be decoded than the footer declares, with the reason. Reads every page
    once."""
    by_key = {file.key: file.file_id for file in files}
    scan = _parquet_scan(spark, files, skip_damage=True)
    as_text = F.to_json(F.struct(*[F.col(quoted(name)) for name in scan.columns]))
    digest = F.xxhash64(as_text)
    decoded = (
        scan.select(F.col("_metadata.file_path").alias("path"), digest.alias("digest"))
        .groupBy("path")
        .agg(F.count(F.lit(1)).alias("n"), F.max("digest"))  # the digest makes Spark decode the columns
        .collect()
    )
    readable = {by_key[metadata_key(row["path"])]: row["n"] for row in decoded}
    return {
        file.file_id: f"damaged Parquet file: {readable.get(file.file_id, 0)} of {counts[file.file_id]} rows can be read"
        for file in files
        if readable.get(file.file_id, 0) < counts.get(file.file_id, 0)
    }


def _cause(error: Exception) -> str:
    """The part of Spark's message that a person can use."""
    known = re.search(r"(is not a Parquet file[^\n]*|is too small[^\n]*|Unable to infer[^\n]*)", str(error))
    return (known[1] if known else str(error).strip().splitlines()[0])[:200]
