"""Reading files with settings of their own, which nothing changes between two queries of a job.

Spark cuts files into blocks by the session's settings and by the number of cores that it has at the moment of each
query, and matches names of columns whatever their case. Line numbers must not depend on the first, and a file may have
columns that differ in case alone. So files are scanned by a copy of the session with fixed settings; the scan keeps them
in the plan that the job's own session gets.

Local files are opened as they are. Hadoop's usual way looks for a checksum beside each: it fails where a name has a
colon, and where an old checksum lies beside a file that was written anew.
"""

from __future__ import annotations

import re

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession

from spark_jobs.landing.files import LandedFile

_SMALLEST_BLOCK, _LARGEST_BLOCK = 1 << 20, 128 << 20
_BLOCKS = 512
"""Blocks that a large set of files is cut into at least."""

_AS_IT_IS = {"fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem", "fs.file.impl.disable.cache": "true"}
"""Settings of Hadoop that open local files without a checksum."""


def reading_session(spark: SparkSession, files: list[LandedFile]) -> SparkSession:
    """A copy of the session that cuts these files into the same blocks in every query."""
    block = sum(file.size_bytes for file in files) // _BLOCKS
    block = min(max(block, _SMALLEST_BLOCK), _LARGEST_BLOCK)
    reader = SparkSession(spark.sparkContext, spark._jsparkSession.cloneSession())
    reader.conf.set("spark.sql.files.maxPartitionBytes", str(block))
    # With one partition asked for, the size of a block is the setting alone and not a share of the files.
    reader.conf.set("spark.sql.files.minPartitionNum", "1")
    reader.conf.unset("spark.sql.files.maxPartitionNum")
    reader.conf.set("spark.sql.caseSensitive", "true")
    for key, value in _AS_IT_IS.items():
        reader.conf.set(key, value)
    return reader


def hadoop_configuration(spark: SparkSession) -> JavaObject:
    """Hadoop's configuration for files that are read without Spark."""
    configuration = spark._jvm.org.apache.hadoop.conf.Configuration(spark._jsc.hadoopConfiguration())
    for key, value in _AS_IT_IS.items():
        configuration.set(key, value)
    return configuration


def handed_over(spark: SparkSession, scan: DataFrame) -> DataFrame:
    """A frame of a reading session as one of the job's session."""
    plan = scan._jdf.queryExecution().analyzed()
    return DataFrame(
        spark._jvm.org.apache.spark.sql.classic.Dataset.ofRows(spark._jsparkSession, plan), spark
    )


def cause(error: Exception) -> str:
    """The part of an error's message that a person can use, one line."""
    text = str(error.java_exception.getMessage()) if isinstance(error, Py4JJavaError) else str(error)
    text = re.sub(r"^Job aborted due to stage failure: .*?executor [\w.]+\): ", "", text.strip())
    known = re.search(r"(is not a Parquet file[^\n]*|is too small[^\n]*|Unable to infer[^\n]*)", text)
    return (known[1] if known else text.strip().splitlines()[0])[:200]
