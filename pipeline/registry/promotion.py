"""Moves the live alias: to any registered version by hand, back by rollback."""

from __future__ import annotations

from pipeline.registry import tracking
from pipeline.settings import Settings


class PromotionError(ValueError):
    """An alias that cannot be moved; the message says why."""


def promote_version(settings: Settings, source: str, version: int) -> str:
    """Makes a registered version the champion. Raises PromotionError when there is no such version.

    Killed at any moment and called again, it ends the same way.
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
        past.pop()  # of a first promotion that was killed before it set the alias
    # The history first: what it holds after the live version never counts, so a kill here does no harm.
    tracking.set_champion_history(settings, source, [*past, version])
    tracking.set_alias(settings, source, tracking.CHAMPION_ALIAS, version)
    return f"version {version} of {source} is champion now" + (f", after version {live}" if live else "")


def rollback(settings: Settings, source: str) -> str:
    """Makes the champion before the live one champion again. Raises PromotionError when there is none.

    A live version that the history does not hold, as after a move of the alias by hand, gives way to
    the last champion there, and the answer says so. Killed at any moment before the alias has moved
    and called again, it ends the same way.
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
    # The history first, without the version that is left: called again after a kill here, it ends alike.
    tracking.set_champion_history(settings, source, past)
    tracking.set_alias(settings, source, tracking.CHAMPION_ALIAS, past[-1])
    answer = f"version {past[-1]} of {source} is champion again, version {live} is not"
    if live not in history:
        answer += f"; version {live} was not in the history of champions {history}, so its last was taken"
    return answer


def _before(history: list[int], version: int) -> list[int]:
    """The champions before the version's last turn; the whole history when it has had none."""
    turns = [place for place, champion in enumerate(history) if champion == version]
    return history[: turns[-1]] if turns else history
