"""Literal rows as DataFrames in which every column may be null, so that rows may violate the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from expectations.expectation import Expectation, SuiteResult
from expectations.tables import Table


def frame(spark: SparkSession, table: Table, rows: Iterable[dict[str, Any]]) -> DataFrame:
    """Rows of a table, which may violate its constraints; missing columns are null.

    Made through Arrow, so that Spark holds the rows itself and starts no Python worker to read them.
    """
    schema = spark.createDataFrame(
        [], ", ".join(f"{column.name} {column.type}" for column in table.columns)
    ).schema
    whole = [{name: row.get(name) for name in table.column_names} for row in rows]
    arrow = pyarrow.Table.from_pylist(whole, to_arrow_schema(schema))
    return spark.createDataFrame(arrow, schema)


def outcomes(result: SuiteResult) -> dict[str, str]:
    """Outcomes by expectation name, without those that passed."""
    return {
        judgement.expectation.name: judgement.outcome
        for judgement in result.judgements
        if judgement.outcome != "passed"
    }


def names(expectations: Iterable[Expectation]) -> set[str]:
    """Names of a suite's expectations."""
    return {expectation.name for expectation in expectations}


def failing(result: SuiteResult, name: str) -> list[tuple]:
    """Keys of the rows that failed one expectation, with the offending values, as plain tuples."""
    judgement = next(one for one in result.judgements if one.expectation.name == name)
    return [tuple(row.values()) for row in judgement.keys]
