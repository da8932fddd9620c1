"""The packaged sources: one module for each open data set, with its mapping, tuned values and landing."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.settings import Settings
from pipeline.sources import ifdb, kuairand, kuairand_history, movielens_100k, movietweetings
from pipeline.sources.definition import SourceDefinition, SourceError

SOURCES: dict[str, SourceDefinition] = {
    definition.config.name: definition
    for definition in (
        movielens_100k.SOURCE,
        ifdb.SOURCE,
        kuairand.SOURCE,
        kuairand_history.SOURCE,
        movietweetings.SOURCE,
    )
}
"""Every packaged source by its name."""


def packaged(name: str) -> SourceDefinition:
    """The packaged source with this name. Raises SourceError, naming the packaged sources."""
    if name not in SOURCES:
        raise SourceError(f"there is no packaged source {name!r}; the packaged ones are {', '.join(SOURCES)}")
    return SOURCES[name]


def land(name: str, settings: Settings, say: Callable[[str], None]) -> None:
    """Puts a packaged source's raw files into the landing zone; does nothing for another source, whose
    files are there already. Raises SourceError."""
    if name in SOURCES:
        SOURCES[name].land(settings, say)


__all__ = ["SOURCES", "SourceDefinition", "SourceError", "land", "packaged"]
