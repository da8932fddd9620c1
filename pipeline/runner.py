"""Runs stages: decides whether a stage is done, runs it once, writes its record.

The same function serves Airflow's tasks, a person's command, `cycle` and the tests. A stage is
done when its record carries the digest of today's inputs: the configuration it reads, the cycle's
cutoff and parent, and for everything else it reads the stage that wrote it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from pipeline.config import Config
from pipeline.cycle import accepted, lease
from pipeline.cycle.definition import Cycle
from pipeline.cycle.lineage import code_revision
from pipeline.cycle.records import StageContext, StageRecord, StageResult, read_records, write_record
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import BY_NAME, STAGES, Stage
from spark_jobs.config import Job

Say = Callable[[str], None]


class StageError(RuntimeError):
    """A stage that cannot run; the message says what to do first."""


@dataclass(frozen=True)
class Outcome:
    """What running a stage came to."""

    record: StageRecord
    worked: bool
    """False: it was done before, and nothing was run."""


def run_stage(stage: Stage, config: Config, cycle: Cycle, settings: Settings, say: Say = print) -> Outcome:
    """Runs one stage of a cycle, or finds it done.

    Raises StageError when an upstream stage has not finished, and whatever the stage raises; then
    no record is written, and readers stay on the last state that passed.
    """
    folder = settings.cycle_folder(cycle.source, cycle.name)
    records = _current_records(config, cycle, folder)
    inputs = _inputs(stage, config, cycle, records)
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    if stage.name in records and records[stage.name].inputs_digest == digest:
        say(f"{stage.name}: done before, nothing to do")
        return Outcome(records[stage.name], worked=False)
    _check_upstream(stage, records, config, cycle)
    beside = [other.name for other in STAGES if other is not stage and other.after == stage.after]
    with lease.working(settings, cycle.source, cycle.name, stage.name, beside):
        started, clock = datetime.now(UTC), time.monotonic()
        context = StageContext(config, cycle, settings, records, lambda text: say(f"{stage.name}: {text}"))
        context.say(stage.title)
        result = _call(stage, context)
        record = StageRecord(
            stage=stage.name,
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
    for stage in STAGES:
        if refused and not stage.always:
            say(f"{stage.name}: skipped, the candidate was refused")
            continue
        outcomes[stage.name] = outcome = run_stage(stage, config, cycle, settings, say)
        if outcome.worked:
            say(f"{stage.name}: {outcome.record.seconds:.1f} s")
        if outcome.record.refused:
            say(f"{stage.name}: refused: {outcome.record.refused}")
            refused = True
    return outcomes


def is_finished(config: Config, cycle: Cycle, settings: Settings) -> bool:
    """Whether every record of the cycle is today's, the report's included: running it would do nothing."""
    return STAGES[-1].name in _current_records(config, cycle, settings.cycle_folder(cycle.source, cycle.name))


def spark_job(context: StageContext) -> Job:
    """The input of a Spark job of this cycle.

    The vocabulary of the version before is read at the version that its cycle recorded.
    """
    config, cycle, settings = context.config, context.cycle, context.settings
    versions = context.versions
    before = cycle.before
    if before is not None:
        of_before = accepted.table_versions(settings, cycle.source, before)
        versions = {"vocabulary": of_before["vocabulary"], **versions}
    return Job(
        lake=settings.lake,
        landing=config.source.landing or str(settings.landing(cycle.source)),
        cycle=cycle.name,
        cutoff=cycle.cutoff,
        split=cycle.split,
        window_seconds=int(cycle.window.total_seconds()),
        parent_cycle=before.cycle if before else None,
        parent_split=before.split if before else None,
        versions=versions,
        source=config.source,
        vocabulary=config.vocabulary,
        features=config.features,
        sequences=config.sequences,
    )


def _call(stage: Stage, context: StageContext) -> StageResult:
    function = _load_beside_session(stage, context) if stage.engine == "spark" else stage.load()
    if not stage.is_spark_job:
        return function(context)
    result = function(context.session(), spark_job(context))
    return StageResult(versions=dict(result.versions), figures=asdict(result.figures))


def _load_beside_session(stage: Stage, context: StageContext) -> Callable[..., Any]:
    """The stage's function, imported (Great Expectations takes 5 s) while the JVM makes the session."""
    # Beforehand, since two threads that import one package may see it half made.
    importlib.import_module("spark_jobs.lake.session")
    with ThreadPoolExecutor(max_workers=1) as other:
        function = other.submit(stage.load)
        # In the main thread alone Spark takes Ctrl-C for an order to end its jobs.
        context.session()
        return function.result()


def _current_records(config: Config, cycle: Cycle, folder: Path) -> dict[str, StageRecord]:
    """Records whose inputs are today's, in the map's order; a changed configuration or input drops a
    stage's record and with it those of every reader of what it wrote."""
    found = read_records(folder)
    current: dict[str, StageRecord] = {}
    for stage in STAGES:
        record = found.get(stage.name)
        if record is not None and record.inputs == _inputs(stage, config, cycle, current):
            current[stage.name] = record
    return current


def _inputs(stage: Stage, config: Config, cycle: Cycle, records: dict[str, StageRecord]) -> dict[str, Any]:
    """What the stage's result is a function of, as plain values."""
    earlier = STAGES[: STAGES.index(stage)]
    if "every record" in stage.reads:
        reads = {name: record.inputs_digest for name, record in records.items() if name != stage.name}
    else:
        reads = {}
        for name in stage.reads:
            writer = next((other for other in reversed(earlier) if name in other.writes), None)
            if writer is not None and writer.name in records:
                record = records[writer.name]
                reads[name] = [writer.name, record.inputs_digest, record.versions.get(name)]
    inputs = {
        "stage": stage.name,
        "configuration": config.digest_of(*stage.sections),
        "cutoff": cycle.cutoff.isoformat(),
        "window_seconds": cycle.window.total_seconds(),
        "reads": reads,
    }
    if "vocabulary" in stage.reads:
        chain = {"parent": cycle.parent, "champion": cycle.champion}
        inputs |= {key: [one.version, one.checkpoint_digest] if one else None for key, one in chain.items()}
    return inputs


def _check_upstream(stage: Stage, records: dict[str, StageRecord], config: Config, cycle: Cycle) -> None:
    if stage.always:
        return
    for name in stage.after:
        if name not in records and BY_NAME[name] in STAGES:
            raise StageError(
                f"{stage.name} needs {name}, which has not finished for cycle {cycle.name}; "
                f"run: python -m pipeline {name} {config.words} --cutoff {cycle.cutoff.isoformat()}"
            )
        if name in records and records[name].refused:
            raise StageError(f"{stage.name} does not run: {name} refused the candidate of cycle {cycle.name}")


def _peak_megabytes() -> float:
    """Largest resident memory of this process and its live children (Spark's JVM is one), summed."""
    total = 0.0
    process = psutil.Process()
    for one in (process, *process.children(recursive=True)):
        try:
            status = Path(f"/proc/{one.pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    return round(total, 1)
