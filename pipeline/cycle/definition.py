"""What a cycle is, and the record that pins it: cutoff, split, window, parent.

Everything a cycle does is a function of its configuration, its cutoff, the versions of its input
tables and its parent. All of these are fixed in `cycle.json` at the cycle's first run, so that a
rerun or a backfill never meets itself or its future.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from model.evaluation.names import CANDIDATE
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.records import write_atomically
from pipeline.settings import Settings


class CycleError(ValueError):
    """A cycle that cannot be resolved; the message says what to pass or to mend."""


@dataclass(frozen=True)
class Parent:
    """An accepted version: what a cycle is fine-tuned from, or compared with."""

    version: int
    """Registered version of the source's model."""
    cycle: str
    """Cycle that made it."""
    split: datetime
    checkpoint_digest: str
    """SHA-256 of its `model.safetensors`."""


@dataclass(frozen=True)
class Cycle:
    """One refresh cycle, named by its cutoff. All instants are UTC."""

    source: str
    cutoff: datetime
    window: timedelta
    parent: Parent | None
    """What training starts from. None: a cold start."""
    champion: Parent | None = None
    """What the candidate is compared with: the parent, and on a planned start from scratch the
    version that would have been the parent. None: the first cycle."""
    run_type: str = "manual"
    """`manual`, `scheduled` or `backfill`; a backfill never moves the live alias."""

    @property
    def before(self) -> Parent | None:
        """The version whose items and tokens this cycle continues: a start from scratch continues them
        too, since the champion that it is compared with reads the same tokens."""
        return self.parent or self.champion

    @property
    def split(self) -> datetime:
        return self.cutoff - self.window

    @property
    def name(self) -> str:
        """The cutoff as a name that sorts by time: `2026-03-01`, or `2026-03-01T0600`."""
        return cycle_name(self.cutoff)


def cycle_name(cutoff: datetime) -> str:
    """Name of the cycle with this cutoff; finer than a minute is refused by `resolve_cycle`."""
    return cutoff.strftime("%Y-%m-%d" if cutoff.time() == time() else "%Y-%m-%dT%H%M")


def resolve_cycle(
    *,
    cutoff: str | None = None,
    run_type: str = "manual",
    interval_start: str | None = None,
    interval_end: str | None = None,
) -> datetime:
    """The cutoff of a run, a UTC instant: the one place where it is decided.

    A date D means D 00:00 UTC. A manual run names its cutoff; a scheduled or backfilled run has
    the end of its data interval, unless a form named one. Raises CycleError where none is known.
    """
    if cutoff:
        return _instant(cutoff, "cutoff")
    if run_type in ("scheduled", "backfill"):
        end = _instant(interval_end, "interval end") if interval_end else None
        start = _instant(interval_start, "interval start") if interval_start else None
        if end is not None and (start is None or start < end):
            return end
        raise CycleError(
            f"this {run_type} run has no data interval (start {interval_start}, end {interval_end}); "
            "give the schedule an interval, or pass a cutoff date"
        )
    raise CycleError(
        "a manual run needs a cutoff: pass --cutoff 2026-03-01, or fill in the form's cutoff date"
    )


def _instant(text: str, what: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CycleError(f"{what} {text!r} is not a date; pass for instance 2026-03-01") from None
    instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    if instant.second or instant.microsecond:
        raise CycleError(f"{what} {text!r} is finer than a minute; pass a date or an hour and minute")
    return instant


def choose_parent(
    cutoff: datetime, window: timedelta, versions: list[Parent], champion: int | None
) -> Parent | None:
    """The version a cycle continues: the champion if its cycle is earlier, else the accepted version
    of the latest earlier cycle (of equals the highest number). None: nothing was accepted before that
    knows nothing of this cycle's window."""
    # Where the window has grown, an earlier cycle's split can lie after this one's.
    earlier = [version for version in _before(cutoff, versions) if version.split < cutoff - window]
    for version in earlier:
        if version.version == champion:
            return version
    return max(earlier, key=lambda version: (version.cycle, version.version), default=None)


def _before(cutoff: datetime, versions: list[Parent]) -> list[Parent]:
    return [version for version in versions if version.cycle < cycle_name(cutoff)]


def check_parent(parent: Parent, settings: Settings, source: str) -> None:
    """Raises CycleError unless the parent's weights and records are present and unaltered."""
    from model.training.checkpoint import digest_of_weights

    advice = "restore them, or start anew with --cold-start"
    folder = accepted.model_folder(settings, source, parent, CANDIDATE)
    if not (folder / "model.safetensors").exists():
        raise CycleError(
            f"version {parent.version} is registered but its weights are missing in {folder}; {advice}"
        )
    if digest_of_weights(folder) != parent.checkpoint_digest:
        raise CycleError(f"the weights of version {parent.version} in {folder} were altered; {advice}")
    if "vocabulary" not in accepted.records(settings, source, parent):
        raise CycleError(f"the records of version {parent.version} are missing in {folder.parent}; {advice}")


def resolve(
    config: Config,
    cutoff: datetime,
    settings: Settings,
    *,
    run_type: str = "manual",
    cold_start: bool = False,
) -> Cycle:
    """The cycle with this cutoff: read back when it ran before, else pinned now.

    A window of another length pins it anew. A backfill stays one when it is run again, and makes one of
    a cycle that began otherwise: it never moves the live alias. Raises CycleError when the chain to the parent is broken, or
    every earlier version was trained on events of this window, and `cold_start` was not asked for.
    """
    from pipeline.registry import tracking

    source, window = config.source.name, timedelta(days=config.schedule.window_days)
    record = read_cycle(settings, source, cycle_name(cutoff))
    pinned = record and (record["cold_start"], record["window_seconds"])
    if pinned == (cold_start, window.total_seconds()):
        cycle = _from_json(record)
        if run_type == "backfill":
            cycle = replace(cycle, run_type=run_type)
    else:
        versions = tracking.accepted_versions(settings, source)
        champion = choose_parent(cutoff, window, versions, tracking.champion_version(settings, source))
        before = _before(cutoff, versions)
        scratch = cold_start or _is_scratch_turn(config, len(before))
        if champion is None and before and not scratch:
            last = max(version.split for version in before)
            raise CycleError(
                f"every earlier version was trained on events of this cycle's window, which begins "
                f"{cutoff - window:%Y-%m-%d} (the last saw all up to {last:%Y-%m-%d}; schedule.window_days has "
                f"grown); pass a cutoff after {last + window:%Y-%m-%d}, or start anew with --cold-start"
            )
        if champion is not None:
            try:
                check_parent(champion, settings, source)
            except CycleError:
                if not cold_start:
                    raise
                champion = None  # nothing to compare with is left
        cycle = Cycle(source, cutoff, window, None if scratch else champion, champion, run_type)
    _write(cycle, config, settings, cold_start)
    return cycle


def _is_scratch_turn(config: Config, accepted_before: int) -> bool:
    every = config.schedule.from_scratch_every
    return every > 0 and accepted_before > 0 and accepted_before % every == 0


def read_cycle(settings: Settings, source: str, name: str) -> dict[str, Any] | None:
    """The content of a cycle's `cycle.json`; None when it never ran."""
    path = settings.cycle_folder(source, name) / "cycle.json"
    return json.loads(path.read_text()) if path.exists() else None


def load_cycle(settings: Settings, source: str, name: str) -> Cycle:
    """A cycle that was resolved before. Raises CycleError when it was not."""
    record = read_cycle(settings, source, name)
    if record is None:
        raise CycleError(f"cycle {name} of {source} was never resolved; run the stage `resolve` first")
    return _from_json(record)


def _write(cycle: Cycle, config: Config, settings: Settings, cold_start: bool) -> None:
    content = {
        "source": cycle.source,
        "cutoff": cycle.cutoff.isoformat(),
        "split": cycle.split.isoformat(),
        "window_seconds": cycle.window.total_seconds(),
        "parent": _plain(cycle.parent),
        "champion": _plain(cycle.champion),
        "run_type": cycle.run_type,
        "cold_start": cold_start,
        "configuration_digest": config.digest,
        "configuration": config.model_dump(mode="json"),
    }
    path = settings.cycle_folder(cycle.source, cycle.name) / "cycle.json"
    text = json.dumps(content, indent=1)
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text)


def _plain(parent: Parent | None) -> dict[str, Any] | None:
    return None if parent is None else {**asdict(parent), "split": parent.split.isoformat()}


def _parent(content: dict[str, Any] | None) -> Parent | None:
    return (
        None if content is None else Parent(**{**content, "split": datetime.fromisoformat(content["split"])})
    )


def _from_json(record: dict[str, Any]) -> Cycle:
    return Cycle(
        source=record["source"],
        cutoff=datetime.fromisoformat(record["cutoff"]),
        window=timedelta(seconds=record["window_seconds"]),
        parent=_parent(record["parent"]),
        champion=_parent(record["champion"]),
        run_type=record["run_type"],
    )


def cutoff_of(day: date) -> datetime:
    """Midnight UTC of a date."""
    return datetime.combine(day, time(), tzinfo=UTC)
