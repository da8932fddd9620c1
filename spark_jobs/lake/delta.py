"""All that Spark jobs do with Delta: read at a version, create by contract, write so that a rerun changes nothing.

In: DataFrames and the contracts of `expectations.tables`. Out: tables whose columns, nullability,
constraints and partitions are those of the contract, and the version each write made. Knows nothing
of what the rows mean.

A write is either `replace` (a rerun replaces the same rows), `append_once` (a rerun under the same
transaction name adds nothing), `append_new` (rows whose key is known are left out) or `upsert` (only
rows that differ are touched). There is no plain append: it would double its rows when a task is retried.
"""

from __future__ import annotations

import re

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StructType

from expectations.tables import Table, location
from spark_jobs.config import Job

PROPERTIES = {
    # The training reader is delta-rs: no feature that raises the reader's protocol.
    "delta.enableDeletionVectors": "false",
    # Registered models refer to old versions; the log must still know them years later.
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}
"""Properties of every table, set when it is created."""

_NOTE = "spark.databricks.delta.commitInfo.userMetadata"


class TableError(RuntimeError):
    """A table that cannot be read or written as asked; the message names it and the cause."""


class SchemaError(TableError):
    """Rows whose columns are not the contract's."""


class ConstraintError(TableError):
    """A row that breaks a constraint of the contract; the message names both."""


def latest_version(spark: SparkSession, lake: str, source: str, table: Table) -> int | None:
    """The newest version of a table; None when it does not exist."""
    jvm = spark._jvm
    nothing = jvm.scala.Option.empty()
    log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(
        spark._jsparkSession, location(lake, source, table.name)
    )
    version = log.update(False, nothing, nothing).version()
    return None if version < 0 else version


def read(spark: SparkSession, lake: str, source: str, table: Table, version: int | None = None) -> DataFrame:
    """A table at a version, the newest when none is given. Raises TableError when it is not there."""
    newest = latest_version(spark, lake, source, table)
    if newest is None or (version is not None and version > newest):
        wanted = (
            "has no version yet" if newest is None else f"has no version {version}, the newest is {newest}"
        )
        raise TableError(f"table {table.name} of {source} {wanted}; run the stage that writes it")
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    return reader.load(location(lake, source, table.name))


def read_pinned(spark: SparkSession, job: Job, table: Table) -> DataFrame:
    """A table at the version that the job was given. Raises TableError when it was given none."""
    if table.name not in job.versions:
        raise TableError(
            f"cycle {job.cycle} has no version of table {table.name}; run the stage that writes it"
        )
    return read(spark, job.lake, job.source.name, table, job.versions[table.name])


def create(spark: SparkSession, lake: str, source: str, table: Table) -> int:
    """Creates a table by its contract unless it is there; returns its newest version.

    Raises SchemaError when it is there with other columns.
    """
    newest = latest_version(spark, lake, source, table)
    if newest is not None:
        check_schema(read(spark, lake, source, table), table, what="the table in the lake")
        return newest
    builder = DeltaTable.createIfNotExists(spark).location(location(lake, source, table.name))
    for column in table.columns:
        builder = builder.addColumn(column.name, column.type, nullable=column.nullable, comment=column.doc)
    constraints = {f"delta.constraints.{name}": predicate for name, predicate in table.constraints}
    for key, value in (PROPERTIES | constraints).items():
        builder = builder.property(key, value)
    if table.partitions:
        builder = builder.partitionedBy(*table.partitions)
    builder.comment(table.grain).execute()
    return latest_version(spark, lake, source, table) or 0


def replace(spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str, where: str) -> int:
    """Replaces the rows for which `where` is true by `rows`, as one commit; returns its version.

    Every new row must fulfil `where` (`cycle = '2026-03-01'`), so that doing it again replaces
    exactly what was written. Files come out few and sorted by the table's key within a partition.
    Raises SchemaError, ConstraintError.
    """
    create(spark, lake, source, table)
    check_schema(rows, table)
    _save(_laid_out(rows, table).mode("overwrite").option("replaceWhere", where), table, lake, source)
    return _newest(spark, lake, source, table)


def append_once(
    spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str, transaction: str
) -> int:
    """Adds the rows, unless a write of this name did before; returns the version.

    Every name is used for one write only, so the order of names does not matter. Raises SchemaError,
    ConstraintError.
    """
    create(spark, lake, source, table)
    check_schema(rows, table)
    named = _laid_out(rows, table).mode("append").option("txnAppId", transaction).option("txnVersion", 1)
    _save(named, table, lake, source)
    return _newest(spark, lake, source, table)


def append_new(spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str) -> int:
    """Adds the rows whose key the table lacks; returns the version, unchanged when there are none.

    Raises SchemaError, ConstraintError.
    """
    version = create(spark, lake, source, table)
    check_schema(rows, table)
    known = read(spark, lake, source, table).select(*table.key)
    new = rows.select(*table.column_names).join(known, on=list(table.key), how="left_anti").persist()
    try:
        if new.isEmpty():
            return version
        _save(_laid_out(new, table).mode("append"), table, lake, source)
    finally:
        new.unpersist()
    return _newest(spark, lake, source, table)


def upsert(
    spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str, note: str | None = None
) -> int:
    """Makes the table hold `rows`, which name each key once: new keys are added, rows that differ
    are replaced, all others stay; returns the version, unchanged when nothing differs.

    `note` is kept with the commit, see `last_note`. Raises SchemaError, ConstraintError.
    """
    version = create(spark, lake, source, table)
    check_schema(rows, table)
    columns = table.column_names
    # Version 0 is the creation: nothing was ever written, and there is nothing to compare or merge with.
    is_new = version == 0
    changed = rows.select(*columns)
    if not is_new:
        changed = changed.exceptAll(read(spark, lake, source, table).select(*columns))
    changed = changed.persist()
    same_key = " AND ".join(f"t.{name} = n.{name}" for name in table.key)
    if note is not None:
        spark.conf.set(_NOTE, note)
    try:
        if changed.isEmpty():
            return version
        if is_new:
            # Once: of two runs that both saw an empty table (one whose Python was killed, while its JVM
            # still wrote, and its rerun) one alone adds its rows.
            return append_once(spark, changed, table, lake, source, "first rows")
        (
            DeltaTable.forPath(spark, location(lake, source, table.name))
            .alias("t")
            .merge(changed.alias("n"), same_key)
            .whenMatchedUpdateAll()
            .whenNotMatchedInsertAll()
            .execute()
        )
    except PySparkException as error:
        raise _explained(error, table) from error
    finally:
        spark.conf.unset(_NOTE)
        changed.unpersist()
    return _newest(spark, lake, source, table)


def last_note(spark: SparkSession, lake: str, source: str, table: Table) -> str | None:
    """The note of the table's newest commit; None without one, or without a table."""
    if latest_version(spark, lake, source, table) is None:
        return None
    return DeltaTable.forPath(spark, location(lake, source, table.name)).history(1).first()["userMetadata"]


def check_schema(rows: DataFrame, table: Table, what: str = "what is written") -> None:
    """Raises SchemaError unless `rows` has exactly the contract's columns with its types, in any order."""
    expected = {field.name: field.dataType for field in StructType.fromDDL(table.ddl)}
    given = {field.name: field.dataType for field in rows.schema}
    problems = [f"column {name} is missing" for name in expected if name not in given]
    problems += [f"column {name} is not in the contract" for name in given if name not in expected]
    problems += [
        f"column {name} is {given[name].simpleString()}, the contract says {expected[name].simpleString()}"
        for name in expected
        if name in given and _nullable(given[name]) != _nullable(expected[name])
    ]
    if problems:
        raise SchemaError(f"table {table.name}, {what}: {'; '.join(problems)}")


def within(column: str, values: list[str]) -> str:
    """SQL predicate `column IN (…)` with the values quoted; false for no values."""
    if not values:
        return "false"
    quoted = ", ".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)
    return f"{column} IN ({quoted})"


def row_count(spark: SparkSession, lake: str, source: str, table: Table) -> int:
    """Rows of the newest version, from the log's statistics; 0 when the table does not exist."""
    if latest_version(spark, lake, source, table) is None:
        return 0
    return read(spark, lake, source, table).agg(F.count(F.lit(1))).first()[0]


def _laid_out(rows: DataFrame, table: Table) -> DataFrameWriter:
    """Rows on their way into few files, each sorted by the table's key within a partition.

    One shuffle, after which AQE makes files of its advisory size: without it each task would write
    one file into each partition.
    """
    whole = rows.select(*table.column_names)
    if table.clustered_by:
        spread = whole.repartitionByRange(*table.clustered_by)
    else:
        spread = whole.hint("rebalance", *(name for name in table.partitions if name != "cycle"))
    order = dict.fromkeys((*table.partitions, *table.clustered_by, *table.key))
    return spread.sortWithinPartitions(*order).write.format("delta")


def _save(writer: DataFrameWriter, table: Table, lake: str, source: str) -> None:
    try:
        writer.save(location(lake, source, table.name))
    except PySparkException as error:
        raise _explained(error, table) from error


def _newest(spark: SparkSession, lake: str, source: str, table: Table) -> int:
    version = latest_version(spark, lake, source, table)
    if version is None:
        raise TableError(f"table {table.name} of {source} vanished while it was written")
    return version


def _nullable(kind: DataType) -> DataType:
    """The type with every nested field nullable: a contract states nullability of columns only."""
    if isinstance(kind, ArrayType):
        return ArrayType(_nullable(kind.elementType), True)
    if isinstance(kind, StructType):
        nested = StructType()
        for field in kind:
            nested.add(field.name, _nullable(field.dataType), True)
        return nested
    return kind


def _explained(error: PySparkException, table: Table) -> Exception:
    message = str(error)
    broken = re.search(r"CHECK constraint (.+?) violated by row with values:", message)
    if broken:
        values = dict.fromkeys(re.findall(r"^ *- (\S+ : .*)$", message, re.MULTILINE))
        return ConstraintError(
            f"table {table.name}: constraint {broken[1]} is broken by a row with {', '.join(values)}"
        )
    missing = re.search(r"NOT NULL constraint violated for column:? (\w+(?:\.\w+)*)", message)
    if missing:
        return ConstraintError(f"table {table.name}: column {missing[1]} must not be null")
    return error
