"""DataFrames of rows that the driver holds."""

from __future__ import annotations

from datetime import date

import pytest
from pyspark.sql import SparkSession

from spark_jobs.lake.local_rows import local_rows

DDL = "file_id string NOT NULL, line_number bigint, raw string, event_date date"


def test_rows_are_unchanged_and_need_no_python_worker(spark: SparkSession):
    rows = [("a", 1, "ä\n", date(2026, 1, 1)), ("b", None, None, None)]
    frame = local_rows(spark, rows, DDL)
    assert [tuple(row) for row in frame.collect()] == rows
    assert (
        frame.schema.simpleString() == "struct<file_id:string,line_number:bigint,raw:string,event_date:date>"
    )
    assert "LocalTableScan" in frame._jdf.queryExecution().executedPlan().toString()


def test_an_empty_frame_has_the_columns(spark: SparkSession):
    frame = local_rows(spark, [], DDL)
    assert frame.columns == ["file_id", "line_number", "raw", "event_date"] and frame.count() == 0


def test_other_types_are_refused(spark: SparkSession):
    with pytest.raises(KeyError):
        local_rows(spark, [(1.0,)], "share double")
