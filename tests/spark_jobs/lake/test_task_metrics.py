"""What tasks read, shuffled and wrote is what the job did, and nothing of other jobs."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.figures import SparkWork
from spark_jobs.lake.task_metrics import Meter

NOTHING = SparkWork(0, 0, 0, 0, 0, 0, 0, 0, 0.0)


def test_work_is_counted_by_kind_and_only_since_the_meter_was_made(spark: SparkSession, tmp_path: Path):
    rows = str(tmp_path / "rows")
    writing = Meter(spark)
    spark.range(0, 3000, 1, 3).withColumn("group", F.col("id") % 7).write.parquet(rows)
    written = writing.work()
    size = sum(path.stat().st_size for path in Path(rows).glob("*.parquet"))
    assert (written.records_written, written.records_shuffled, written.tasks) == (3000, 0, 3)
    assert written.bytes_written == size and written.cpu_seconds > 0 and written.stages_forgotten == 0

    reading = Meter(spark)
    assert reading.work() == NOTHING
    assert spark.read.parquet(rows).groupBy("group").count().count() == 7
    read = reading.work()
    # Of each file a task counts its groups, and sends them on.
    assert (read.records_read, read.records_written) == (3000, 0)
    assert 7 <= read.records_shuffled <= 3 * 7 + 8
    assert 0 < read.bytes_read <= 2 * size and read.bytes_shuffled > 0


def test_bytes_of_columns_that_are_not_read_are_not_counted(spark: SparkSession, tmp_path: Path):
    rows = str(tmp_path / "rows")
    wide = F.sha2(F.col("id").cast("string"), 512)
    spark.range(0, 5000, 1, 1).withColumn("text", wide).write.parquet(rows)
    read = {}
    for column in ("id", "text"):
        meter = Meter(spark)
        spark.read.parquet(rows).agg(F.max(column)).first()
        read[column] = meter.work().bytes_read
    size = sum(path.stat().st_size for path in Path(rows).glob("*.parquet"))
    assert size / 2 < read["text"] <= 1.5 * size
    assert read["id"] < read["text"] / 2
