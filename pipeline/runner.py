"""Runs stages: decides whether a stage is done, runs it once, writes its record.

Airflow's tasks, a person's command, `cycle` and the tests all come through here. A stage is done when
its record carries the digest of today's inputs: the sections of the configuration that it declares, the
cycle's cutoff and window, the versions that it continues, and for everything that it reads the stage
that wrote it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from pipeline.config import Config
from pipeline.cycle import accepted, lease
from pipeline.cycle.context import StageContext, UndeclaredError, find_figures
from pipeline.cycle.definition import Cycle
from pipeline.cycle.lineage import code_revision
from pipeline.cycle.records import (
    Records,
    StageRecord,
    StageResult,
    read_records,
    table_versions,
    write_record,
)
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import Stage, Workflow
from spark_jobs.config import Job
from spark_jobs.figures import ItemSignalsFigures

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
    stage, folder = stages[name], settings.cycle_folder(cycle.source, cycle.name)
    records = _current_records(stages, config, cycle, folder)
    inputs = _inputs(stages, stage, config, cycle, records)
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    if name in records and records[name].inputs_digest == digest:
        say(f"{name}: done before, nothing to do")
        return Outcome(records[name], worked=False)
    _check_upstream(stages, stage, records, config, cycle)
    beside = [other.name for other in stages.stages if other is not stage and other.after == stage.after]
    with lease.working(settings, cycle.source, cycle.name, name, beside):
        started, clock = datetime.now(UTC), time.monotonic()
        context = StageContext(stage, config, cycle, settings, records, lambda text: say(f"{name}: {text}"))
        context.say(stage.title)
        result = _call(stage, context)
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
        )
        write_record(folder, record)
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
    folder = settings.cycle_folder(cycle.source, cycle.name)
    return stages.last.name in _current_records(stages, config, cycle, folder)


def spark_job(context: StageContext) -> Job:
    """The input of a Spark job of this cycle.

    A job that continues the version before reads that version's vocabulary and half-lives as its cycle
    recorded them.
    """
    config, cycle, settings = context.config, context.cycle, context.settings
    versions = dict(context.versions)
    reference = cycle.reference if context.stage.continues else None
    half_lives = None
    if reference is not None:
        continued = accepted.records(settings, cycle.source, reference)
        if "vocabulary" in context.stage.reads:
            versions.setdefault("vocabulary", table_versions(continued)["vocabulary"])
        signals = find_figures(continued, "item_signals", ItemSignalsFigures)
        half_lives = signals.half_lives_days if signals else None
    return Job(
        lake=settings.lake,
        landing=config.source.landing or str(settings.landing(cycle.source)),
        cycle=cycle.name,
        cutoff=cycle.cutoff,
        split=cycle.split,
        window_seconds=int(cycle.window.total_seconds()),
        parent_cycle=reference.cycle if reference else None,
        parent_split=reference.split if reference else None,
        parent_half_lives_days=half_lives,
        versions=versions,
        source=config.source,
        vocabulary=config.vocabulary,
        features=config.features,
        sequences=config.sequences,
        signals=config.signals,
    )


def _call(stage: Stage, context: StageContext) -> StageResult:
    function = _load_beside_session(stage, context) if stage.engine == "spark" else stage.load()
    if not stage.is_job:
        return function(context)
    result = function(context.session(), spark_job(context))
    return StageResult(result.figures, result.versions)


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


def _current_records(stages: Workflow, config: Config, cycle: Cycle, folder: Path) -> dict[str, StageRecord]:
    """Records whose inputs are today's, in the map's order; a changed configuration or input drops a
    stage's record and with it those of every reader of what it wrote."""
    found = read_records(folder)
    current: dict[str, StageRecord] = {}
    for stage in stages.stages:
        record = found.get(stage.name)
        if record is not None and record.inputs == _inputs(stages, stage, config, cycle, current):
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
    """Largest resident memory of this process and its live children (Spark's JVM is one), summed."""
    total = 0.0
    process = psutil.Process()
    for member in (process, *process.children(recursive=True)):
        try:
            status = Path(f"/proc/{member.pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    return round(total, 1)
