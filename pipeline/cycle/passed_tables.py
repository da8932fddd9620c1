"""Which version of every table readers outside may use: the last that passed its suite, told beside the tables.

    lake/my-log/passed.json        {"format": 1, "source": "my-log", "tables": {"events": {"version": 7, …}, …}}

The newest version of a table may be one that a suite has refused, or that no suite has judged yet. The records of the
suites' stages say which versions passed; the file says the same to whoever sees the lake alone. It is replaced in one step
when a suite passes, and when an erasure has deleted files. A table is missing in it until a suite has passed it, and while
files of its last passed version are gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from expectations.tables import RANKS, TABLES, Table, location
from pipeline.cycle.figures import ValidateEventsFigures, ValidateSequencesFigures
from pipeline.cycle.passed import JUDGE
from pipeline.cycle.records import Records, StageRecord, read_records, table_versions
from pipeline.cycle.vacuumed import usable
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FORMAT = 1
JUDGES = (JUDGE, "validate_sequences")
"""Stages that judge tables, in their order: a table is passed by the first that reads it."""


@dataclass(frozen=True)
class Judged:
    """What one suite's stage has passed in one cycle."""

    cycle: str
    stage: str
    versions: Mapping[str, int]
    """Delta version by table."""
    accepted: str | None = None
    """The word of the person by which a red suite passed; None: it was green."""


@dataclass(frozen=True)
class PassedTable:
    """The version of one table that readers may use."""

    version: int
    """Delta version."""
    cycle: str
    """The cycle that passed it."""
    where: str | None
    """SQL predicate: the rows that were judged; None: all. The other cycles' partitions are whatever they were."""
    suite: str | None
    """Stage that judged it; None: no suite judges this table, it was made of tables that passed."""
    accepted: str | None = None
    """The word of the person by which a red suite passed; None: it was green."""


Readable = Callable[[Table, int], bool]
"""Whether every file of a version is there."""


def passed_tables(
    settings: Settings,
    source: str,
    now: Judged | None = None,
    readable: Readable = lambda table, version: True,
) -> dict[str, PassedTable]:
    """By table, in the order in which data flows. `now` is what a stage has just passed, whose record is not written
    yet."""
    found: dict[str, PassedTable] = {}
    for cycle, records in _cycles(settings, source):
        judged = {stage: _judged(cycle, records[stage]) for stage in JUDGES if stage in records}
        if now is not None and now.cycle == cycle:
            judged[now.stage] = now
        for name, passed in _of_cycle(cycle, records, judged).items():
            # Tables of a cycle: the newest cycle's. The others grow: the newest version.
            if name not in found or TABLES[name].partitions or passed.version >= found[name].version:
                found[name] = passed
    return {
        table.name: found[table.name]
        for table in TABLES.values()
        if table.name in found and readable(table, found[table.name].version)
    }


def publish(settings: Settings, source: str, spark: SparkSession, now: Judged | None = None) -> None:
    """Replaces the file beside the tables; `now` as in `passed_tables`."""
    from spark_jobs.lake import delta
    from spark_jobs.lake.text_file import replace_text

    def readable(table: Table, version: int) -> bool:
        # What the stage has just read is there; looking takes half a second a table.
        if now is not None and now.versions.get(table.name) == version:
            return True
        return not delta.missing_files(spark, settings.lake, source, table, version)[0]

    tables = passed_tables(settings, source, now, readable)
    replace_text(spark, address(settings, source), as_json(source, tables))


def as_json(source: str, tables: Mapping[str, PassedTable]) -> str:
    """The content of the file."""
    rows = {name: asdict(passed) for name, passed in tables.items()}
    return json.dumps({"format": FORMAT, "source": source, "tables": rows}, indent=1, ensure_ascii=False)


def address(settings: Settings, source: str) -> str:
    """Path or URI of the file."""
    return location(settings.lake, source, "passed.json")


def _cycles(settings: Settings, source: str) -> Iterator[tuple[str, Records]]:
    """Every cycle, oldest first, with those of its records whose tables are there."""
    for path in sorted(settings.cycle_folder(source, "any").parent.glob("*/cycle.json")):
        yield path.parent.name, usable(path.parent, read_records(path.parent))


def _judged(cycle: str, record: StageRecord) -> Judged:
    reads = record.inputs.get("reads", {})
    versions = {name: version for name, (_, _, version) in reads.items() if version is not None}
    figures = record.figures
    is_ours = isinstance(figures, (ValidateEventsFigures, ValidateSequencesFigures))
    return Judged(
        cycle, record.stage, versions, figures.accepted.words if is_ours and figures.accepted else None
    )


def _of_cycle(cycle: str, records: Records, judged: Mapping[str, Judged]) -> dict[str, PassedTable]:
    """What the suites of one cycle passed; with the last of them, what no suite judges too."""
    found: dict[str, PassedTable] = {}
    for stage in JUDGES:
        if stage not in judged:
            return found
        for name, version in judged[stage].versions.items():
            if name in TABLES and name not in found:
                found[name] = PassedTable(version, cycle, _where(name, cycle), stage, judged[stage].accepted)
    for name, version in table_versions(records).items():
        # Ranks are of models, which come after the last suite.
        if name in TABLES and name not in found and name != RANKS.name:
            found[name] = PassedTable(version, cycle, _where(name, cycle), None)
    return found


def _where(name: str, cycle: str) -> str | None:
    return f"cycle = '{cycle}'" if "cycle" in TABLES[name].partitions else None
