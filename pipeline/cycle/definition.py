"""What a cycle is: its cutoff, split and window, and the versions it continues.

Everything a cycle does is a function of its configuration, its cutoff, the versions of its input
tables and its parent. `pipeline.stages.resolve` decides these once and pins them in `cycle.json`, so
that a rerun or a backfill never meets itself or its future.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from expectations.crash_points import reach
from expectations.files import write_atomically
from pipeline.config import Config
from pipeline.cycle.formats import FORMAT, upgrade_cycle
from pipeline.settings import Settings


class CycleError(ValueError):
    """A cycle that cannot be resolved or loaded; the message says what to pass or to repair."""


@dataclass(frozen=True)
class AcceptedVersion:
    """A registered version of a source's model: what a cycle is fine-tuned from or compared with."""

    version: int
    """Registered version of the source's model."""
    cycle: str
    """Name of the cycle that made it."""
    split: datetime
    """Split of that cycle; the version has seen every event up to it."""
    checkpoint_digest: str
    """SHA-256 of its `model.safetensors`."""


@dataclass(frozen=True)
class Cycle:
    """One refresh cycle, named by its cutoff. All instants are UTC."""

    source: str
    cutoff: datetime
    window: timedelta
    """W, the length of the evaluation window."""
    parent: AcceptedVersion | None
    """What training starts from. None: from scratch."""
    reference: AcceptedVersion | None = None
    """What the candidate is compared with, and whose vocabulary and item numbers it continues: the parent,
    or on a planned start from scratch the version that would have been the parent. None: the first cycle."""
    run_type: str = "manual"
    """`manual`, `scheduled` or `backfill`; a backfill never moves the live alias."""

    @property
    def split(self) -> datetime:
        """End of the training labels and start of the evaluation window."""
        return self.cutoff - self.window

    @property
    def origin(self) -> str:
        """What training starts from, for people."""
        if self.parent is None:
            return "trained from scratch"
        return f"fine-tuned from version {self.parent.version} (cycle {self.parent.cycle})"

    @property
    def name(self) -> str:
        """The cutoff as a name that sorts by time: `2026-03-01`, or `2026-03-01T0600`."""
        return cycle_name(self.cutoff)


def cycle_name(cutoff: datetime) -> str:
    """Name of the cycle with this cutoff, to the minute (`resolve_cycle` refuses anything finer)."""
    return cutoff.strftime("%Y-%m-%d" if cutoff.time() == time() else "%Y-%m-%dT%H%M")


def cutoff_of(day: date) -> datetime:
    """Midnight UTC at the start of a date."""
    return datetime.combine(day, time(), tzinfo=UTC)


@dataclass(frozen=True)
class ResolvedCycle:
    """The content of a cycle's `cycle.json`."""

    cycle: Cycle
    cold_start: bool
    """Whether the caller wanted a start from scratch."""
    configuration: dict[str, Any]
    """The configuration it was resolved with, as plain values."""


def read_cycle(settings: Settings, source: str, name: str) -> ResolvedCycle | None:
    """The record of a resolved cycle; None when it was never resolved."""
    path = settings.cycle_folder(source, name) / "cycle.json"
    return read_cycle_file(path) if path.exists() else None


def read_cycle_file(path: Path) -> ResolvedCycle:
    """The record of a resolved cycle from its `cycle.json`."""
    content = upgrade_cycle(json.loads(path.read_text()))
    cycle = Cycle(
        source=content["source"],
        cutoff=datetime.fromisoformat(content["cutoff"]),
        window=timedelta(seconds=content["window_seconds"]),
        parent=_version(content["parent"]),
        reference=_version(content["reference"]),
        run_type=content["run_type"],
    )
    return ResolvedCycle(cycle, content["cold_start"], content["configuration"])


def load_cycle(settings: Settings, source: str, name: str) -> Cycle:
    """A resolved cycle. Raises CycleError when it was never resolved."""
    resolved = read_cycle(settings, source, name)
    if resolved is None:
        raise CycleError(f"cycle {name} of {source} was never resolved; run the stage `resolve` first")
    return resolved.cycle


def write_cycle(settings: Settings, cycle: Cycle, config: Config, cold_start: bool) -> None:
    """Pins a cycle; a record that would not change is left alone."""
    content = {
        "format": FORMAT,
        "source": cycle.source,
        "cutoff": cycle.cutoff.isoformat(),
        "split": cycle.split.isoformat(),
        "window_seconds": cycle.window.total_seconds(),
        "parent": _plain(cycle.parent),
        "reference": _plain(cycle.reference),
        "run_type": cycle.run_type,
        "cold_start": cold_start,
        "configuration_digest": config.digest,
        "configuration": config.model_dump(mode="json"),
    }
    path = settings.cycle_folder(cycle.source, cycle.name) / "cycle.json"
    text = json.dumps(content, indent=1)
    if not path.exists() or path.read_text() != text:
        reach("before-cycle")
        write_atomically(path, text)
        reach("after-cycle")


def _plain(version: AcceptedVersion | None) -> dict[str, Any] | None:
    return None if version is None else {**asdict(version), "split": version.split.isoformat()}


def _version(content: dict[str, Any] | None) -> AcceptedVersion | None:
    if content is None:
        return None
    return AcceptedVersion(**{**content, "split": datetime.fromisoformat(content["split"])})
