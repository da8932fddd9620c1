"""Tiny frames want tiny plans: one shuffle partition and no compiled stages while suites are tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

TINY = {"spark.sql.shuffle.partitions": "1", "spark.sql.codegen.wholeStage": "false"}


@pytest.fixture(scope="package", autouse=True)
def tiny_plans(spark: SparkSession) -> Iterator[None]:
    """Sets the options for this package and puts back what was there."""
    before = {key: spark.conf.get(key) for key in TINY}
    for key, value in TINY.items():
        spark.conf.set(key, value)
    yield
    for key, value in before.items():
        spark.conf.set(key, value)
