"""Landed files and the job over them, for the tests of `events` and `items`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import Row, SparkSession

from expectations.tables import Table
from spark_jobs.config import EventMapping, Job, SourceConfig
from spark_jobs.lake import delta


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
    return SourceConfig(name="films", events=EventMapping(**(events | changes.pop("events", {}))), **changes)


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


def content(spark: SparkSession, job: Job, table: Table, version: int | None = None) -> list[Row]:
    """The rows of a table in the order of its key."""
    rows = delta.read(spark, job.lake, job.source.name, table, version)
    return rows.orderBy(*table.key).collect()
