"""Writes every table of the tiny log's first cycle on one master: `python -m tests.cluster.tables_of LAKE LANDING`, with
the master in REPRISE_SPARK_MASTER and further settings of Spark as JSON in the third argument."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from pipeline.settings import Settings
from spark_jobs import (
    evaluation_sequences,
    events,
    item_features,
    item_signals,
    items,
    sequences,
    successors,
    vocabulary,
)
from spark_jobs.config import Job
from spark_jobs.figures import JobResult
from spark_jobs.lake.session import get_session
from tests.factories import CUTOFFS, TinyLog, tiny_job

Main = Callable[[SparkSession, Job], JobResult]
JOBS: tuple[Main, ...] = tuple(
    module.main
    for module in (
        events, items, vocabulary, item_features, sequences, evaluation_sequences, item_signals, successors,
    )
)  # fmt: skip


def write_tables(
    spark: SparkSession, lake: str, landing: Path, jobs: Sequence[Main] = JOBS
) -> dict[str, int]:
    """Runs jobs in the order of a cycle; returns the versions that they wrote, by table."""
    versions: dict[str, int] = {}
    for main in jobs:
        job = tiny_job(TinyLog(landing, [], [], [], [], 0), lake, CUTOFFS[0], versions=versions)
        versions |= main(spark, job).versions
    return versions


if __name__ == "__main__":
    settings = Settings.from_environment()
    session = get_session(settings.spark_master, "tables", str(settings.jars), json.loads(sys.argv[3]))
    print(json.dumps(write_tables(session, sys.argv[1], Path(sys.argv[2]))))
    session.stop()
