"""The command `replay`: makes the tables of a registered version again from its record, and compares them.

    python -m pipeline replay 3 --source my.toml

Reads what `accepted/` keeps of the version: the configuration it was made with and the table versions that its stages
read. Every Spark job of its cycle but the ingestion of events runs again with these, into a lake of its own under
`replay/` in the home folder; what it writes is compared with the version's tables by digest. The events are taken from
the pinned version. Ranks and weights are the models' and are not made again; that the kept weights are the registered
ones is checked. Nothing in the live lake is written. Killed at any moment and given again, it begins anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.tables import EVENTS, ITEMS, REJECTED_ITEMS, TABLES, TEXT_VECTORS, Table
from expectations.wording import listing
from model.evaluation.names import CANDIDATE
from model.training.checkpoint import WEIGHTS, digest_of_weights
from pipeline.config import Config
from pipeline.cycle import accepted, lease
from pipeline.cycle.context import StageContext, find_figures, spark_session
from pipeline.cycle.definition import AcceptedVersion, Cycle, read_cycle_file
from pipeline.cycle.records import Records, table_versions
from pipeline.errors import explanation
from pipeline.registry import tracking
from pipeline.runner import spark_job
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import Stage
from spark_jobs.config import Job
from spark_jobs.figures import ItemFeaturesFigures

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.lake.comparison import Comparison

Say = Callable[[str], None]
SAME, DIFFERS, IMPOSSIBLE = "same", "differs", "cannot be rebuilt"


class ReplayError(RuntimeError):
    """A version that cannot be replayed, or whose replay came to something else; the message says what."""


@dataclass(frozen=True)
class Replayed:
    """What became of one table."""

    table: str
    version: int | None
    """The pinned Delta version; None: it is no table."""
    outcome: str
    """SAME, DIFFERS or IMPOSSIBLE."""
    words: str
    """Rows and digest, the first key that differs, or why it cannot be rebuilt."""


class _Gone(RuntimeError):
    """Files that a stage needs are not there any more."""


def replay(settings: Settings, source: str, number: int, say: Say) -> list[Replayed]:
    """Replays one version, table by table in the order in which data flows. What differs is kept to be looked at.

    Raises ReplayError where the source has no such version or its record is lost, and SourceBusyError while the same
    replay is at work.
    """
    version = _version(settings, source, number)
    folder = settings.accepted_folder(source, version.checkpoint_digest)
    if not (folder / "cycle.json").exists():
        raise ReplayError(f"the record of version {number} is missing in {folder}; restore it from a backup")
    scratch = settings.home / "replay" / source / str(number)
    with lease.alone(settings, f"replay-{source}-{number}"):
        shutil.rmtree(scratch, ignore_errors=True)
        config = accepted.configuration(settings, source, version)
        one = _Replay(
            spark_session(settings, config),
            settings,
            config,
            read_cycle_file(folder / "cycle.json").cycle,
            accepted.records(settings, source, version),
            scratch,
            say,
        )
        found = [*one.tables(), _weights(settings, source, version)]
        if all(told.outcome != DIFFERS for told in found):
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            say(f"what was made again is kept in {scratch}")
    return found


def require_same(found: Iterable[Replayed], number: int) -> None:
    """Raises ReplayError unless all are the same."""
    by_outcome: dict[str, list[str]] = {}
    for told in found:
        by_outcome.setdefault(told.outcome, []).append(told.table)
    others = {outcome: names for outcome, names in by_outcome.items() if outcome != SAME}
    if others:
        words = "; ".join(f"{listing(names)}: {outcome}" for outcome, names in others.items())
        raise ReplayError(
            f"version {number} is not what its record makes again: {words}; see the lines above"
        )


def _version(settings: Settings, source: str, number: int) -> AcceptedVersion:
    tracking.check(settings, source)
    versions = {version.version: version for version in tracking.accepted_versions(settings, source)}
    if number not in versions:
        known = ", ".join(map(str, sorted(versions))) or "none"
        raise ReplayError(f"{source} has no version {number}; its versions are {known}")
    return versions[number]


def _weights(settings: Settings, source: str, version: AcceptedVersion) -> Replayed:
    folder = accepted.model_folder(settings, source, version, CANDIDATE)
    name = "kept weights"
    if not (folder / WEIGHTS).exists():
        return Replayed(name, None, IMPOSSIBLE, f"they are missing in {folder}")
    digest = digest_of_weights(folder)
    if digest != version.checkpoint_digest:
        return Replayed(
            name, None, DIFFERS, f"{digest[:16]}, registered was {version.checkpoint_digest[:16]}"
        )
    return Replayed(name, None, SAME, f"digest {digest[:16]}")


@dataclass(frozen=True)
class _Replay:
    """One version's cycle, run again into `scratch`."""

    spark: SparkSession
    settings: Settings
    config: Config
    cycle: Cycle
    records: Records
    scratch: Path
    say: Say

    def tables(self) -> Iterable[Replayed]:
        stages = workflow(self.config).stages
        jobs = [stage for stage in stages if stage.is_job and EVENTS.name not in stage.writes]
        yield self._given()
        for place, stage in enumerate(jobs, 1):
            names = [name for name in stage.writes if name in self._versions(stage)]
            if not names:  # an earlier release had no such stage, or this configuration no such table
                continue
            self.say(f"{stage.name}: {stage.title} ({place} of {len(jobs)})")
            try:
                yield from list(self._again(stage, names))
            except Exception as error:
                if (why := explanation(error, self.settings)) is None:
                    raise
                for name in names:
                    yield Replayed(name, self._versions(stage)[name], IMPOSSIBLE, f"because {why}")

    def _versions(self, stage: Stage) -> Mapping[str, int]:
        """Versions that the stage wrote, by table."""
        return self.records[stage.name].versions if stage.name in self.records else {}

    def _given(self) -> Replayed:
        version = table_versions(self.records)[EVENTS.name]
        try:
            self._require(EVENTS, version)
        except _Gone as error:
            return Replayed(EVENTS.name, version, IMPOSSIBLE, f"because {error}")
        from spark_jobs.lake import delta

        rows = delta.read(self.spark, self.settings.lake, self.cycle.source, EVENTS, version).count()
        return Replayed(EVENTS.name, version, SAME, f"{rows:,} rows, the given ones")

    def _again(self, stage: Stage, names: list[str]) -> Iterable[Replayed]:
        """Runs one job in a lake of its own, which begins with what the job read, and compares what it wrote."""
        from spark_jobs.lake import delta

        job = self._job(stage)
        lake = str(self.scratch / stage.name)
        read = {name: self._begin(TABLES[name], version, lake) for name, version in job.versions.items()}
        for name, version in self._before(stage).items():
            self._begin(TABLES[name], version, lake)
        result = stage.load()(self.spark, job.model_copy(update={"lake": lake, "versions": read}))
        for name in names:
            table, version = TABLES[name], self._versions(stage)[name]
            self._require(table, version)
            pinned = delta.read(self.spark, self.settings.lake, self.cycle.source, table, version)
            again = delta.read(self.spark, lake, self.cycle.source, table, result.versions[name])
            told = self._compared(table, version, pinned, again, job)
            if told.outcome == DIFFERS and ITEMS.name in stage.writes and not self._same_files(stage, job):
                why = "because the landed files of items, tags or edges are not those that it was made from"
                told = replace(told, outcome=IMPOSSIBLE, words=why)
            yield told

    def _job(self, stage: Stage) -> Job:
        """The job that the stage was given in its cycle."""
        stages = workflow(self.config).stages
        earlier = {other.name for other in stages[: stages.index(stage)]}
        records = {name: record for name, record in self.records.items() if name in earlier}
        context = StageContext(stage, self.config, self.cycle, self.settings, records, self.say)
        job = spark_job(context)
        # Rows that the cycle took over are made anew from the events, and must come to the same.
        if job.continued is not None:
            versions = {name: version for name, version in job.versions.items() if name not in stage.writes}
            job = job.model_copy(update={"continued": None, "versions": versions})
        return job

    def _before(self, stage: Stage) -> dict[str, int]:
        """The versions, by table, to which the stage added its rows."""
        if ITEMS.name in stage.writes:
            # Of an ingestion that changed no item it is the version before the last change: the same rows come of it.
            return {ITEMS.name: max(self._versions(stage)[ITEMS.name] - 1, 0)}
        if (version := self._versions(stage).get(TEXT_VECTORS.name)) is not None:
            figures = find_figures(self.records, stage.name, ItemFeaturesFigures)
            return {TEXT_VECTORS.name: version - bool(figures and figures.texts_encoded)}
        return {}

    def _begin(self, table: Table, version: int, lake: str) -> int:
        from spark_jobs.lake import delta

        self._require(table, version)
        return delta.clone(self.spark, self.settings.lake, self.cycle.source, table, version, lake)

    def _require(self, table: Table, version: int) -> None:
        """Raises _Gone unless every file of the version is there."""
        from spark_jobs.lake import delta

        missing, files = delta.missing_files(
            self.spark, self.settings.lake, self.cycle.source, table, version
        )
        if missing:
            raise _Gone(
                f"{len(missing):,} of the {files:,} files of {table.name}, version {version}, were vacuumed or erased"
            )

    def _compared(
        self, table: Table, version: int, pinned: DataFrame, again: DataFrame, job: Job
    ) -> Replayed:
        from spark_jobs.lake.comparison import compare

        if "cycle" in table.partitions:
            pinned, again = (rows.where(f"cycle = '{self.cycle.name}'") for rows in (pinned, again))
        if table is REJECTED_ITEMS:
            # Lines of files that have left since stay in the table.
            pinned = pinned.where(pinned.file_id.isin(self._landed_ids(job)))
        found = compare(pinned, again, table)
        outcome = SAME if found.same else DIFFERS
        return Replayed(table.name, version, outcome, _words(found))

    def _landed_ids(self, job: Job) -> list[str]:
        from spark_jobs.items import landed_files

        return sorted({file.file_id for files in landed_files(self.spark, job) for file in files})

    def _same_files(self, stage: Stage, job: Job) -> bool:
        """Whether the pinned `items` was made of the files that are landed now."""
        from spark_jobs.items import landed_files, was_made_of
        from spark_jobs.lake import delta

        version = self._versions(stage)[ITEMS.name]
        note = delta.note_of(self.spark, self.settings.lake, self.cycle.source, ITEMS, version)
        return was_made_of(note, job, landed_files(self.spark, job))


def _words(found: Comparison) -> str:
    if found.same:
        return f"{found.rows[0]:,} rows, digest {found.digests[0]}"
    counts = f"{found.differing:,} of {max(found.rows):,} rows"
    first = f", the first at {found.first}" if found.first else ""
    return f"{counts}{first}; digest {found.digests[0]}, made again {found.digests[1]}"
