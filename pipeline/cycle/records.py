"""The record of a cycle: what each finished stage read, wrote and measured, one JSON file a stage.

A stage whose record carries the same inputs digest is done and is not run again; a record is
written last and atomically, so that a stage killed at any moment leaves either a whole record or
none. Everything a later reader needs (table versions, figures, verdicts) is in these files.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import Config
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.cycle.definition import Cycle


@dataclass(frozen=True)
class StageResult:
    """What a stage function returns."""

    versions: dict[str, int] = field(default_factory=dict)
    """Delta version by table written."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Counts, measures and verdicts; plain JSON values, names carry their unit."""
    refused: str | None = None
    """Why the candidate was refused; None when it was not."""


@dataclass(frozen=True)
class StageRecord:
    """One finished stage of one cycle."""

    stage: str
    inputs_digest: str
    inputs: dict[str, Any]
    versions: dict[str, int]
    figures: dict[str, Any]
    refused: str | None
    seconds: float
    started_at: str
    """Wall clock, UTC, for people; no stage reads it."""
    peak_megabytes: float
    code_revision: str = "unknown"
    """Git commit that it ran at. A change of the code alone makes no stage run again."""


@dataclass(frozen=True)
class StageContext:
    """What a stage function is given."""

    config: Config
    cycle: Cycle
    settings: Settings
    records: dict[str, StageRecord]
    """Finished stages of this cycle, by name."""
    say: Callable[[str], None] = print
    """Shows one line of progress."""

    @property
    def versions(self) -> dict[str, int]:
        """Delta version of every table this cycle has written or pinned so far."""
        merged: dict[str, int] = {}
        for record in self.records.values():
            merged.update(record.versions)
        return merged

    def figures(self, stage: str) -> dict[str, Any]:
        """What an upstream stage recorded. Raises KeyError when it has not run."""
        return self.records[stage].figures

    def session(self) -> SparkSession:
        """The process's Spark session; made at first use."""
        from spark_jobs.lake.session import get_session

        return get_session(self.settings.spark_master, "reprise", str(self.settings.jars))


def write_atomically(path: Path, text: str) -> None:
    """Replaces a small file as one step: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_records(folder: Path) -> dict[str, StageRecord]:
    """Every finished stage of a cycle, by name, in the order they finished."""
    records = [StageRecord(**json.loads(path.read_text())) for path in folder.glob("stage-*.json")]
    return {record.stage: record for record in sorted(records, key=lambda record: record.started_at)}


def write_record(folder: Path, record: StageRecord) -> None:
    """Marks a stage as done."""
    write_atomically(folder / f"stage-{record.stage}.json", json.dumps(asdict(record), indent=1))
