"""Text files as numbered lines, the same however Spark cuts the files into blocks.

Files are read in parallel blocks. A first pass counts the lines of each block, from which every line
gets its number. Both passes are one scan of `scanning.reading_session`, so their blocks are the same whatever happens
to the cluster or to the session's settings in between. For plain files alone: `unpacking.Head.is_plain`.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.files import LandedFile, metadata_key
from spark_jobs.landing.folders import LITERAL
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, RAW
from spark_jobs.landing.scanning import handed_over, reading_session

_BYTE_ORDER_MARK = "cast(X'EFBBBF' AS string)"


def numbered_lines(spark: SparkSession, files: list[LandedFile]) -> tuple[DataFrame, dict[str, int]]:
    """`__file_id`, `__line_number` and `__raw` of text files, and the number of lines by file_id."""
    by_key = {file.key: file.file_id for file in files}
    scan = _scan(spark, files)
    blocks = scan.groupBy("path", "block", "task").agg(
        F.count(F.lit(1)).alias("n"), F.min("row").alias("first")
    )
    counts = {file.file_id: 0 for file in files}
    starts = []
    for block in sorted(blocks.collect(), key=lambda row: (row["path"], row["block"])):
        file_id = by_key[metadata_key(block["path"])]
        before = counts[file_id]
        starts.append((block["path"], block["block"], file_id, before + 1 - block["first"]))
        counts[file_id] = before + block["n"]
    offsets = local_rows(spark, starts, f"path string, block bigint, {FILE_ID} string, shift bigint")
    numbered = scan.join(F.broadcast(offsets), on=["path", "block"], how="inner").select(
        FILE_ID, (F.col("row") + F.col("shift")).alias(LINE_NUMBER), "value"
    )
    has_mark = (F.col(LINE_NUMBER) == 1) & F.expr(f"startswith(value, {_BYTE_ORDER_MARK})")
    text = F.when(has_mark, F.expr("substring(value, 2)")).otherwise(F.col("value"))
    whole = numbered.withColumn("value", text)
    return whole.select(FILE_ID, LINE_NUMBER, F.expr(r"trim(TRAILING '\r' FROM value)").alias(RAW)), counts


def files_with(spark: SparkSession, files: list[LandedFile], marks: tuple[str, ...]) -> set[str]:
    """file_ids of the files in which one of the `marks` occurs."""
    if not files:
        return set()
    by_key = {file.key: file.file_id for file in files}
    holds = F.lit(False)
    for mark in marks:
        holds = holds | F.col("value").contains(mark)
    found = _scan(spark, files).where(holds).select("path").distinct().collect()
    return {by_key[metadata_key(row["path"])] for row in found}


def text_problem() -> Column:
    """Why a line of text cannot be read; null when it can."""
    return F.when(~F.expr(f"is_valid_utf8({RAW})"), "not valid UTF-8").when(F.trim(RAW) == "", "empty line")


def escaped(schema: str) -> str:
    """A schema's text as the content of an SQL string in double quotes."""
    return schema.replace("\\", "\\\\").replace('"', '\\"')


def _scan(spark: SparkSession, files: list[LandedFile]) -> DataFrame:
    """Lines (`value`) with the path, block, task and row in which they were read."""
    scan = (
        reading_session(spark, files)
        .read.options(lineSep="\n", **LITERAL)
        .text([file.path for file in files])
        .select(
            F.col("value"),
            F.col("_metadata.file_path").alias("path"),
            F.col("_metadata.file_block_start").alias("block"),
            F.spark_partition_id().alias("task"),
            F.monotonically_increasing_id().alias("row"),
        )
    )
    return handed_over(spark, scan)
