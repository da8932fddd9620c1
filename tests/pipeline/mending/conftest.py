"""A home with a resolved cycle over a landed log of a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import Row, SparkSession

from expectations.tables import EVENTS, REJECTED_EVENTS
from pipeline.config import Config
from pipeline.cycle.corrections import Said
from pipeline.cycle.definition import Cycle, write_cycle
from pipeline.mending.files import mending_job
from pipeline.settings import Settings
from spark_jobs import events
from spark_jobs.config import EventMapping, SourceConfig
from tests.factories import CUTOFFS, WINDOW, tiny_config
from tests.spark_jobs.landed import content

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
WHY = Said("ann@host", "2026-03-01T00:00:00+00:00", "asked")


@dataclass
class Log:
    """A source whose events are JSON lines with columns `u`, `i`, `t`."""

    spark: SparkSession
    settings: Settings
    landing: Path
    config: Config
    lines: list[str] = field(default_factory=list)
    """What a command said."""

    def mapped(self, **events: object) -> Config:
        """The configuration with another mapping."""
        source = self.config.source
        changed = source.model_copy(update={"events": source.events.model_copy(update=events)})
        return self.config.model_copy(update={"source": changed})

    def ingest(self, config: Config | None = None) -> None:
        """What the next cycle's stage `events` does."""
        events.main(self.spark, mending_job(config or self.config, self.settings))

    @property
    def users(self) -> list[str]:
        """Users of stored events."""
        return sorted(row["user_id"] for row in self._rows(EVENTS))

    @property
    def refused(self) -> list[tuple[str, str, str]]:
        """File, text and reason of refused lines."""
        return [(row["file_path"], row["raw"], row["reason"]) for row in self._rows(REJECTED_EVENTS)]

    def _rows(self, table) -> list[Row]:
        return content(self.spark, mending_job(self.config, self.settings), table)


@pytest.fixture
def log(spark, home, tmp_path) -> Log:
    landing = tmp_path / "landing"
    landing.mkdir()
    mapping = EventMapping(files=("*.jsonl", "*.jsonl.gz"), format="jsonl", user="u", item="i", time="t")
    source = SourceConfig(name="films", landing=str(landing), events=mapping)
    config = tiny_config().model_copy(update={"source": source})
    write_cycle(home, Cycle("films", CUTOFFS[0], WINDOW, None), config, cold_start=False)
    return Log(spark, home, landing, config)


@pytest.fixture
def event():
    """A function (user, other columns) → a line of the log."""
    return lambda user, **columns: {"u": user, "i": "1", "t": T} | columns
