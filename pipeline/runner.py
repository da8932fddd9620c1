"""Runs stages: decides whether a stage is done, runs it once, writes its record.

Airflow's tasks, a person's command, `cycle` and the tests all come through here. A stage is done when
its record carries the digest of today's inputs: the sections of the configuration that it declares, the
cycle's cutoff and window, the versions that it continues, and for everything that it reads the stage
that wrote it. For the ingestion that is the landing folder too, until its suite has passed: a red cycle is
mended by mending its data, and one that has passed stays as it is.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import psutil

from expectations import crash_points
from pipeline.config import Config
from pipeline.cycle import accepted, corrections, identity, lease
from pipeline.cycle.context import StageContext, UndeclaredError, find_figures, spark_session
from pipeline.cycle.definition import Cycle
from pipeline.cycle.lineage import code_revision
from pipeline.cycle.passed import passed_version
from pipeline.cycle.records import (
    Records,
    StageRecord,
    StageResult,
    read_records,
    table_versions,
    write_record,
)
from pipeline.cycle.vacuumed import usable
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import LANDED, Stage, Workflow
from spark_jobs.config import Continued, Job
from spark_jobs.figures import SEQUENCES_RULES, ItemSignalsFigures, SequencesFigures, SparkWork
from spark_jobs.lake import warm_jvm

Say = Callable[[str], None]


class StageError(RuntimeError):
    """A stage that cannot run; the message says what to do first."""


@dataclass(frozen=True)
class Outcome:
    """What running a stage came to."""

    record: StageRecord
    worked: bool
    """False: it was done before, and nothing was run."""


def run_stage(name: str, config: Config, cycle: Cycle, settings: Settings, say: Say = print) -> Outcome:
    """Runs one stage of a cycle, or finds it done.

    Raises StageError when this configuration has no such stage or an upstream stage has not finished,
    and whatever the stage raises; then no record is written, and readers stay on the last state that
    passed.
    """
    stages = workflow(config)
    if name not in stages:
        raise StageError(
            f"{config.source.name} has no stage {name}: funnel.rungs names {len(config.funnel.rungs)} rungs"
        )
    return _run(stages, stages[name], config, cycle, settings, say, _Outside(config, settings))


def _run(
    stages: Workflow,
    stage: Stage,
    config: Config,
    cycle: Cycle,
    settings: Settings,
    say: Say,
    outside: _Outside,
) -> Outcome:
    """`run_stage`. A stage of the ingestion, or its judge, first runs again what read other landed files."""
    name, folder = stage.name, settings.cycle_folder(cycle.source, cycle.name)
    records, changed = _standing(stages, config, cycle, folder, outside)
    if stage.settles_landing or stage in stages.ingestion:
        for earlier in changed:
            if earlier is stage:
                break
            say(f"{earlier.name}: runs again, since the landed files or what is said of them changed")
            _run(stages, earlier, config, cycle, settings, say, outside)
        records, _ = _standing(stages, config, cycle, folder, outside)
    if name in records:
        say(f"{name}: done before, nothing to do")
        return Outcome(records[name], worked=False)
    inputs = _inputs(stages, stage, config, cycle, records)
    if stage in stages.ingestion:
        identity.check(config, settings)
        inputs |= outside.inputs
    digest = corrections.digest(inputs)
    _check_upstream(stages, stage, records, config, cycle)
    beside = [other.name for other in stages.stages if other is not stage and other.after == stage.after]
    with (
        lease.working(settings, cycle.source, cycle.name, name, beside) as check_lease,
        crash_points.inside(name),
    ):
        # Another process may have come before it since: the same stage, or an earlier one that ran again.
        records, _ = _standing(stages, config, cycle, folder, outside)
        if name in records:
            say(f"{name}: done meanwhile by another process, nothing to do")
            return Outcome(records[name], worked=False)
        now = _inputs(stages, stage, config, cycle, records)
        if any(now[key] != inputs[key] for key in now):
            raise lease.SourceBusyError(
                f"what {name} of cycle {cycle.name} of {cycle.source} reads has changed since it began to wait; retry"
            )
        started, clock = datetime.now(UTC), time.monotonic()
        context = StageContext(
            stage, config, cycle, settings, records, lambda text: say(f"{name}: {text}"), digest
        )
        context.say(stage.title)
        result, work = _call(stage, context)
        _check_writes(stage, result)
        record = StageRecord(
            stage=name,
            inputs_digest=digest,
            inputs=inputs,
            versions=result.versions,
            figures=result.figures,
            refused=result.refused,
            seconds=round(time.monotonic() - clock, 3),
            started_at=started.isoformat(),
            peak_megabytes=_peak_megabytes(),
            code_revision=code_revision(),
            spark=work,
        )
        crash_points.reach("before-record")
        check_lease()
        write_record(folder, record)
        crash_points.reach("after-record")
    return Outcome(record, worked=True)


def run_cycle(config: Config, cycle: Cycle, settings: Settings, say: Say = print) -> dict[str, Outcome]:
    """Every stage in order; after a refusal only the stages that always run. Raises as `run_stage`."""
    outcomes: dict[str, Outcome] = {}
    refused = False
    for stage in workflow(config).stages:
        if refused and not stage.always:
            say(f"{stage.name}: skipped, the candidate was refused")
            continue
        outcomes[stage.name] = outcome = run_stage(stage.name, config, cycle, settings, say)
        if outcome.worked:
            say(f"{stage.name}: {outcome.record.seconds:.1f} s")
        if outcome.record.refused:
            say(f"{stage.name}: refused: {outcome.record.refused}")
            refused = True
    return outcomes


def is_finished(config: Config, cycle: Cycle, settings: Settings) -> bool:
    """Whether every record of the cycle is current, the report's included: running it would do nothing."""
    stages = workflow(config)
    found = read_records(settings.cycle_folder(cycle.source, cycle.name))
    return stages.last.name in _matching(stages, config, cycle, found)


def spark_job(context: StageContext) -> Job:
    """The input of a Spark job of this cycle.

    A job that continues the version before reads that version's vocabulary, half-lives and sequences as its cycle
    recorded them.
    """
    config, cycle, settings = context.config, context.cycle, context.settings
    versions = dict(context.versions)
    reference = cycle.reference if context.stage.continues else None
    half_lives, kept = None, None
    if reference is not None:
        continued = accepted.records(settings, cycle.source, reference)
        if "vocabulary" in context.stage.reads:
            versions.setdefault("vocabulary", table_versions(continued)["vocabulary"])
        signals = find_figures(continued, "item_signals", ItemSignalsFigures)
        half_lives = signals.half_lives_days if signals else None
        if "sequences" in context.stage.reads:
            kept = _continued(context, continued)
            if kept is not None:
                versions["sequences"] = table_versions(continued)["sequences"]
    return job_of(
        config,
        settings,
        cycle,
        parent_cycle=reference.cycle if reference else None,
        parent_split=reference.split if reference else None,
        parent_half_lives_days=half_lives,
        continued=kept,
        versions=versions,
        **(corrected(settings, cycle.source) if LANDED in context.stage.reads else {}),
        vocabulary=config.vocabulary,
        features=config.features,
        sequences=config.sequences,
        signals=config.signals,
    )


def _continued(context: StageContext, parent: Records) -> Continued | None:
    """The parent's sequences, where today's rules and configuration would make the same rows of the same events."""
    made = find_figures(parent, "sequences", SequencesFigures)
    if made is None or made.rules != SEQUENCES_RULES:
        return None
    record, sections = parent["sequences"], context.stage.sections
    if record.inputs.get("configuration") != context.config.digest_of(*sections):
        return None
    return Continued(events_version=table_versions(parent)["events"], events=made.events)


def job_of(config: Config, settings: Settings, cycle: Cycle, **more: Any) -> Job:
    """A job on the source as of a cycle; `more` are further fields of it."""
    return Job(
        lake=settings.lake,
        landing=landing_folder(config, settings),
        cycle=cycle.name,
        cutoff=cycle.cutoff,
        split=cycle.split,
        window_seconds=int(cycle.window.total_seconds()),
        source=config.source,
        losses=config.expectations.losses,
        max_faulty_fraction=config.expectations.max_faulty_fraction,
        digests=str(settings.digests(config.source.name)),
        **more,
    )


def _call(stage: Stage, context: StageContext) -> tuple[StageResult, SparkWork | None]:
    """What the stage returns, and what Spark's tasks did for it."""
    if stage.engine != "spark":
        return stage.load()(context), None
    function = _load_beside_session(stage, context)
    from spark_jobs.lake.task_metrics import Meter

    meter = Meter(context.session())
    if stage.is_job:
        made = function(context.session(), spark_job(context))
        result = StageResult(made.figures, made.versions)
    else:
        result = function(context)
    return result, meter.work()


def _load_beside_session(stage: Stage, context: StageContext) -> Callable[..., Any]:
    """The stage's function, imported (Great Expectations takes 5 s) while the JVM makes the session."""
    # Beforehand, since two threads that import one package may see it half made.
    importlib.import_module("spark_jobs.lake.session")
    with ThreadPoolExecutor(max_workers=1) as pool:
        function = pool.submit(stage.load)
        # In the main thread: only there does Spark turn Ctrl-C into the end of its jobs.
        context.session()
        return function.result()


def _check_writes(stage: Stage, result: StageResult) -> None:
    undeclared = [table for table in result.versions if table not in stage.writes]
    if undeclared:
        raise UndeclaredError(f"stage {stage.name} does not declare that it writes {', '.join(undeclared)}")


class _Outside:
    """What the ingestion reads from outside the map: the landing folder, and what is said against its data.
    It is looked at when it is first asked for."""

    def __init__(self, config: Config, settings: Settings) -> None:
        self._config, self._settings = config, settings

    @cached_property
    def said(self) -> corrections.Corrections:
        return corrections.read(self._settings, self._config.source.name)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of the landing listing and of the corrections."""
        return {"landed": self._landed(), **self.erased}

    @property
    def erased(self) -> dict[str, str]:
        """The part that counts for a cycle that has passed too: what it read is gone."""
        users = self.said.erased_users
        return {"erased": corrections.digest(users)} if users else {}

    def _landed(self) -> str:
        from spark_jobs.landing.listing import listing

        source, settings = self._config.source, self._settings
        mappings = (source.events, *source.items, *source.tags, *source.edges)
        landing, session = (
            landing_folder(self._config, settings),
            partial(spark_session, settings, self._config),
        )
        patterns = [pattern for mapping in mappings for pattern in mapping.files]
        tables = sorted({mapping.table for mapping in mappings if mapping.table is not None})
        landed = listing(landing, patterns, session)
        if tables:
            from spark_jobs.landing.source_tables import newest

            landed = [*landed, *(newest(landing, table, session) for table in tables)]
        return corrections.digest([landed, self.said.kept_out])


def landing_folder(config: Config, settings: Settings) -> str:
    """Where the source's relative file patterns start."""
    return config.source.landing or str(settings.landing(config.source.name))


def corrected(settings: Settings, source: str) -> dict[str, Any]:
    """What a job of the ingestion must know of other cycles and of people's corrections."""
    said = corrections.read(settings, source)
    return {
        "passed_ingestion": passed_version(settings, source),
        "kept_out": said.kept_out,
        "erased": said.erased_users,
    }


def _standing(
    stages: Workflow, config: Config, cycle: Cycle, folder: Path, outside: _Outside
) -> tuple[dict[str, StageRecord], list[Stage]]:
    """Records that hold today, in the map's order, and the stages of the ingestion that did their work for
    other landed files than today's.

    A cycle whose every record holds is left alone. Otherwise an erasure since counts always, and a
    change of the landing folder or of withdrawn files counts until the suite has passed.
    """
    found = read_records(folder)
    standing = _matching(stages, config, cycle, found)
    if stages.last.name in standing:
        return standing, []
    found = usable(folder, found)
    standing = _matching(stages, config, cycle, found)
    names = ("erased",) if _has_passed(stages, config, cycle, found, standing) else ("erased", "landed")
    ran = [stage for stage in stages.ingestion if stage.name in standing]
    changed = [stage for stage in ran if not _as_outside(standing[stage.name], outside, names)]
    if not changed:
        return standing, []
    again = ran[ran.index(changed[0]) :]
    found = {name: record for name, record in found.items() if name not in [stage.name for stage in again]}
    return _matching(stages, config, cycle, found), again


def _as_outside(record: StageRecord, outside: _Outside, names: tuple[str, ...]) -> bool:
    today = outside.inputs if "landed" in names else outside.erased
    return all(record.inputs.get(name) == today.get(name) for name in names)


def _has_passed(stages: Workflow, config: Config, cycle: Cycle, found: Records, standing: Records) -> bool:
    """Whether the suite has passed these very tables, whatever its expectations are by now."""
    judge = stages.settling
    if judge.name not in found or any(stage.name not in standing for stage in stages.ingestion):
        return False
    return found[judge.name].inputs.get("reads") == _inputs(stages, judge, config, cycle, standing)["reads"]


def _matching(stages: Workflow, config: Config, cycle: Cycle, found: Records) -> dict[str, StageRecord]:
    """Records whose inputs are today's, in the map's order, the landing folder taken as they found it; a
    changed configuration or input drops a stage's record and with it those of every reader of what it wrote."""
    current: dict[str, StageRecord] = {}
    for stage in stages.stages:
        record = found.get(stage.name)
        if record is None:
            continue
        seen = {name: record.inputs[name] for name in ("landed", "erased") if name in record.inputs}
        if record.inputs == _inputs(stages, stage, config, cycle, current) | seen:
            current[stage.name] = record
    return current


def _inputs(stages: Workflow, stage: Stage, config: Config, cycle: Cycle, records: Records) -> dict[str, Any]:
    """What the stage's result is a function of, as plain values."""
    reads = {}
    for name in stage.reads:
        writer = stages.writer(name, stage)
        if writer is not None and writer.name in records:
            record = records[writer.name]
            reads[name] = [writer.name, record.inputs_digest, record.versions.get(name)]
    inputs = {
        "stage": stage.name,
        "configuration": config.digest_of(*stage.sections),
        "cutoff": cycle.cutoff.isoformat(),
        "window_seconds": cycle.window.total_seconds(),
        "reads": reads,
        "records": {name: records[name].inputs_digest for name in stage.records if name in records},
    }
    if stage.continues:
        chain = {"parent": cycle.parent, "reference": cycle.reference}
        inputs |= {
            role: [version.version, version.checkpoint_digest] if version else None
            for role, version in chain.items()
        }
    return inputs


def _check_upstream(stages: Workflow, stage: Stage, records: Records, config: Config, cycle: Cycle) -> None:
    if stage.always:
        return
    for name in stage.after:
        if name == stages.resolve.name:
            continue
        if name not in records:
            raise StageError(
                f"{stage.name} needs {name}, which has not finished for cycle {cycle.name}; "
                f"run: python -m pipeline {name} {config.words} --cutoff {cycle.cutoff.isoformat()}"
            )
        if records[name].refused:
            raise StageError(f"{stage.name} does not run: {name} refused the candidate of cycle {cycle.name}")


def _peak_megabytes() -> float:
    """Largest resident memory of this process, its live children (Spark's JVM is one) and its warm JVM, summed. In it are
    the libraries that a fork found loaded and shares with others."""
    total = 0.0
    process = psutil.Process()
    numbers = {process.pid, *(child.pid for child in process.children(recursive=True)), warm_jvm.process_id()}
    for number in numbers - {None}:
        try:
            status = Path(f"/proc/{number}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    return round(total, 1)
