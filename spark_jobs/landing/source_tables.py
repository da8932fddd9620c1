"""Tables as a source: which of their versions bring rows that no cycle has passed.

What a Delta table has gained between two of its versions is to the ingestion what a landed file is to it: a
`TableVersion`, with a name that says what it is (`events@5..7`: what came after version 5 up to version 7; `events@7`:
all rows of version 7). Reading starts where the last cycle that passed left off; what is withdrawn counts as read.

How the rows between two versions are told is in `table_rows`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from spark_jobs.landing.catalogs import kind_and_place
from spark_jobs.landing.files import LandedFile, LandingError
from spark_jobs.landing.listing import addresses, is_path, listing
from spark_jobs.landing.scanning import cause

_NAME = re.compile(r"@(?:(\d+)\.\.)?(\d+)(?: of ([0-9a-f]{8}))?$")
_CHARACTERS_OF_ID = 8


class CannotFollow(RuntimeError):
    """The rows between two versions cannot be told any more; the message says why."""


@dataclass(frozen=True)
class TableVersion(LandedFile):
    """The rows that a table has gained up to a version."""

    table: str = ""
    """As messages and names have it."""
    since: int | None = None
    """The version up to which rows were read before; None: all rows of `version`."""
    version: int = 0
    is_again: bool = False
    """Whether all rows are read although many were read before: what lies between cannot be told any more. Rows whose
    event is known then are no lines."""
    most_files: int | None = None
    """Read at most so many of the table's files, evenly spread over their names; None: all."""

    @property
    def order(self) -> str:
        return f"{self.table}@{self.version:020d}"

    @property
    def partition(self) -> dict[str, str | None]:
        return {}


@dataclass(frozen=True)
class SourceTable:
    """A Delta table that a mapping names."""

    name: str
    """A catalog's name as it is given; a path relative to the landing folder when it is inside."""
    path: str
    log: JavaObject
    snapshot: JavaObject
    """Its newest version."""

    @property
    def version(self) -> int:
        return self.snapshot.version()

    @property
    def table_id(self) -> str:
        """Another one for a table that was dropped and made again."""
        return self.snapshot.metadata().id()

    def at(self, spark: SparkSession, version: int) -> JavaObject:
        """The snapshot of a version. Raises Py4JJavaError where the log no longer reaches back to it."""
        nothing = spark._jvm.scala.Option.empty()
        return self.log.getSnapshotAt(version, nothing, nothing, False)


@dataclass(frozen=True)
class _Span:
    """What a name says that was read."""

    since: int | None
    version: int
    generation: str
    """First characters of the table's id, where a table of another id was read before under this name."""


def opened(spark: SparkSession, landing: str, table: str) -> SourceTable:
    """The Delta table that a mapping names. Raises LandingError when there is none."""
    path = _address(landing, table) if is_path(table) else kind_and_place(spark, table)[1]
    try:
        log = spark._jvm.org.apache.spark.sql.delta.DeltaLog.forTable(spark._jsparkSession, path)
        nothing = spark._jvm.scala.Option.empty()
        snapshot = log.update(False, nothing, nothing)
    except (PySparkException, Py4JJavaError) as error:
        raise LandingError(f"table {table} cannot be opened: {cause(error)}") from None
    if snapshot.version() < 0:
        raise LandingError(
            f"{path} is no Delta table: correct the path of table = {table!r}, or mount its folder; the name of a table in a "
            "catalog has no slash"
        )
    return SourceTable(_name(landing, table, path), path, log, snapshot)


def whole(spark: SparkSession, landing: str, table: str, most_files: int | None = None) -> TableVersion:
    """All rows of a table's newest version, or those of some of its files. Raises LandingError."""
    source = opened(spark, landing, table)
    part = _of(source, _Span(None, source.version, ""))
    return replace(part, size_bytes=source.snapshot.sizeInBytes(), most_files=most_files)


def versions(
    spark: SparkSession,
    landing: str,
    table: str,
    ingested: Mapping[str, Any],
    passed: int | None,
    kept_out: Collection[str],
    measure: Callable[[SourceTable, TableVersion], int],
) -> list[TableVersion]:
    """The parts of a table's history: those that a cycle has passed, as they were read, and what came since.

    Args:
        ingested: rows of `ingested_files` by file_id.
        passed: newest version of `ingested_files` that a cycle has passed.
        kept_out: names and file_ids of withdrawn parts.
        measure: bytes that a part added; raises CannotFollow where its rows cannot be told any more.

    Where what came since cannot be told, all rows of the newest version are a part. Raises LandingError.
    """
    source = opened(spark, landing, table)
    rows = [row for row in ingested.values() if passed is not None and (row["ingestion"] or 0) <= passed]
    rows.sort(key=lambda row: (row["ingestion"] or 0, row["file_path"]))
    read = {name: span for name in (row["file_path"] for row in rows) if (span := _span(source, name))}
    known = [_stood(source, row, read[row["file_path"]], rows) for row in rows if row["file_path"] in read]
    said = [span for name in kept_out if (span := _span(source, name))]
    generation = _generation(spark, source, rows, read, said)
    new = []
    for span in _gaps([*read.values(), *said], source.version, generation):
        part = _of(source, span, is_again=span.since is None and bool(rows))
        try:
            new.append(replace(part, size_bytes=measure(source, part)))
        except CannotFollow:
            if span.since is not None and span.version == source.version:
                part = _of(source, _Span(None, span.version, generation), is_again=True)
            new.append(part)
    return [*known, *new]


def read_again(files: Iterable[LandedFile]) -> list[str]:
    """file_ids of the parts of a table whose known rows are no lines."""
    return [file.file_id for file in files if isinstance(file, TableVersion) and file.is_again]


def newest(landing: str, table: str, session: Callable[[], SparkSession]) -> list:
    """What changes when a table does, as plain values; empty when the table is not there. Of a folder no table is
    opened."""
    if is_path(table):
        return listing(landing, [f"{table.rstrip('/')}/_delta_log"], session)
    try:
        kind, place = kind_and_place(session(), table)
        if kind != "delta":
            return listing(landing, [place], session)
        source = opened(session(), landing, table)
    except LandingError:
        return []
    return [table, source.table_id, source.version]


def _address(landing: str, table: str) -> str:
    (path,) = addresses(landing, [table])
    return path


def _name(landing: str, table: str, path: str) -> str:
    if not is_path(table):
        return table
    (root,) = addresses(landing, ["."]) if "://" not in landing else (landing.rstrip("/"),)
    return path.removeprefix(f"{root}/")


def _span(source: SourceTable, name: str) -> _Span | None:
    """What a name says that was read of the table; None where it names something else."""
    match = _NAME.search(name)
    if not match or name[: match.start()] != source.name:
        return None
    since, version, generation = match.groups()
    return _Span(None if since is None else int(since), int(version), generation or "")


def _of(source: SourceTable, span: _Span, is_again: bool = False) -> TableVersion:
    between = "" if span.since is None else f"{span.since}.."
    generation = f" of {span.generation}" if span.generation else ""
    return TableVersion(
        path=source.path,
        name=f"{source.name}@{between}{span.version}{generation}",
        size_bytes=0,
        file_id=_file_id(source.table_id, span),
        unreadable=None,
        table=source.name,
        since=span.since,
        version=span.version,
        is_again=is_again,
    )


def _stood(source: SourceTable, row: Any, span: _Span, rows: list) -> TableVersion:
    """A part that a cycle has passed."""
    return TableVersion(
        path=source.path,
        name=row["file_path"],
        size_bytes=row["size_bytes"],
        file_id=row["file_id"],
        unreadable=None,
        table=source.name,
        since=span.since,
        version=span.version,
        is_again=span.since is None and row["file_path"] != rows[0]["file_path"],
    )


def _file_id(table_id: str, span: _Span) -> str:
    return hashlib.sha256(json.dumps([table_id, span.since, span.version]).encode()).hexdigest()


def _generation(
    spark: SparkSession, source: SourceTable, rows: list, read: dict[str, _Span], said: Iterable[_Span]
) -> str:
    """Which of the tables that had this name today's is."""
    own = source.table_id[:_CHARACTERS_OF_ID]
    if any(span.generation == own for span in (*read.values(), *said)):
        return own
    of_table = [row for row in rows if row["file_path"] in read]
    if not of_table:
        return ""
    last = of_table[-1]
    span = read[last["file_path"]]
    if span.generation or span.version > source.version:
        return own
    try:
        table_id = source.at(spark, span.version).metadata().id()
    except Py4JJavaError:
        return ""  # it cannot be followed from there either, and is read whole
    return "" if _file_id(table_id, span) == last["file_id"] else own


def _gaps(spans: Iterable[_Span], newest: int, generation: str) -> list[_Span]:
    """What of a table's versions up to the newest no span covers."""
    place: int | None = None
    found = []
    own = [span for span in spans if span.generation == generation]
    for span in sorted(own, key=lambda span: (span.version, span.since is None)):
        if span.since is not None and span.since != place and (place is None or span.since > place):
            found.append(_Span(place, span.since, generation))
        place = span.version
    if place is None or newest > place:
        found.append(_Span(place, newest, generation))
    return found
