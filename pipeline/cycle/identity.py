"""Which log a source's name stands for: the files that its events come from.

Tables, records and versions are kept by name, so a second log of the same name would be mixed with the first.
A name keeps to its log as long as one of its file patterns, made absolute, is among those of its last cycle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.cycle import corrections
from pipeline.cycle.corrections import Said
from pipeline.settings import Settings


class IdentityError(ValueError):
    """A configuration that names another source's lake; the message says what to do."""


def places(settings: Settings, source: str, landing: str | None, patterns: list[str]) -> tuple[str, ...]:
    """Absolute patterns; those in the home folder begin with `REPRISE_HOME`, so that the home may move."""
    from spark_jobs.landing.listing import addresses

    home = f"{settings.home}/"
    found = addresses(landing or str(settings.landing(source)), patterns)
    return tuple(f"REPRISE_HOME/{one.removeprefix(home)}" if one.startswith(home) else one for one in found)


def check(config: Config, settings: Settings) -> None:
    """Raises IdentityError when the source's name belongs to events from other files."""
    known, today = _known(config, settings), _today(config, settings)
    if known and not set(known) & set(today):
        name = config.source.name
        raise IdentityError(
            f"the events of {name} came from {', '.join(known)} so far, and this configuration takes them from "
            f"{', '.join(today)}; if it is another log, give it another source.name; if the same files have moved, "
            f"say so: python -m pipeline move-source {config.words} --reason 'the folder moved'"
        )


def claim(config: Config, settings: Settings) -> None:
    """Notes where the source's events come from; the caller holds its lease. Raises as `check`."""
    check(config, settings)
    said = corrections.read(settings, config.source.name)
    if (today := _today(config, settings)) != said.landed_at:
        corrections.write(settings, config.source.name, replace(said, landed_at=today))


def move(config: Config, settings: Settings, why: Said) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Says that the source's events come from other files by now; returns those before and those now."""
    known, today = _known(config, settings), _today(config, settings)
    if known != today:
        said = corrections.read(settings, config.source.name)
        moved = {"from": list(known), "to": list(today), "said": asdict(why)}
        corrections.write(
            settings, config.source.name, replace(said, landed_at=today, moves=(*said.moves, moved))
        )
    return known, today


def _today(config: Config, settings: Settings) -> tuple[str, ...]:
    source = config.source
    return _places_of(settings, source.name, source.landing, source.events.model_dump())


def _known(config: Config, settings: Settings) -> tuple[str, ...]:
    """Where the events came from so far; empty for a new source. Cycles of earlier releases tell it by their
    configuration."""
    name = config.source.name
    if landed_at := corrections.read(settings, name).landed_at:
        return landed_at
    records = settings.cycle_folder(name, "any").parent.glob("*/cycle.json")
    newest = max(records, key=lambda path: path.stat().st_mtime, default=None)
    return _of_record(settings, name, newest) if newest else ()


def _of_record(settings: Settings, name: str, path: Path) -> tuple[str, ...]:
    source: dict[str, Any] = json.loads(path.read_text())["configuration"]["source"]
    return _places_of(settings, name, source.get("landing"), source["events"])


def _places_of(
    settings: Settings, name: str, landing: str | None, events: Mapping[str, Any]
) -> tuple[str, ...]:
    """The places of a mapping's files, or of its table."""
    from spark_jobs.landing.listing import is_path

    table = events.get("table")
    if table is None:
        return places(settings, name, landing, events["files"])
    return places(settings, name, landing, [table]) if is_path(table) else (f"table {table}",)
