"""What maintenance must not touch: the table versions and cycles that somebody may still read.

These are of every registered version (by MLflow, and by the folders under `accepted/`), of every cycle that has not
finished or holds the source, and of the newest cycles whatever became of them. Their records hold the versions. What
readers outside are told to use (`pipeline.cycle.passed_tables`) stays too, whichever cycle passed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expectations.tables import ITEMS
from pipeline.cycle import lease
from pipeline.cycle.definition import read_cycle_file
from pipeline.cycle.passed_tables import passed_tables
from pipeline.cycle.records import Records, StageRecord, read_records, table_versions
from pipeline.registry import tracking
from pipeline.settings import Settings


@dataclass(frozen=True)
class Kept:
    """What stays, and what a cycle has left that nobody needs."""

    versions: dict[str, frozenset[int]]
    """Delta versions by table."""
    cycles: frozenset[str]
    """Cycles whose tables, reports and checkpoints stay."""
    others: tuple[str, ...]
    """The other cycles, oldest first."""
    newest: str | None
    """The newest cycle; None where none was ever resolved."""


def find_kept(settings: Settings, source: str, newest_cycles: int) -> Kept:
    """Raises RegistryError where the registry cannot be asked, and RecordFormatError for a record of a later revision:
    what it refers to is not known here."""
    tracking.check(settings, source)
    folders = {
        path.parent.name: path.parent
        for path in sorted(settings.cycle_folder(source, "any").parent.glob("*/cycle.json"))
    }
    registered = tracking.registered_tables(settings, source)
    accepted = _folders(settings.accepted_folder(source, "any").parent)
    cycles = {cycle for cycle, _ in registered} | set(list(folders)[-newest_cycles:])
    cycles |= {read_cycle_file(folder / "cycle.json").cycle.name for folder in accepted}
    cycles |= {passed.cycle for passed in passed_tables(settings, source).values()}
    if (holder := lease.holder(settings, source)) is not None:
        cycles.add(holder)
    records = {name: read_records(folder) for name, folder in folders.items()}
    cycles |= {name for name, of_cycle in records.items() if not _has_ended(of_cycle)}
    pinned = [pair for _, versions in registered for pair in versions.items()]
    for of_version in map(read_records, accepted):
        pinned += [*_pinned(of_version), *_made_from(of_version)]
    for name in cycles & set(records):
        pinned += _pinned(records[name])
    versions: dict[str, set[int]] = {}
    for table, version in pinned:
        versions.setdefault(table, set()).add(version)
    return Kept(
        versions={table: frozenset(found) for table, found in versions.items()},
        cycles=frozenset(cycles),
        others=tuple(name for name in folders if name not in cycles),
        newest=max(folders, default=None),
    )


def _has_ended(records: Records) -> bool:
    """Whether the report was the last stage to run: a cycle that is run again under another configuration has not."""
    last = max(records.values(), key=lambda record: record.started_at, default=None)
    return last is not None and last.stage == "report"


def _pinned(records: Records) -> Iterator[tuple[str, int]]:
    """Tables and versions that stages wrote or read."""
    for record in records.values():
        yield from record.versions.items()
        yield from _read(record)


def _read(record: StageRecord) -> Iterator[tuple[str, int]]:
    for table, (_, _, version) in record.inputs.get("reads", {}).items():
        if version is not None:
            yield table, version


def _made_from(records: Records) -> Iterator[tuple[str, int]]:
    """What `replay` needs beside what stages read: the catalogue before the cycle numbered its new items."""
    version = table_versions(records).get(ITEMS.name)
    if version:
        yield ITEMS.name, version - 1


def _folders(parent: Path) -> list[Path]:
    """Folders of accepted versions; the name of one that is being written begins with a dot."""
    return [path for path in sorted(parent.glob("*")) if path.is_dir() and not path.name.startswith(".")]
