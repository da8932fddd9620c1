"""The reading session: fixed blocks and exact names, whatever the job's session is set to."""

from __future__ import annotations

import pyarrow as pa
from pyarrow.parquet import write_table
from pyspark.sql import functions as F

from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.scanning import handed_over, reading_session


def test_a_scan_keeps_its_settings_in_the_jobs_session(spark, landing):
    write_table(pa.table({"u": ["small"], "U": ["large"]}), landing / "a.parquet")
    reader = reading_session(spark, [])
    assert spark.conf.get("spark.sql.caseSensitive") == "false"
    scan = reader.read.schema("U string").parquet(str(landing / "a.parquet"))
    frame = handed_over(spark, scan.select(F.col("U").alias("name")))
    assert frame.sparkSession is spark
    assert [row["name"] for row in frame.where("NAME is not null").collect()] == ["large"]


def test_blocks_grow_with_the_files_within_bounds(spark):
    def block(size: int) -> int:
        file = LandedFile("/a", "a", size, "0", None)
        return int(reading_session(spark, [file]).conf.get("spark.sql.files.maxPartitionBytes"))

    assert [block(size) for size in (0, 1 << 31, 1 << 50)] == [1 << 20, 1 << 22, 1 << 27]
