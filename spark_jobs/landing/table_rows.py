"""Rows that a Delta table has gained between two of its versions, as numbered lines.

Where commits only added files, their rows are the rows of these files, numbered by file and row. Where rows were
changed or deleted, they are told by the table's change feed, if it has one, else by the files that the two versions do
not share: what was taken away is subtracted from what came, row by row, so that rows which a rewritten file merely
carries along are no news. They are numbered in the order of a digest of their content.

Only the columns that a mapping names are read and compared. Deletion vectors, partitions, renamed columns and commits
that only arrange rows anew are Delta's own matter, and change nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.lake.session import silent
from spark_jobs.landing.cells import shown
from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile, LandingError
from spark_jobs.landing.folders import LITERAL
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.scanning import cause
from spark_jobs.landing.source_tables import CannotFollow, SourceTable, TableVersion, opened

_CHANGE_FEED = "delta.enableChangeDataFeed"
_ERRORS = (PySparkException, Py4JJavaError)
_AS_JSON = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
"""By default instants are cut to milliseconds."""
_BUCKETS_DIGITS = 3
"""Changed rows are numbered in parts by so many hexadecimal digits of their digest."""


@dataclass(frozen=True)
class _Plan:
    """How a part of a table's history is read."""

    snapshot: JavaObject
    """The version whose columns the rows have."""
    added: JavaObject | None = None
    """Files whose rows came; None where the change feed tells the rows."""
    removed: JavaObject | None = None
    """Files whose rows are subtracted; None where nothing was taken away."""
    size_bytes: int = 0
    """Of the added files."""


def measured(spark: SparkSession, source: SourceTable, part: TableVersion) -> int:
    """Bytes of the files that a part added; 0 where its rows are told by the change feed. Raises CannotFollow where its
    rows cannot be told any more."""
    return _plan(spark, source, part).size_bytes


def lost_to_reading(spark: SparkSession, files: Iterable[LandedFile], wanted: Collection[str]) -> set[str]:
    """file_ids of those parts of a table, among the `wanted`, whose rows cannot be told any more."""
    lost = set()
    for file in files:
        if isinstance(file, TableVersion) and file.file_id in wanted:
            try:
                measured(spark, opened(spark, file.path, file.path), file)
            except CannotFollow:
                lost.add(file.file_id)
    return lost


def table_groups(
    spark: SparkSession, parts: list[TableVersion], paths: Paths, unreadable: dict[str, str]
) -> list[Group]:
    """One group per part. A part whose rows cannot be told any more is added to `unreadable`, by file_id with the
    reason. Raises LandingError for a table with a file that cannot be read."""
    groups = []
    for part in parts:
        source = opened(spark, part.path, part.path)
        try:
            plan = _plan(spark, source, part)
        except CannotFollow as error:
            unreadable[part.file_id] = str(error)
            continue
        columns = tuple(field["name"] for field in json.loads(plan.snapshot.schema().json())["fields"])
        column_of = {name: spelled(name, columns) for name, *_ in sorted(paths)}
        read = sorted({column for column in column_of.values() if column is not None})
        try:
            with silent(spark):
                net = plan.added is None or plan.removed is not None
                count, rows = (_net_rows if net else _file_rows)(spark, source, part, plan, read)
        except _ERRORS as error:
            raise LandingError(
                f"table {part.table}: the rows of {part.name} cannot be read: {cause(error)}; mend the table, or withdraw "
                f"{part.name}; nothing was changed"
            ) from None
        groups.append(
            Group(
                [part], columns, {part.file_id: count}, opened=partial(_opened, rows, part, read, column_of)
            )
        )
    return groups


def _opened(
    rows: DataFrame, part: TableVersion, read: list[str], column_of: dict[str, str | None], paths: Paths
) -> DataFrame:
    cells = _cells(rows, read)
    wanted = {name for name, *_ in paths}
    raw = [
        shown(cell, rows.schema[f"__c{place}"].dataType).alias(read[place])
        for place, cell in enumerate(cells)
    ]
    return rows.select(
        F.lit(part.file_id).alias(FILE_ID),
        F.col("__number").alias(LINE_NUMBER),
        (F.to_json(F.struct(*raw)) if raw else F.lit("")).alias(RAW),
        F.lit(None).cast("string").alias(PROBLEM),
        *(
            cells[read.index(column)].alias(name)
            for name, column in column_of.items()
            if column and name in wanted
        ),
    )


def _cells(rows: DataFrame, read: list[str]) -> list[Column]:
    return [F.col(f"__c{place}") for place in range(len(read))]


# --- what is read ---------------------------------------------------------------------------------


def _plan(spark: SparkSession, source: SourceTable, part: TableVersion) -> _Plan:
    """Raises CannotFollow."""
    after = _snapshot(spark, source, part.version)
    files = _files(spark, after)
    if part.since is None and part.most_files is not None and len(files) > part.most_files:
        paths = sorted(path for path, _ in files)
        last = part.most_files - 1
        return _Plan(after, _chosen(after, [paths[n * (len(paths) - 1) // last] for n in range(last + 1)]))
    if part.since is None:
        _require(spark, source, [] if part.version == source.version else [path for path, _ in files])
        return _Plan(after, after.allFiles().collectAsList(), size_bytes=sum(files.values()))
    if (plan := _appended(spark, source, part, after, {path for path, _ in files})) is not None:
        return plan
    if _has_feed(spark, source, part, after):
        return _Plan(after)
    before = _snapshot(spark, source, part.since)
    earlier = _files(spark, before)
    added, removed = files.keys() - earlier.keys(), earlier.keys() - files.keys()
    _require(spark, source, [path for path, _ in (*added, *removed)])
    return _Plan(
        after,
        _chosen(after, [path for path, _ in added]),
        _chosen(before, [path for path, _ in removed]),
        sum(files[file] for file in added),
    )


def _snapshot(spark: SparkSession, source: SourceTable, version: int) -> JavaObject:
    try:
        return source.at(spark, version)
    except Py4JJavaError as error:
        raise CannotFollow(f"version {version} is no longer in the table's log: {cause(error)}") from None


def _files(spark: SparkSession, snapshot: JavaObject) -> dict[tuple[str, str | None], int]:
    """Bytes of a version's files, by path and deletion vector."""
    files = DataFrame(snapshot.allFiles().toDF(), spark)
    rows = files.select("path", F.to_json("deletionVector").alias("without"), "size").collect()
    return {(row["path"], row["without"]): row["size"] for row in rows}


def _chosen(snapshot: JavaObject, paths: list[str]) -> JavaObject:
    """A version's files with these paths."""
    return snapshot.allFiles().filter(F.col("path").isin(*paths)._jc).collectAsList()


def _appended(
    spark: SparkSession, source: SourceTable, part: TableVersion, after: JavaObject, current: set[str]
) -> _Plan | None:
    """The files that the commits of a part added, if these did nothing else and the files are there; else None.
    `current` are the paths of the part's last version."""
    folder = source.log.logPath().toString()
    commits = [f"{folder}/{version:020d}.json" for version in range(part.since + 1, part.version + 1)]
    is_data = [F.get_json_object("value", f"$.{kind}.dataChange") == "true" for kind in ("add", "remove")]
    try:
        lines = (
            spark.read.options(**LITERAL)
            .text(commits)
            .where(is_data[0] | is_data[1])
            .select("value", is_data[1])
            .collect()
        )
    except _ERRORS:  # the log no longer has them
        return None
    if any(is_removed for _, is_removed in lines):
        return None
    actions = spark._jvm.org.apache.spark.sql.delta.actions.Action
    added, paths, size = spark._jvm.java.util.ArrayList(), [], 0
    for line, _ in lines:
        added.add(actions.fromJson(line))
        told = json.loads(line)["add"]
        paths.append(told["path"])
        size += told["size"]
    if _missing(spark, source, [path for path in paths if path not in current]):
        return None
    return _Plan(after, added, size_bytes=size)


def _has_feed(spark: SparkSession, source: SourceTable, part: TableVersion, after: JavaObject) -> bool:
    """Whether the table's change feed tells all that happened between the two versions."""
    configuration = spark._jvm.scala.jdk.javaapi.CollectionConverters.asJava(after.metadata().configuration())
    if configuration.get(_CHANGE_FEED) != "true":
        return False
    try:
        with silent(spark):
            _feed(spark, source, part).select("_change_type").groupBy().count().collect()
    except _ERRORS:
        return False
    return True


def _feed(spark: SparkSession, source: SourceTable, part: TableVersion) -> DataFrame:
    reader = spark.read.format("delta").option("readChangeFeed", "true")
    return (
        reader.option("startingVersion", part.since + 1)
        .option("endingVersion", part.version)
        .load(source.path)
    )


def _require(spark: SparkSession, source: SourceTable, paths: Iterable[str]) -> None:
    """Raises CannotFollow unless the files are there."""
    if missing := _missing(spark, source, paths):
        raise CannotFollow(f"{len(missing):,} of its files were vacuumed, the first is {missing[0]}")


def _missing(spark: SparkSession, source: SourceTable, paths: Iterable[str]) -> list[str]:
    operations = spark._jvm.org.apache.spark.sql.delta.util.DeltaFileOperations
    configuration = spark._jsc.hadoopConfiguration()
    missing = []
    for path in sorted(paths):
        address = operations.absolutePath(source.path, path)
        if not address.getFileSystem(configuration).exists(address):
            missing.append(path)
    return missing


# --- rows -----------------------------------------------------------------------------------------


def _frame(spark: SparkSession, source: SourceTable, snapshot: JavaObject, files: JavaObject) -> DataFrame:
    """The rows of some files of a table, with the columns of a version."""
    delta, option = spark._jvm.org.apache.spark.sql.delta, spark._jvm.scala.Option
    to_scala = spark._jvm.scala.jdk.javaapi.CollectionConverters.asScala
    # Delta gives rows their places only where a table may have deletion vectors: read as if this one might.
    may_have = getattr(getattr(delta, "DeletionVectorsTableFeature$"), "MODULE$")
    further = spark._jvm.java.util.ArrayList()
    further.add(delta.actions.Protocol.apply(3, 7).withFeature(may_have))
    protocol = snapshot.protocol().merge(to_scala(further).toSeq())
    described = delta.DummySnapshot(
        source.log.logPath(), source.log, snapshot.metadata(), option.empty(), option.apply(protocol)
    )
    chosen = to_scala(files).toSeq()
    return DataFrame(source.log.createDataFrame(described, chosen, False, option.empty()), spark)


def _selected(rows: DataFrame, read: list[str]) -> list[Column]:
    """The columns that are read as `__c0`, `__c1` …; null where the rows lack them."""
    return [
        (F.col(quoted(name)) if name in rows.columns else F.lit(None).cast("string")).alias(f"__c{place}")
        for place, name in enumerate(read)
    ]


def _as_json(rows: DataFrame, read: list[str]) -> Column:
    cells = [
        shown(cell, rows.schema[f"__c{place}"].dataType) for place, cell in enumerate(_cells(rows, read))
    ]
    return F.to_json(F.struct(F.lit(0), *cells), _AS_JSON)


def _file_rows(
    spark: SparkSession, source: SourceTable, part: TableVersion, plan: _Plan, read: list[str]
) -> tuple[int, DataFrame]:
    """All rows of the added files: how many, and `__number` with the columns. Reads every page of them once."""
    frame = _frame(spark, source, plan.snapshot, plan.added)
    scan = frame.select(
        F.col("_metadata.file_path").alias("__path"),
        F.col("_metadata.row_index").alias("__row"),
        *_selected(frame, read),
    )
    found = scan.groupBy("__path").agg(
        F.count(F.lit(1)).alias("n"),
        F.max("__row").alias("last"),
        F.max(F.xxhash64(_as_json(scan, read))).alias("digest"),  # makes Spark decode the columns
    )
    count, place, places = 0, 0, []
    for row in sorted(found.collect(), key=lambda row: row["__path"]):
        places.append((row["__path"], place))
        count, place = count + row["n"], place + row["last"] + 1
    known = local_rows(spark, places, "__path string, __place bigint")
    rows = scan.join(F.broadcast(known), on="__path", how="inner")
    return count, rows.select((F.col("__place") + F.col("__row") + 1).alias("__number"), *_cells(rows, read))


def _net_rows(
    spark: SparkSession, source: SourceTable, part: TableVersion, plan: _Plan, read: list[str]
) -> tuple[int, DataFrame]:
    """The rows that came less those that were taken away: how many, and `__number` with the columns."""
    if plan.added is None:
        feed = _feed(spark, source, part)
        came = F.col("_change_type").isin("insert", "update_postimage")
        signed = feed.select(F.when(came, 1).otherwise(-1).alias("__sign"), *_selected(feed, read))
    else:
        signed = None
        for sign, files in ((1, plan.added), (-1, plan.removed)):
            frame = _frame(spark, source, plan.snapshot, files)
            some = frame.select(F.lit(sign).alias("__sign"), *_selected(frame, read))
            signed = some if signed is None else signed.unionByName(some)
    cells = _cells(signed, read)
    net = signed.groupBy(F.sha2(_as_json(signed, read), 256).alias("__key")).agg(
        F.sum("__sign").cast("int").alias("__n"),
        F.first(F.struct(F.lit(0).alias("__none"), *cells)).alias("__cells"),
    )
    copy = F.explode(F.sequence(F.lit(1), F.col("__n"))).alias("__copy")
    bucket = F.substring("__key", 1, _BUCKETS_DIGITS).alias("__bucket")
    copies = net.where(F.col("__n") > 0).select("__key", bucket, copy, "__cells.*")
    count, places = 0, []
    for row in sorted(copies.groupBy("__bucket").count().collect()):
        places.append((row["__bucket"], count))
        count += row["count"]
    known = local_rows(spark, places, "__bucket string, __place bigint")
    in_bucket = F.row_number().over(Window.partitionBy("__bucket").orderBy("__key", "__copy"))
    rows = copies.join(F.broadcast(known), on="__bucket", how="inner")
    return count, rows.select((F.col("__place") + in_bucket).alias("__number"), *_cells(rows, read))
