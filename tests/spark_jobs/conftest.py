"""Lakes of the tiny log, written once: as it is, and with marked events and items after the first split.

Tests that write into them replace the partition of a cycle and read the version they wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs.config import Job
from spark_jobs.lake import delta
from tests.factories import CUTOFFS, TinyLog, lake_of, tiny_job, tiny_log


@dataclass(frozen=True)
class TinyLake:
    """A lake that holds `events` and `items` of a tiny log."""

    log: TinyLog
    path: str
    versions: dict[str, int]

    def job(self, cutoff: datetime = CUTOFFS[0], **options) -> Job:
        """The job of a cycle over this lake; further versions and options as for `tiny_job`."""
        versions = self.versions | options.pop("versions", {})
        return tiny_job(self.log, self.path, cutoff, versions=versions, **options)


def _lake(spark, folder, planted) -> TinyLake:
    log = tiny_log(folder / "landing", planted=planted)
    return TinyLake(log, *lake_of(spark, log, folder / "lake"))


@pytest.fixture(scope="session")
def plain_lake(spark, tmp_path_factory) -> TinyLake:
    """The tiny log as it is."""
    return _lake(spark, tmp_path_factory.mktemp("plain"), planted=False)


@pytest.fixture(scope="session")
def planted_lake(spark, tmp_path_factory) -> TinyLake:
    """The same log with marked events and items after the first split."""
    return _lake(spark, tmp_path_factory.mktemp("planted"), planted=True)


@pytest.fixture
def landing(tmp_path) -> Path:
    """An empty landing folder; `landed.job` puts the lake beside it."""
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


@pytest.fixture
def rows_of(spark):
    """A function (job, table, result of main) → the rows the cycle holds at the version written."""

    def read(job: Job, table: tables.Table, result) -> DataFrame:
        frame = delta.read(spark, job.lake, job.source.name, table, result.versions[table.name])
        return frame.where(F.col("cycle") == job.cycle)

    return read


@pytest.fixture
def same():
    """A function (frame, frame) → whether both hold the same rows, in any order."""

    def equal(left: DataFrame, right: DataFrame) -> bool:
        return sorted(left.collect(), key=repr) == sorted(right.collect(), key=repr)

    return equal


@pytest.fixture
def plan_of():
    """A function (frame) → Spark's plan of it, as text."""

    def plan(frame: DataFrame) -> str:
        return frame._jdf.queryExecution().executedPlan().toString()

    return plan
