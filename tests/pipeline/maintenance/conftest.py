"""A home with five cycles, each with a version of `events` of its own: registered, refused, unfinished, refused, newest."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from pipeline.config import Config, MaintenanceConfig
from pipeline.cycle import accepted
from pipeline.cycle.definition import Cycle, write_cycle
from pipeline.cycle.figures import ReportFigures
from pipeline.cycle.records import StageRecord, write_record
from pipeline.registry import tracking
from pipeline.settings import Settings
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from tests.factories import WINDOW, events_frame, tiny_config
from tests.pipeline.registered import promoting

CUTOFFS = tuple(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=10 * number) for number in range(5))
REGISTERED, REFUSED, UNFINISHED, LATE, NEWEST = (cutoff.date().isoformat() for cutoff in CUTOFFS)
DIGEST = "ab" * 32


@dataclass
class Home:
    """The home, and what the command says."""

    spark: SparkSession
    settings: Settings
    config: Config
    versions: dict[str, int] = field(default_factory=dict)
    """Version of `events` by cycle."""
    lines: list[str] = field(default_factory=list)

    def users(self, version: int | None = None) -> list[str]:
        rows = delta.read(self.spark, self.settings.lake, "tiny", EVENTS, version).collect()
        return sorted(row["user_id"] for row in rows)

    def files(self) -> set[str]:
        """Every data file of the lake."""
        return {str(path) for path in Path(self.settings.lake).rglob("*.parquet") if "_log" not in str(path)}

    def checkpoint(self, cycle: str) -> Path:
        return self.settings.checkpoint_folder("tiny", cycle, "candidate") / "model.safetensors"

    def page(self, cycle: str) -> Path:
        return self.settings.report_folder("tiny", cycle) / "cycle.html"

    def with_options(self, **options: object) -> Config:
        return self.config.model_copy(update={"maintenance": MaintenanceConfig(**options)})


@pytest.fixture
def tidy(spark, home) -> Home:
    made = Home(spark, home, tiny_config())
    for number, cutoff in enumerate(CUTOFFS):
        _run_cycle(made, cutoff, f"u{number}")
    cycle = Cycle("tiny", CUTOFFS[0], WINDOW, None)
    accepted.keep(home, cycle, DIGEST)
    context = promoting(home, CUTOFFS[0], version=0)
    lineage = {"cycle": REGISTERED, "split": cycle.split.isoformat(), "checkpoint_digest": DIGEST}
    lineage["table_versions"] = {"events": made.versions[REGISTERED]}
    tracking.create_version(context, f"runs:/{tracking.run_id(context)}/model", lineage, "note")
    # The registered cycle ran again since: its folder tells of later versions than the registered one has.
    _run_cycle(made, CUTOFFS[0], "again", note=False)
    _run_cycle(made, CUTOFFS[-1], "newest")
    files = [(name, f"{name}.jsonl", 1, 1, 0, 1, "d.d", cycle, 0, None) for name, cycle in _FILES]
    refused = [(name, f"{name}.jsonl", 1, "secret", "not valid JSON") for name, _ in _FILES]
    for table, rows in ((INGESTED_FILES, files), (REJECTED_EVENTS, refused)):
        whole = [(*row, *[None] * (len(table.columns) - len(row))) for row in rows]
        delta.replace(spark, local_rows(spark, whole, table.ddl), table, home.lake, "tiny", "true")
    return made


_FILES = (("old", REFUSED), ("young", NEWEST))


def _run_cycle(made: Home, cutoff: datetime, user: str, note: bool = True) -> None:
    """Replaces `events` by one event, and leaves what a cycle would."""
    cycle, settings = Cycle("tiny", cutoff, WINDOW, None), made.settings
    version = delta.replace(
        made.spark, events_frame(made.spark, [(user, "i1", 5)]), EVENTS, settings.lake, "tiny", "true"
    )
    if note:
        made.versions[cycle.name] = version
    write_cycle(settings, cycle, made.config, cold_start=False)
    folder, at = settings.cycle_folder("tiny", cycle.name), datetime.now(UTC)
    stages = ("events",) if cycle.name == UNFINISHED else ("events", "report")
    for place, stage in enumerate(stages):
        started = (at + timedelta(microseconds=place)).isoformat()
        reads = {"events": ["events", "d", version], "report": ["report", "d", None]} if place else {}
        writes = {} if place else {"events": version}
        figures = ReportFigures("refused", "Refused", "cycle.html")
        record = StageRecord(stage, "d", {"reads": reads}, writes, figures, None, 1.0, started, 1.0)
        write_record(folder, record)
    for path in (made.checkpoint(cycle.name), made.page(cycle.name)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
