"""The packaged sources: one module per open data set, each with its mapping and how it is landed."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.settings import Settings
from pipeline.sources import ifdb, kuairand, movielens_100k, movietweetings
from pipeline.sources.definition import SourceDefinition, SourceError

SOURCES: dict[str, SourceDefinition] = {
    definition.config.name: definition
    for definition in (movielens_100k.SOURCE, ifdb.SOURCE, kuairand.SOURCE, movietweetings.SOURCE)
}
"""Every packaged source by its name."""


def packaged(name: str) -> SourceDefinition:
    """The packaged source of that name. Raises SourceError with the names there are."""
    if name not in SOURCES:
        raise SourceError(f"there is no packaged source {name!r}; the packaged ones are {', '.join(SOURCES)}")
    return SOURCES[name]


def land(name: str, settings: Settings, say: Callable[[str], None]) -> None:
    """Puts a packaged source's raw files into the landing zone; a source of a person's own is landed
    already. Raises SourceError."""
    if name in SOURCES:
        SOURCES[name].land(settings, say)


__all__ = ["SOURCES", "SourceDefinition", "SourceError", "land", "packaged"]
