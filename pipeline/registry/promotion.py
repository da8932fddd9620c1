"""Moves the live alias by hand: to any registered version, or back to the previous champion."""

from __future__ import annotations

from expectations.crash_points import reach
from pipeline.registry import tracking
from pipeline.settings import Settings


class PromotionError(ValueError):
    """An alias that cannot be moved; the message says why."""


def promote_version(settings: Settings, source: str, version: int) -> str:
    """Makes a registered version the champion. Raises PromotionError when there is no such version.

    Killed at any moment and called again, it has the same result.
    """
    known = sorted(one.version for one in tracking.accepted_versions(settings, source))
    if version not in known:
        raise PromotionError(f"{source} has no version {version}; its versions are {known or 'none'}")
    live = tracking.champion_version(settings, source)
    if live == version:
        return f"version {version} is the champion already"
    history = tracking.champion_history(settings, source)
    past = history if live is None else [*_before(history, live), live]
    while past[-1:] == [version]:
        past.pop()  # left by a first promotion that was killed before it set the alias
    # The history first: entries after the live version are ignored, so a kill here does no harm.
    tracking.set_champion_history(settings, source, [*past, version])
    reach("after-history")
    tracking.set_alias(settings, source, tracking.CHAMPION_ALIAS, version)
    reach("after-champion")
    return f"version {version} of {source} is champion now" + (f", after version {live}" if live else "")


def rollback(settings: Settings, source: str) -> str:
    """Makes the previous champion live again. Raises PromotionError when there is none.

    If the live version is not in the history (the alias was moved in MLflow), the last champion of the
    history becomes live, and the answer says so. Killed before the alias has moved and called again, it has
    the same result.
    """
    live = tracking.champion_version(settings, source)
    if live is None:
        raise PromotionError(f"{source} has no champion to roll back")
    history = tracking.champion_history(settings, source)
    past = [version for version in _before(history, live) if version != live]
    if not past:
        raise PromotionError(
            f"{source} has had no champion before version {live} (its history is {history}); nothing to "
            f"roll back to; name a champion by hand (python -m pipeline promote VERSION --source {source})"
        )
    # The history first, without the live version: a second call after a kill here has the same result.
    tracking.set_champion_history(settings, source, past)
    tracking.set_alias(settings, source, tracking.CHAMPION_ALIAS, past[-1])
    answer = f"version {past[-1]} of {source} is champion again, version {live} is not"
    if live not in history:
        answer += f"; version {live} was not in the history of champions {history}, so its last was taken"
    return answer


def _before(history: list[int], version: int) -> list[int]:
    """The champions before the version's last turn; the whole history if it never was champion."""
    turns = [place for place, champion in enumerate(history) if champion == version]
    return history[: turns[-1]] if turns else history
