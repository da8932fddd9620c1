"""Delta for Spark, all of it: read at a version, create by contract, write so that a rerun changes nothing.

Tables get their columns, nullability, constraints and partitions from the contracts in
`expectations.tables`. What the rows mean is not known here.

A write is one of `replace` (a rerun replaces the same rows), `append_once` (a rerun under the same
transaction name adds nothing), `append_new` (adds only rows with new keys) and `upsert` (touches only
rows that differ). There is no plain append: it would duplicate its rows when a task is retried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from delta.tables import DeltaTable
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, DataFrameWriter, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, StructType

from expectations import delta_log
from expectations.crash_points import reach
from expectations.files import write_atomically
from expectations.tables import TABLES, Table, location
from spark_jobs.config import Job
from spark_jobs.lake import migrations

PROPERTIES = {
    # Training reads with delta-rs: no feature may raise the reader's protocol.
    "delta.enableDeletionVectors": "false",
    # Registered models refer to old versions, which must stay readable for years.
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 3650 days",
}
"""Properties of every table, set when it is created."""

_NOTE = "spark.databricks.delta.commitInfo.userMetadata"
_OPTIMIZE = "spark.databricks.delta.optimize"
_WRITE_ERRORS = (PySparkException, Py4JJavaError)
"""What a failed write raises: pyspark wraps only some of Delta's exceptions."""


class TableError(RuntimeError):
    """A table that cannot be read or written; the message names the table and the cause."""


class SchemaError(TableError):
    """Rows or a stored table whose columns differ from the contract's."""


class ConstraintError(TableError):
    """A row that violates a constraint of the contract; the message names both."""


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
    """A table at a version, by default the newest. Raises TableError when there is no such version."""
    newest = latest_version(spark, lake, source, table)
    if newest is None or (version is not None and version > newest):
        missing = "does not exist" if newest is None else f"has no version {version}, the newest is {newest}"
        raise TableError(f"table {table.name} of {source} {missing}; run the stage that writes it")
    reader = spark.read.format("delta")
    if version is not None:
        reader = reader.option("versionAsOf", version)
    return reader.load(location(lake, source, table.name))


def read_pinned(spark: SparkSession, job: Job, table: Table) -> DataFrame:
    """A table at the version that the job pins. Raises TableError when the job pins none."""
    if table.name not in job.versions:
        raise TableError(
            f"cycle {job.cycle} has no version of table {table.name}; run the stage that writes it"
        )
    return read(spark, job.lake, job.source.name, table, job.versions[table.name])


def read_cycle(spark: SparkSession, job: Job, table: Table, version: int) -> DataFrame:
    """The partition of the job's cycle, at a version that the job wrote."""
    return read(spark, job.lake, job.source.name, table, version).where(F.col("cycle") == job.cycle)


def bytes_on_disk(rows: DataFrame) -> int:
    """Size of the files that hold the rows of a table's partitions; 0 where there is none."""
    files = rows.select("_metadata.file_path", "_metadata.file_size").distinct()
    return files.agg(F.sum("file_size")).first()[0] or 0


def create(spark: SparkSession, lake: str, source: str, table: Table) -> int:
    """Creates a table by its contract unless it exists; returns its newest version.

    A table of an earlier release is brought up to the contract: columns that may be null are added, its
    migrations run, then constraints and properties become the contract's. Each step is harmless when it is killed and done
    again. Raises SchemaError when other columns differ or a later release wrote the table, and
    ConstraintError when stored rows violate a constraint that it lacked.
    """
    newest = latest_version(spark, lake, source, table)
    if newest is not None:
        _bring_up(spark, table, lake, source)
        check_schema(read(spark, lake, source, table), table, what="the table in the lake")
        return _newest(spark, lake, source, table)
    builder = DeltaTable.createIfNotExists(spark).location(location(lake, source, table.name))
    for column in table.columns:
        builder = builder.addColumn(column.name, column.type, nullable=column.nullable, comment=column.doc)
    for key, value in _properties(table).items():
        builder = builder.property(key, value)
    if table.partitions:
        builder = builder.partitionedBy(*table.partitions)
    builder.comment(table.grain).execute()
    return latest_version(spark, lake, source, table) or 0


_CONSTRAINT = "delta.constraints."


def _properties(table: Table) -> dict[str, str]:
    """Properties of a table that has just been created."""
    constraints = {f"{_CONSTRAINT}{name}": predicate for name, predicate in table.constraints}
    return PROPERTIES | constraints | {migrations.PROPERTY: str(migrations.newest(table.name))}


def _bring_up(spark: SparkSession, table: Table, lake: str, source: str) -> None:
    """Brings a stored table up to the contract; writes nothing when it is."""
    address = f"delta.`{location(lake, source, table.name)}`"
    stored, wanted = _stored_properties(spark, lake, source, table), _properties(table)
    done = int(stored.get(migrations.PROPERTY, 0))
    if done > migrations.newest(table.name):
        raise SchemaError(
            f"table {table.name} of {source} has migration {done}, this revision knows up to "
            f"{migrations.newest(table.name)}; update the code"
        )
    fields = {field.name: field for field in read(spark, lake, source, table).schema}
    added = [column for column in table.columns if column.nullable and column.name not in fields]
    if added:
        columns = ", ".join(f"`{column.name}` {column.type}" for column in added)
        spark.sql(f"ALTER TABLE {address} ADD COLUMNS ({columns})")
    for column in table.columns:
        if column.nullable and column.name in fields and not fields[column.name].nullable:
            spark.sql(f"ALTER TABLE {address} ALTER COLUMN `{column.name}` DROP NOT NULL")
    others = {name: f"delta.`{location(lake, source, name)}`" for name in TABLES}
    for migration in migrations.pending(table.name, done):
        spark.sql(migration.statement.format(table=address, **others))
        _set(spark, address, {migrations.PROPERTY: str(migration.number)})
    _constrain(spark, address, stored, wanted, table)
    # All at once: Delta compares the two retentions that it is given.
    if not PROPERTIES.items() <= stored.items():
        _set(spark, address, PROPERTIES)


def _constrain(
    spark: SparkSession, address: str, stored: dict[str, str], wanted: dict[str, str], table: Table
) -> None:
    """Makes the stored constraints the contract's."""
    for key in sorted(key for key in {*stored, *wanted} if key.startswith(_CONSTRAINT)):
        if stored.get(key) == wanted.get(key):
            continue
        name = key.removeprefix(_CONSTRAINT)
        if key in stored:
            spark.sql(f"ALTER TABLE {address} DROP CONSTRAINT `{name}`")
        if key in wanted:
            try:
                spark.sql(f"ALTER TABLE {address} ADD CONSTRAINT `{name}` CHECK ({wanted[key]})")
            except _WRITE_ERRORS as error:
                raise ConstraintError(
                    f"table {table.name}: stored rows violate the constraint {name} ({wanted[key]}), which this "
                    f"release adds; mend or remove them first: {str(error).strip().splitlines()[0]}"
                ) from error


def _set(spark: SparkSession, address: str, properties: dict[str, str]) -> None:
    pairs = ", ".join(f"'{name}' = '{value}'" for name, value in properties.items())
    spark.sql(f"ALTER TABLE {address} SET TBLPROPERTIES ({pairs})")


def _stored_properties(spark: SparkSession, lake: str, source: str, table: Table) -> dict[str, str]:
    jvm, nothing = spark._jvm, spark._jvm.scala.Option.empty()
    log = jvm.org.apache.spark.sql.delta.DeltaLog.forTable(
        spark._jsparkSession, location(lake, source, table.name)
    )
    stored = log.update(False, nothing, nothing).metadata().configuration()
    return dict(jvm.scala.jdk.javaapi.CollectionConverters.asJava(stored))


def replace(spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str, where: str) -> int:
    """Replaces the rows that satisfy `where` with `rows`, in one commit; returns its version.

    Every new row must satisfy `where` (`cycle = '2026-03-01'`), so that a rerun replaces exactly what it
    wrote before. Writes few files, sorted by the table's key within a partition.
    Raises SchemaError, ConstraintError.
    """
    create(spark, lake, source, table)
    check_schema(rows, table)
    _save(_laid_out(rows, table).mode("overwrite").option("replaceWhere", where), table, lake, source)
    return _newest(spark, lake, source, table)


def replace_cycle(spark: SparkSession, rows: DataFrame, table: Table, job: Job) -> int:
    """Replaces the partition of the job's cycle with `rows`; returns the version. Raises as `replace`."""
    return replace(spark, rows, table, job.lake, job.source.name, within("cycle", [job.cycle]))


def append_once(
    spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str, transaction: str
) -> int:
    """Adds the rows unless a write with this transaction name already did; returns the version.

    Each name belongs to one write, so names need no order. Raises SchemaError, ConstraintError.
    """
    create(spark, lake, source, table)
    check_schema(rows, table)
    named = _laid_out(rows, table).mode("append").option("txnAppId", transaction).option("txnVersion", 1)
    _save(named, table, lake, source)
    return _newest(spark, lake, source, table)


def append_new(spark: SparkSession, rows: DataFrame, table: Table, lake: str, source: str) -> int:
    """Adds the rows whose key the table lacks; returns the version, unchanged when none is new.

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
    """Inserts rows with new keys and updates rows that differ; returns the version, unchanged when none
    does. Each key may occur once in `rows`; keys that do not occur keep their row.

    `note` is stored with the commit and read by `last_note`. Raises SchemaError, ConstraintError.
    """
    version = create(spark, lake, source, table)
    check_schema(rows, table)
    columns = table.column_names
    # Version 0 is the creation: the table is empty, so there is nothing to compare or merge with.
    is_new = version == 0
    changed = rows.select(*columns)
    if not is_new:
        changed = changed.exceptAll(read(spark, lake, source, table).select(*columns))
    is_ours = not (is_new and rows.is_cached)
    if is_ours:
        changed = changed.persist()
    same_key = " AND ".join(f"t.{name} = n.{name}" for name in table.key)
    if note is not None:
        spark.conf.set(_NOTE, note)
    try:
        if changed.isEmpty():
            return version
        if is_new:
            # Once: two runs may both see an empty table (a run whose Python process was killed while its
            # JVM was still writing, and its rerun); only one of them may add its rows.
            return append_once(spark, changed, table, lake, source, "first rows")
        reach(f"before-{table.name}")
        (
            DeltaTable.forPath(spark, location(lake, source, table.name))
            .alias("t")
            .merge(changed.alias("n"), same_key)
            .whenMatchedUpdateAll()
            .whenNotMatchedInsertAll()
            .execute()
        )
        reach(f"after-{table.name}")
    except _WRITE_ERRORS as error:
        raise _explained(error, table) from error
    finally:
        spark.conf.unset(_NOTE)
        if is_ours:
            changed.unpersist()
    return _newest(spark, lake, source, table)


def delete(spark: SparkSession, condition: Column, table: Table, lake: str, source: str) -> int:
    """Deletes the rows that satisfy a condition; returns the version. The commit keeps the condition's text."""
    try:
        DeltaTable.forPath(spark, location(lake, source, table.name)).delete(condition)
    except _WRITE_ERRORS as error:
        raise _explained(error, table) from error
    return _newest(spark, lake, source, table)


def set_values(
    spark: SparkSession, condition: Column, values: dict[str, Column], table: Table, lake: str, source: str
) -> int:
    """Gives columns of the rows that satisfy a condition new values; returns the version."""
    try:
        DeltaTable.forPath(spark, location(lake, source, table.name)).update(condition, values)
    except _WRITE_ERRORS as error:
        raise _explained(error, table) from error
    return _newest(spark, lake, source, table)


def purge(spark: SparkSession, table: Table, lake: str, source: str, holds: Column, column: str) -> int:
    """Deletes the files that the newest version does not use and that hold a row for which `holds`, a condition on
    `column`, is true; returns how many. Versions made of them can no longer be read; all others can."""
    used = files_of(spark, lake, source, table)
    files = data_files(spark, lake, source, table)
    old = {name: file for name, file in files.items() if name not in used}
    if not old:
        return 0
    reader = spark.read.option("recursiveFileLookup", "true")
    rows = reader.parquet(*[file.path for file in old.values()])
    held = rows.select("_metadata.file_name", column).where(holds).select("file_name").distinct().collect()
    delete_files(spark, [old[delta_log.file_name(row["file_name"])] for row in held])
    return len(held)


@dataclass(frozen=True)
class DataFile:
    """A Parquet file in a table's folder, used by some version or by none."""

    path: str
    size_bytes: int
    modified_ms: int
    """Milliseconds since 1970-01-01 UTC."""


def data_files(spark: SparkSession, lake: str, source: str, table: Table) -> dict[str, DataFile]:
    """Every data file in a table's folder, by name; names are unique, addresses are spelled in several ways."""
    root = spark._jvm.org.apache.hadoop.fs.Path(location(lake, source, table.name))
    found = root.getFileSystem(spark._jsc.hadoopConfiguration()).listFiles(root, True)
    files = {}
    while found.hasNext():
        status = found.next()
        path, name = status.getPath().toString(), status.getPath().getName()
        if name.endswith(".parquet") and "/_delta_log/" not in path:
            files[name] = DataFile(path, status.getLen(), status.getModificationTime())
    return files


def files_of(
    spark: SparkSession, lake: str, source: str, table: Table, version: int | None = None
) -> set[str]:
    """Names of the files of a version, by default the newest. Raises as `read`."""
    try:
        return delta_log.file_names(lake, source, table, version)
    except delta_log.LogError:
        files = read(spark, lake, source, table, version).inputFiles()
        return {delta_log.file_name(path) for path in files}


@dataclass(frozen=True)
class Changes:
    """Rows by which two versions of a table differ; one that was only written into another file is not among them."""

    added: DataFrame
    removed: DataFrame


def changes(
    spark: SparkSession, lake: str, source: str, table: Table, before: int, after: int
) -> Changes | None:
    """What became of a table between two versions, from the files that only one of them has; all others are not read.

    None where one of the versions can no longer be read. Raises ValueError for a table with partitions: its files lack
    their columns.
    """
    if table.partitions:
        raise ValueError(f"{table.name} is partitioned; its files alone do not hold its rows")
    if not all(can_be_read(spark, lake, source, table, version) for version in (before, after)):
        return None
    stored = data_files(spark, lake, source, table)
    first, second = (files_of(spark, lake, source, table, version) for version in (before, after))
    only = [second - first, first - second]
    schema = _nullable(StructType.fromDDL(table.ddl))
    added, removed = (
        spark.read.schema(schema).parquet(*[stored[name].path for name in sorted(names)])
        if names
        else spark.createDataFrame([], schema)
        for names in only
    )
    if only[0] and only[1]:
        added, removed = added.exceptAll(removed), removed.exceptAll(added)
    return Changes(added, removed)


_CLONE = "reprise.clone_of"
"""Table property: the version of another lake's table that this one began as."""


def clone(spark: SparkSession, lake: str, source: str, table: Table, version: int, into_lake: str) -> int:
    """Makes a table in another lake that begins with the rows of a version; returns its version there.

    No file is copied: the new table reads the first one's files, and writes its own. Raises as `read`.
    """
    if version == 0:
        return create(spark, into_lake, source, table)
    read(spark, lake, source, table, version)
    address = f"delta.`{location(into_lake, source, table.name)}`"
    of = f"delta.`{location(lake, source, table.name)}` VERSION AS OF {version}"
    spark.sql(f"CREATE OR REPLACE TABLE {address} SHALLOW CLONE {of}")
    # Version 0 is taken for a table that was created and is empty.
    _set(spark, address, {_CLONE: str(version)})
    return _newest(spark, into_lake, source, table)


def missing_files(
    spark: SparkSession, lake: str, source: str, table: Table, version: int
) -> tuple[list[str], int]:
    """Names of a version's files that are gone, vacuumed or erased, and how many it has. Raises as `read`."""
    used = files_of(spark, lake, source, table, version)
    return sorted(used - data_files(spark, lake, source, table).keys()), len(used)


def can_be_read(spark: SparkSession, lake: str, source: str, table: Table, version: int) -> bool:
    """Whether a version and all its files are still there."""
    try:
        missing, _ = missing_files(spark, lake, source, table, version)
    except (TableError, *_WRITE_ERRORS):
        return False
    return not missing


def delete_files(spark: SparkSession, files: Iterable[DataFile]) -> None:
    """Deletes files of a table; one that is gone already is no error."""
    for file in files:
        path = spark._jvm.org.apache.hadoop.fs.Path(file.path)
        path.getFileSystem(spark._jsc.hadoopConfiguration()).delete(path, False)


def compact(
    spark: SparkSession, table: Table, lake: str, source: str, below_bytes: int, up_to_bytes: int
) -> int:
    """Writes files smaller than `below_bytes` together into files of up to `up_to_bytes`; returns the version, whose
    rows are those of the one before, and whose note is too."""
    note = last_note(spark, lake, source, table)
    settings = {f"{_OPTIMIZE}.minFileSize": below_bytes, f"{_OPTIMIZE}.maxFileSize": up_to_bytes}
    if note is not None:
        settings[_NOTE] = note
    try:
        for name, value in settings.items():
            spark.conf.set(name, str(value))
        DeltaTable.forPath(spark, location(lake, source, table.name)).optimize().executeCompaction()
    except _WRITE_ERRORS as error:
        raise _explained(error, table) from error
    finally:
        for name in settings:
            spark.conf.unset(name)
    return _newest(spark, lake, source, table)


def cut_statistics(spark: SparkSession, table: Table, lake: str, source: str, value: str) -> int:
    """Removes smallest and largest values from a table's log wherever the log holds a text; returns the number
    of changed files. Only the number of rows stays known of these files. The log of a table in an object store
    is left alone."""
    address = location(lake, source, table.name)
    if "://" in address and not address.startswith("file:"):
        return 0
    folder = Path(re.sub(r"^file:/+", "/", address)) / "_delta_log"
    changed = 0
    word = re.compile(rf"(?<![\w-]){re.escape(json.dumps(json.dumps(value)[1:-1])[1:-1])}(?![\w-])")
    for path in sorted(folder.glob("*.json")):
        lines = path.read_text().splitlines()
        cut = [_without_bounds(line) if word.search(line) else line for line in lines]
        if cut != lines:
            write_atomically(path, "\n".join(cut) + "\n", mode=0o644)
            path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
            changed += 1
    if changed:
        # Summaries of the commits above, which Delta makes anew when they are gone.
        for pattern in ("*.checkpoint*.parquet", "_last_checkpoint", "*.crc", ".*.crc"):
            for path in folder.glob(pattern):
                path.unlink()
    return changed


def _without_bounds(line: str) -> str:
    """A line of a commit with no statistics but the number of rows."""
    action = json.loads(line)
    for kind in ("add", "remove"):
        if action.get(kind, {}).get("stats"):
            rows = json.loads(action[kind]["stats"]).get("numRecords")
            action[kind]["stats"] = json.dumps({"numRecords": rows})
    return json.dumps(action, separators=(",", ":"))


def last_note(spark: SparkSession, lake: str, source: str, table: Table) -> str | None:
    """The note of the table's newest commit; None when the commit has no note or there is no table."""
    if latest_version(spark, lake, source, table) is None:
        return None
    return DeltaTable.forPath(spark, location(lake, source, table.name)).history(1).first()["userMetadata"]


def note_of(spark: SparkSession, lake: str, source: str, table: Table, version: int) -> str | None:
    """The note of the commit that made a version; None when it has none, or is not in the log any more."""
    history = DeltaTable.forPath(spark, location(lake, source, table.name)).history()
    row = history.where(F.col("version") == version).first()
    return None if row is None else row["userMetadata"]


def check_schema(rows: DataFrame, table: Table, what: str = "the rows to write") -> None:
    """Raises SchemaError unless `rows` has exactly the contract's columns with its types, in any order."""
    expected = {field.name: field.dataType for field in StructType.fromDDL(table.ddl)}
    actual = {field.name: field.dataType for field in rows.schema}
    problems = [f"column {name} is missing" for name in expected if name not in actual]
    problems += [f"column {name} is not in the contract" for name in actual if name not in expected]
    problems += [
        f"column {name} is {actual[name].simpleString()}, the contract says {expected[name].simpleString()}"
        for name in expected
        if name in actual and _nullable(actual[name]) != _nullable(expected[name])
    ]
    if problems:
        raise SchemaError(f"table {table.name}, {what}: {'; '.join(problems)}")


def within(column: str, values: list[str]) -> str:
    """SQL predicate `column IN (…)` with the values quoted; `false` when there are none."""
    if not values:
        return "false"
    quoted = ", ".join("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)
    return f"{column} IN ({quoted})"


def row_count(spark: SparkSession, lake: str, source: str, table: Table) -> int:
    """Number of rows of the newest version, from Delta's statistics; 0 when the table does not exist."""
    try:
        counted = delta_log.row_count(lake, source, table)
    except delta_log.LogError:  # a store, or a feature of the table, that delta-rs does not know
        counted = None
    if counted is None and latest_version(spark, lake, source, table) is not None:
        counted = read(spark, lake, source, table).count()
    return counted or 0


def small_table(spark: SparkSession, lake: str, source: str, table: Table) -> list[Row]:
    """Every row of the newest version of a table of few rows. Raises as `read`."""
    try:
        return [Row(**row) for row in delta_log.rows(lake, source, table)]
    except delta_log.LogError:
        return read(spark, lake, source, table).collect()


def _laid_out(rows: DataFrame, table: Table) -> DataFrameWriter:
    """A writer of few files, each sorted by the table's key within a partition.

    One shuffle, after which AQE coalesces to its advisory file size: without it each task would write one
    file into each partition.
    """
    ordered = rows.select(*table.column_names)
    if table.clustered_by:
        spread = ordered.repartitionByRange(*table.clustered_by)
    else:
        spread = ordered.hint("rebalance", *(name for name in table.partitions if name != "cycle"))
    order = dict.fromkeys((*table.partitions, *table.clustered_by, *table.key))
    return spread.sortWithinPartitions(*order).write.format("delta")


def _save(writer: DataFrameWriter, table: Table, lake: str, source: str) -> None:
    reach(f"before-{table.name}")
    try:
        writer.save(location(lake, source, table.name))
    except _WRITE_ERRORS as error:
        raise _explained(error, table) from error
    reach(f"after-{table.name}")


def _newest(spark: SparkSession, lake: str, source: str, table: Table) -> int:
    version = latest_version(spark, lake, source, table)
    if version is None:
        raise TableError(f"table {table.name} of {source} disappeared while it was being written")
    return version


def _nullable(kind: DataType) -> DataType:
    """The type with every nested field nullable: contracts declare nullability for columns only."""
    if isinstance(kind, ArrayType):
        return ArrayType(_nullable(kind.elementType), True)
    if isinstance(kind, StructType):
        nested = StructType()
        for field in kind:
            nested.add(field.name, _nullable(field.dataType), True)
        return nested
    return kind


def _explained(error: Exception, table: Table) -> Exception:
    """A ConstraintError for a violated constraint; other errors as they are."""
    message = str(error)
    violated = re.search(r"CHECK constraint (.+?) violated by row with values:", message)
    if violated:
        values = dict.fromkeys(re.findall(r"^ *- (\S+ : .*)$", message, re.MULTILINE))
        return ConstraintError(
            f"table {table.name}: constraint {violated[1]} is violated by a row with {', '.join(values)}"
        )
    null = re.search(r"NOT NULL constraint violated for column:? (\w+(?:\.\w+)*)", message)
    if null:
        return ConstraintError(f"table {table.name}: column {null[1]} must not be null")
    return error
