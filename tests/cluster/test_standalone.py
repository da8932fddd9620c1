"""The same tables by digest, whatever the master, the cores and the splits."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.tables import TABLES
from pipeline.settings import CHECKOUT, Settings
from spark_jobs import events, items, sequences, successors
from spark_jobs.lake import delta
from spark_jobs.lake.comparison import compare
from spark_jobs.lake.session import setting
from tests.cluster.services import driver_environment, standalone_cluster
from tests.cluster.tables_of import write_tables
from tests.factories import tiny_log

OTHER_SPLITS = {
    "spark.sql.shuffle.partitions": "7",
    "spark.sql.files.maxPartitionBytes": "4096",
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
}


def assert_same(spark: SparkSession, first: Path, second: Path) -> int:
    """Every table of two lakes; returns how many there are."""
    compared = 0
    for table in TABLES.values():
        if delta.latest_version(spark, str(first), "tiny", table) is None:
            continue
        states = (delta.read(spark, str(lake), "tiny", table) for lake in (first, second))
        found = compare(*states, table)
        assert found.same, (table.name, found)
        compared += 1
    return compared


@pytest.mark.proof
def test_numbers_of_splits_change_no_table(spark: SparkSession, tmp_path: Path):
    tiny_log(tmp_path / "landing")
    jobs = (events.main, items.main, sequences.main, successors.main)
    write_tables(spark, str(tmp_path / "few"), tmp_path / "landing", jobs)
    with ExitStack() as changed:
        for name, value in OTHER_SPLITS.items():
            changed.enter_context(setting(spark, name, value))
        write_tables(spark, str(tmp_path / "many"), tmp_path / "landing", jobs)
    assert assert_same(spark, tmp_path / "few", tmp_path / "many") == 5


@pytest.mark.cluster
def test_masters_change_no_table(spark: SparkSession, home: Settings, tmp_path: Path):
    tiny_log(tmp_path / "landing")
    with standalone_cluster(home, tmp_path / "workers", workers=2) as cluster:
        for number, (master, given) in enumerate(
            [("local[1]", {}), ("local[2]", OTHER_SPLITS), (cluster, {}), (cluster, OTHER_SPLITS)]
        ):
            lake = tmp_path / f"lake-{number}"
            answer = subprocess.run(
                [sys.executable, "-m", "tests.cluster.tables_of", lake, tmp_path / "landing", json.dumps(given)],
                cwd=CHECKOUT, check=False, capture_output=True, text=True,
                env=driver_environment(home) | {"REPRISE_SPARK_MASTER": master},
            )  # fmt: skip
            assert answer.returncode == 0, answer.stderr[-4000:]
            assert assert_same(spark, tmp_path / "lake-0", lake) >= 11
    # Both workers had executors, with nothing of the checkout but what the driver sent.
    assert {path.parts[-4] for path in (tmp_path / "workers").glob("*/app-*/*/stderr")} == {
        "worker-0",
        "worker-1",
    }
