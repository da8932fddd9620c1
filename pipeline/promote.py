"""Moves the live alias: automatically to a later cutoff, by hand to any version, back by rollback."""

from __future__ import annotations

from pipeline import tracking
from pipeline.records import StageContext, StageResult
from pipeline.settings import Settings


class PromotionError(ValueError):
    """An alias that cannot be moved; the message says why."""


def promote(context: StageContext) -> StageResult:
    """Makes this cycle's version the champion where the configuration lets it: promotion is
    automatic, the run is no backfill, and the live champion's cutoff is earlier."""
    settings, source = context.settings, context.cycle.source
    version = context.figures("register")["version"]
    refusal = _why_not(context, version)
    if refusal is None:
        context.say(promote_version(settings, source, version))
    else:
        context.say(refusal)
    live = tracking.champion_version(settings, source)
    return StageResult(
        figures={"version": version, "champion": live, "moved": refusal is None, "why": refusal or ""}
    )


def _why_not(context: StageContext, version: int) -> str | None:
    settings, cycle = context.settings, context.cycle
    if context.config.registry.promotion == "manual":
        return (
            f"version {version} stays challenger: promotion is by hand (python -m pipeline promote {version})"
        )
    if cycle.run_type == "backfill":
        return f"version {version} stays as it is: a backfill never moves the live alias"
    live = tracking.champion_version(settings, cycle.source)
    if live is None or live == version:
        return None
    champion = next(
        known for known in tracking.accepted_versions(settings, cycle.source) if known.version == live
    )
    if champion.cycle > cycle.name:
        return f"version {version} stays as it is: champion {live} has the later cutoff {champion.cycle}"
    return None


def promote_version(settings: Settings, source: str, version: int) -> str:
    """Makes a registered version the champion. Raises PromotionError when there is no such version."""
    known = sorted(one.version for one in tracking.accepted_versions(settings, source))
    if version not in known:
        raise PromotionError(f"{source} has no version {version}; its versions are {known or 'none'}")
    live = tracking.champion_version(settings, source)
    if live == version:
        return f"version {version} is the champion already"
    history = tracking.champion_history(settings, source)
    tracking.set_champion_history(settings, source, [*history, version])
    tracking.set_alias(settings, source, tracking.CHAMPION_ALIAS, version)
    return f"version {version} of {source} is champion now" + (f", after version {live}" if live else "")


def rollback(settings: Settings, source: str) -> str:
    """Makes the champion before the live one champion again. Raises PromotionError when there is none."""
    live = tracking.champion_version(settings, source)
    if live is None:
        raise PromotionError(f"{source} has no champion to roll back")
    history = tracking.champion_history(settings, source)
    while history and history[-1] == live:
        history.pop()
    if not history:
        raise PromotionError(
            f"version {live} is the only champion that {source} has had; nothing to roll back to"
        )
    tracking.set_alias(settings, source, tracking.CHAMPION_ALIAS, history[-1])
    tracking.set_champion_history(settings, source, history)
    return f"version {history[-1]} of {source} is champion again, version {live} is not"
