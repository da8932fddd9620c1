"""Decides a cycle: its cutoff, what it continues and what it is compared with; lands the source's files.

    python -m pipeline resolve --source my.toml --cutoff 2026-03-01

Reads the registry (accepted versions, the champion) and the weights and records of the version that it
continues. Leaves `cycle.json` in the cycle's folder, the source's files in the landing folder, and the
source's lease in the cycle's hands. What a later stage would only find out after minutes of Spark (an
unreachable registry, altered weights) is checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from expectations.crash_points import reach
from expectations.wording import listing
from pipeline.config import Config, parse_stored
from pipeline.cycle import accepted, identity
from pipeline.cycle.definition import (
    AcceptedVersion,
    Cycle,
    CycleError,
    cycle_name,
    read_cycle,
    write_cycle,
)
from pipeline.cycle.meaning import changed
from pipeline.settings import Settings
from pipeline.sources import land


def resolve(
    config: Config,
    cutoff: datetime,
    settings: Settings,
    *,
    run_type: str = "manual",
    cold_start: bool = False,
    say: Callable[[str], None] = print,
) -> Cycle:
    """The stage: checks the registry, lands the source's files and pins the cycle.

    The caller holds the source's lease. Raises IdentityError, RegistryError, SourceError or CycleError, each with what
    to do.
    """
    from pipeline.registry import tracking

    identity.claim(config, settings)
    reach("after-claim")
    tracking.check(settings, config.source.name)
    land(config.source.name, settings, say)
    reach("after-landed")
    cycle = pin_cycle(config, cutoff, settings, run_type=run_type, cold_start=cold_start)
    if cycle.parent is None and cycle.reference is not None:
        names = changed(accepted.configuration(settings, cycle.source, cycle.reference), config)
        if names:
            say(f"{listing(names)} changed since cycle {cycle.reference.cycle}: a new lineage begins")
    say(
        f"cycle {cycle.name} of {cycle.source}: split {cycle.split:%Y-%m-%d %H:%M}, "
        f"cutoff {cycle.cutoff:%Y-%m-%d %H:%M} UTC, {cycle.origin}"
    )
    return cycle


def resolve_cycle(
    *,
    cutoff: str | None = None,
    run_type: str = "manual",
    interval_start: str | None = None,
    interval_end: str | None = None,
) -> datetime:
    """The cutoff of a run, a UTC instant: the one place where it is decided.

    A date D means D 00:00 UTC. A manual run names its cutoff; a scheduled or backfilled run takes the
    end of its data interval unless a cutoff was given. Raises CycleError where none is known.
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
    cutoff: datetime, window: timedelta, versions: list[AcceptedVersion], champion: int | None
) -> AcceptedVersion | None:
    """The version that a cycle continues: the champion if its cycle is earlier, else the accepted version
    with the latest earlier cutoff (of equals the highest number).

    None when no earlier version was accepted whose training ended before this cycle's window.
    """
    # Where the window has grown, an earlier cycle's split can lie after this one's.
    earlier = [version for version in _before(cutoff, versions) if version.split < cutoff - window]
    for version in earlier:
        if version.version == champion:
            return version
    return max(earlier, key=lambda version: (version.cycle, version.version), default=None)


def _before(cutoff: datetime, versions: list[AcceptedVersion]) -> list[AcceptedVersion]:
    return [version for version in versions if version.cycle < cycle_name(cutoff)]


def pin_cycle(
    config: Config,
    cutoff: datetime,
    settings: Settings,
    *,
    run_type: str = "manual",
    cold_start: bool = False,
) -> Cycle:
    """The cycle with this cutoff: read back if it was resolved before, else decided and written now.

    A changed window length and a changed meaning of the inputs decide again. Once a cycle was run as a backfill it stays one: a backfill
    never moves the live alias. Raises CycleError when the parent's files are missing or altered, or when
    every earlier version was trained on events of this window, unless `cold_start` is given.
    """
    source, window = config.source.name, timedelta(days=config.schedule.window_days)
    resolved = read_cycle(settings, source, cycle_name(cutoff))
    holds = resolved is not None and (resolved.cold_start, resolved.cycle.window) == (cold_start, window)
    if holds and not changed(parse_stored(resolved.configuration, "the resolved cycle"), config):
        cycle = resolved.cycle
        if run_type == "backfill":
            cycle = replace(cycle, run_type=run_type)
    else:
        cycle = _decide(config, cutoff, window, settings, run_type, cold_start)
    write_cycle(settings, cycle, config, cold_start)
    return cycle


def _decide(
    config: Config, cutoff: datetime, window: timedelta, settings: Settings, run_type: str, cold_start: bool
) -> Cycle:
    from pipeline.registry import tracking

    source = config.source.name
    versions = tracking.accepted_versions(settings, source)
    reference = choose_parent(cutoff, window, versions, tracking.champion_version(settings, source))
    before = _before(cutoff, versions)
    from_scratch = cold_start or _is_scratch_turn(config, len(before))
    if reference is None and before and not from_scratch:
        last = max(version.split for version in before)
        raise CycleError(
            f"every earlier version was trained on events of this cycle's window, which begins "
            f"{cutoff - window:%Y-%m-%d} (the last saw all up to {last:%Y-%m-%d}; schedule.window_days has "
            f"grown); pass a cutoff after {last + window:%Y-%m-%d}, or train from scratch with --cold-start"
        )
    if reference is not None:
        try:
            check_files(reference, settings, source)
        except CycleError:
            if not cold_start:
                raise
            reference = None  # its files are lost, so there is nothing to compare with
    parent = None if from_scratch else reference
    if parent is not None and changed(accepted.configuration(settings, source, parent), config):
        parent = None  # its weights would misread today's inputs
    return Cycle(source, cutoff, window, parent, reference, run_type)


def check_files(version: AcceptedVersion, settings: Settings, source: str) -> None:
    """Raises CycleError unless the version's weights and records are present and unaltered."""
    from model.evaluation.names import CANDIDATE
    from model.training.checkpoint import WEIGHTS, digest_of_weights

    advice = "restore them, or train from scratch with --cold-start"
    folder = accepted.model_folder(settings, source, version, CANDIDATE)
    if not (folder / WEIGHTS).exists():
        raise CycleError(
            f"version {version.version} is registered but its weights are missing in {folder}; {advice}"
        )
    if digest_of_weights(folder) != version.checkpoint_digest:
        raise CycleError(f"the weights of version {version.version} in {folder} were altered; {advice}")
    kept = (folder.parent / "cycle.json").exists()
    if not kept or "vocabulary" not in accepted.records(settings, source, version):
        raise CycleError(f"the records of version {version.version} are missing in {folder.parent}; {advice}")


def _is_scratch_turn(config: Config, accepted_before: int) -> bool:
    every = config.schedule.from_scratch_every
    return every > 0 and accepted_before > 0 and accepted_before % every == 0
