"""Moves the live alias to this cycle's version, where it may move.

    python -m pipeline promote --source my.toml --cutoff 2026-03-01

Reads the records of `funnel` and `register`, and the registry. Leaves the alias `champion` on this cycle's
version, unless promotion is by hand, the champion could not be ranked, the run is a backfill, or the champion
has the same or a later cutoff.
"""

from __future__ import annotations

from pipeline.cycle import lease
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import FunnelFigures, PromoteFigures, RegisterFigures
from pipeline.cycle.records import StageResult
from pipeline.registry import tracking
from pipeline.registry.promotion import PromotionError, promote_version


def promote(context: StageContext) -> StageResult:
    """The stage. Raises PromotionError when the alias points at a version that no cycle registered."""
    settings, source = context.settings, context.cycle.source
    version = context.figures("register", RegisterFigures).version
    # A person may promote or roll back meanwhile.
    with lease.moving_alias(settings, source):
        reason = _why_not(context, version)
        context.say(promote_version(settings, source, version) if reason is None else reason)
        champion = tracking.champion_version(settings, source)
    return StageResult(PromoteFigures(version, champion, moved=reason is None, why=reason or ""))


def _why_not(context: StageContext, version: int) -> str | None:
    settings, cycle = context.settings, context.cycle
    if context.config.registry.promotion == "manual":
        return f"version {version} stays challenger: promotion is by hand (python -m pipeline promote {version} --source {cycle.source})"
    if cycle.run_type == "backfill":
        return f"version {version} stays as it is: a backfill never moves the live alias"
    by_hand = context.figures("funnel", FunnelFigures).by_hand
    if by_hand is not None:
        return f"version {version} stays challenger: {by_hand}; promote it by hand (python -m pipeline promote {version} --source {cycle.source})"
    live = tracking.champion_version(settings, cycle.source)
    if live is None or live == version:
        return None
    known = {one.version: one for one in tracking.accepted_versions(settings, cycle.source)}
    if live not in known:
        raise PromotionError(
            f"the champion alias of {cycle.source} points at version {live}, which no cycle registered; "
            f"name a champion among {sorted(known)} by hand (python -m pipeline promote {version} --source {cycle.source})"
        )
    champion = known[live]
    if champion.cycle >= cycle.name:
        than = "later" if champion.cycle > cycle.name else "same"
        return f"version {version} stays as it is: champion {live} has the {than} cutoff {champion.cycle}"
    return None
