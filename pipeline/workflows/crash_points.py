"""Every point at which a stage can be told to end (`expectations.crash_points`), from what the map says it writes."""

from __future__ import annotations

from collections.abc import Iterable

from expectations import crash_points
from expectations.tables import TABLES
from pipeline.workflows.refresh_cycle import MAX_RUNGS, refresh_cycle
from pipeline.workflows.stage import Stage

_OF_ARTIFACT = {
    "cycle record": ("after-claim", "after-landed", "before-cycle", "after-cycle"),
    "expectation report": ("after-page", "after-passed"),
    "checkpoint": (
        "before-partial",
        "inside-partial",
        "after-partial",
        "before-weights",
        "after-weights",
        "after-moments",
        "after-state",
    ),
    "registered version": ("inside-kept", "after-kept", "after-logged", "after-version", "after-challenger"),
    "alias": ("after-history", "after-champion"),
    "report": ("after-report", "after-runs"),
}
_OF_RECORD = ("before-record", "after-record")


class CrashPointError(ValueError):
    """A point that does not exist; the message lists those that do."""


def points_of(stage: Stage) -> tuple[str, ...]:
    """The points of one stage, `stage:point`."""
    names: list[str] = []
    for what in stage.writes:
        names += (f"before-{what}", f"after-{what}") if what in TABLES else _OF_ARTIFACT.get(what, ())
    # `resolve` runs before there are records.
    names += _OF_RECORD if stage.after else ()
    return tuple(f"{stage.name}:{name}" for name in names)


def points(stages: Iterable[Stage]) -> tuple[str, ...]:
    """The points of several stages, in their order."""
    return tuple(point for stage in stages for point in points_of(stage))


def check() -> None:
    """Raises CrashPointError when this process is told to end at a point that no stage has."""
    wanted = crash_points.wanted()
    if wanted is None:
        return
    known = points(refresh_cycle(["any size"] * MAX_RUNGS))
    if wanted not in known:
        raise CrashPointError(
            f"{crash_points.VARIABLE} is {wanted!r}, which is no point of a stage; the points are {', '.join(known)}"
        )
