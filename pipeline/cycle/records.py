"""The record of a cycle: what each finished stage read, wrote and measured, one JSON file a stage.

A stage whose record carries the digest of today's inputs is done and does not run again. A record is
written last and atomically, so that a stage killed at any moment leaves either a whole record or none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from expectations.files import write_atomically
from pipeline.cycle import figures as stage_figures
from pipeline.cycle.formats import FORMAT, upgrade_record
from spark_jobs import figures as job_figures
from spark_jobs.figures import SparkWork


@dataclass(frozen=True)
class StageResult:
    """What a stage function returns."""

    figures: Any
    """A dataclass of `pipeline.cycle.figures` or `spark_jobs.figures`."""
    versions: Mapping[str, int] = field(default_factory=dict)
    """Delta version by table written."""
    refused: str | None = None
    """Why the candidate was refused; None when it was not."""


@dataclass(frozen=True)
class StageRecord:
    """One finished stage of one cycle."""

    stage: str
    inputs_digest: str
    """Digest of `inputs`, the first 16 hexadecimal digits of its SHA-256."""
    inputs: Mapping[str, Any]
    """What the result is a function of, as plain values."""
    versions: Mapping[str, int]
    """Delta version by table written."""
    figures: Any
    """A dataclass of `pipeline.cycle.figures` or `spark_jobs.figures`."""
    refused: str | None
    """Why the candidate was refused; None when it was not."""
    seconds: float
    started_at: str
    """Wall clock, UTC, for people; no stage reads it."""
    peak_megabytes: float
    code_revision: str = "unknown"
    """Git commit that it ran at. A change of the code alone makes no stage run again."""
    spark: SparkWork | None = None
    """What Spark's tasks read, wrote and shuffled; None for a stage without Spark, and in records from before this was
    kept."""


Records = Mapping[str, StageRecord]
"""Finished stages of one cycle, by name."""


def table_versions(records: Records) -> dict[str, int]:
    """Delta version by table, of all that the records wrote; a later record wins."""
    return {table: version for record in records.values() for table, version in record.versions.items()}


def read_records(folder: Path) -> dict[str, StageRecord]:
    """Every finished stage of a cycle, by name, in the order in which they started.

    Raises RecordFormatError for a record of a later revision.
    """
    contents = (upgrade_record(json.loads(path.read_text())) for path in folder.glob("stage-*.json"))
    records = [_typed(content) for content in contents if content is not None]
    return {record.stage: record for record in sorted(records, key=lambda record: record.started_at)}


def write_record(folder: Path, record: StageRecord) -> None:
    """Marks a stage as done."""
    content = {"format": FORMAT, "figures_type": type(record.figures).__name__, **asdict(record)}
    content["figures"] = plain_figures(record.figures)
    write_atomically(folder / f"stage-{record.stage}.json", json.dumps(content, indent=1))


def plain_figures(figures: Any) -> dict[str, Any]:
    """Figures as plain JSON values. Raises ValueError when they hold a number that is not finite."""
    plain = _adapter(type(figures)).dump_python(figures, mode="json")
    json.dumps(plain, allow_nan=False)
    return plain


def typed_figures(kind: str, content: Mapping[str, Any]) -> Any:
    """Figures from plain JSON values and the name of their class."""
    return _adapter(_classes()[kind]).validate_python(content)


def _typed(content: Mapping[str, Any]) -> StageRecord:
    values = {key: value for key, value in content.items() if key not in ("format", "figures_type")}
    values["figures"] = typed_figures(content["figures_type"], content["figures"])
    if values.get("spark") is not None:
        values["spark"] = _adapter(SparkWork).validate_python(values["spark"])
    return StageRecord(**values)


@cache
def _classes() -> dict[str, type]:
    """Every class of figures, by name."""
    return {
        name: value
        for module in (stage_figures, job_figures)
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


@cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)
