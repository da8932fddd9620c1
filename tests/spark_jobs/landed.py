"""Landed files, the job over them and their lines, for the tests of `events`, `items` and `landing`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import Row, SparkSession

from expectations.tables import Table
from spark_jobs.config import EventMapping, Job, SourceConfig
from spark_jobs.lake import delta
from spark_jobs.landing.event_lines import checked_lines, mapped_expressions
from spark_jobs.landing.files import find
from spark_jobs.landing.layouts import LINE_NUMBER
from spark_jobs.landing.reading import Mapped, read_mapped


def jsonl(path: Path, *lines: dict[str, Any] | str | bytes) -> Path:
    """Writes one line each: a dict as JSON, text and bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = [line if isinstance(line, bytes) else _text(line).encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in encoded))
    return path


def _text(line: dict[str, Any] | str) -> str:
    return json.dumps(line) if isinstance(line, dict) else line


def source(**changes: Any) -> SourceConfig:
    """Films watched: user, item and time are in columns `u`, `i` and `t` of JSON lines."""
    events = {"files": ("*.jsonl",), "format": "jsonl", "user": "u", "item": "i", "time": "t"}
    mapping = EventMapping(**(events | changes.pop("events", {})))
    return SourceConfig(**({"name": "films"} | changes), events=mapping)


def job(landing: Path, source: SourceConfig, cycle: str = "2026-03-01", **changes: Any) -> Job:
    """The job of a cycle with a window of 28 days; the lake lies beside the landing folder."""
    cutoff = datetime.fromisoformat(cycle).replace(tzinfo=UTC)
    return Job(
        lake=str(landing.parent / "lake"),
        landing=str(landing),
        cycle=cycle,
        cutoff=cutoff,
        split=cutoff - timedelta(days=28),
        window_seconds=28 * 86400,
        source=source,
        **changes,
    )


def mapped(
    spark: SparkSession, landing: Path, source: SourceConfig, may_be_absent: frozenset[str] = frozenset()
) -> Mapped:
    """The landed files of the log after their mapping; nothing is written."""
    files = find(spark, str(landing), source.events.files)
    return read_mapped(
        spark, files, source.events, mapped_expressions(source), "events", may_be_absent=may_be_absent
    )


def mapped_lines(mapped: Mapped) -> list[Row]:
    """All mapped lines, by line number; of one file, or of files whose lines a test tells apart."""
    rows = [row for part in mapped.parts for row in part.collect()]
    return sorted(rows, key=lambda row: row[LINE_NUMBER])


def checked(spark: SparkSession, landing: Path, source: SourceConfig) -> list[Row]:
    """The lines of the log as typed events, by line number; nothing is written."""
    lines = mapped(spark, landing, source).through(lambda rows: checked_lines(rows, source))
    return lines.orderBy("line_number", "user_id").collect()


def content(spark: SparkSession, job: Job, table: Table, version: int | None = None) -> list[Row]:
    """The rows of a table in the order of its key."""
    rows = delta.read(spark, job.lake, job.source.name, table, version)
    return rows.orderBy(*table.key).collect()
