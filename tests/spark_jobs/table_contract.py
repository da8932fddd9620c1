"""The suite that every table written by Spark inherits: `test_table_contracts.py` names each table.

A subclass gives the table, one valid row, a second row with another key, and for every constraint a
change to the row that violates it. Its base says how the table's job writes it.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import StructType

from expectations.tables import Table, location
from spark_jobs.lake import delta
from tests.expectations.suites.frames import frame

SOURCE = "films"
Values = dict[str, Any]
"""Values of a row by column."""


class TableContract:
    """What must hold for a table and the way its job writes it.

    Class arguments: `table`; `row`, a valid row, in which columns that may be null may be missing; `other`,
    changes that make it another row with another key; `violations`, by constraint, changes that violate it.
    """

    table: ClassVar[Table]

    def __init_subclass__(
        cls, table: Table | None = None, row: Values | None = None, other: Values | None = None,
        violations: dict[str, Values] | None = None,
    ) -> None:  # fmt: skip
        super().__init_subclass__()
        if table is not None:
            cls.table, cls.row, cls.other, cls.violations = table, row, row | other, violations or {}

    def write(self, spark: SparkSession, lake: str, row: Values) -> int:
        """Writes one row as the table's job would; returns the version."""
        raise NotImplementedError

    def frame(self, spark: SparkSession, *rows: Values) -> DataFrame:
        return frame(spark, self.table, rows)

    def content(self, spark: SparkSession, lake: str, version: int | None = None) -> list[Row]:
        return sorted(delta.read(spark, lake, SOURCE, self.table, version).collect(), key=repr)

    def expected(self, spark: SparkSession, *rows: Values) -> list[Row]:
        return sorted(self.frame(spark, *rows).collect(), key=repr)

    @pytest.fixture(scope="class")
    def lake(self, tmp_path_factory) -> str:
        return str(tmp_path_factory.mktemp(self.table.name))

    @pytest.fixture(scope="class")
    def versions(self, spark, lake) -> tuple[int, int]:
        """The versions after the first row and after the second."""
        return self.write(spark, lake, self.row), self.write(spark, lake, self.other)

    def test_the_stored_table_is_the_contract(self, spark, lake, versions):
        stored = delta.read(spark, lake, SOURCE, self.table)
        delta.check_schema(stored, self.table)
        names = [(field.name, field.metadata["comment"]) for field in stored.schema]
        assert names == [(column.name, column.doc) for column in self.table.columns]
        address = location(lake, SOURCE, self.table.name)
        # A DataFrame that is read has nullable columns only; Delta's own schema says which may be null.
        log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, address)
        schema = StructType.fromJson(json.loads(log.unsafeVolatileSnapshot().schema().json()))
        assert [(field.name, field.nullable) for field in schema] == [
            (column.name, column.nullable) for column in self.table.columns
        ]
        detail = spark.sql(f"DESCRIBE DETAIL delta.`{address}`").first()
        assert detail["partitionColumns"] == list(self.table.partitions)
        assert detail["description"] == self.table.grain
        constraints = {
            key.removeprefix("delta.constraints."): predicate
            for key, predicate in detail["properties"].items()
            if key.startswith("delta.constraints.")
        }
        assert constraints == dict(self.table.constraints)

    def test_an_older_version_stays_readable(self, spark, lake, versions):
        first, second = versions
        assert first < second
        assert self.content(spark, lake, first) == self.expected(spark, self.row)
        assert self.content(spark, lake, second) == self.expected(spark, self.row, self.other)

    def test_writing_the_same_again_changes_nothing(self, spark, lake, versions):
        before = self.content(spark, lake)
        self.write(spark, lake, self.row)
        self.write(spark, lake, self.other)
        assert self.content(spark, lake) == before

    def test_a_null_in_the_key_is_refused(self, spark, lake, versions):
        last = self.table.key[-1]
        with pytest.raises(delta.ConstraintError, match=rf"table {self.table.name}: .*\b{last}\b"):
            self.write(spark, lake, self.row | {last: None})

    def test_every_constraint_is_enforced(self, spark, lake, versions):
        before = self.content(spark, lake)
        assert list(self.violations) == [name for name, _ in self.table.constraints]
        for name, change in self.violations.items():
            with pytest.raises(delta.ConstraintError, match=f"table {self.table.name}: constraint {name} "):
                self.write(spark, lake, self.row | change)
        assert self.content(spark, lake) == before


class CycleTable(TableContract):
    """A table whose job replaces the partition of its cycle."""

    def write(self, spark, lake, row):
        where = delta.within("cycle", [row["cycle"]])
        return delta.replace(spark, self.frame(spark, row), self.table, lake, SOURCE, where)


class AppendedTable(TableContract):
    """A table whose job appends, once for each transaction name."""

    def write(self, spark, lake, row):
        name = f"write of {[row[column] for column in self.table.key]}"
        return delta.append_once(spark, self.frame(spark, row), self.table, lake, SOURCE, name)


class UpsertedTable(TableContract):
    """A table whose job inserts new keys and updates rows that differ."""

    def write(self, spark, lake, row):
        return delta.upsert(spark, self.frame(spark, row), self.table, lake, SOURCE)


class GrowingTable(TableContract):
    """A table whose job adds the rows with new keys."""

    def write(self, spark, lake, row):
        return delta.append_new(spark, self.frame(spark, row), self.table, lake, SOURCE)
