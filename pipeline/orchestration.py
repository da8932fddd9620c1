"""How Airflow runs a cycle: schedule, form, operators, defaults and notifier for the files in `dags/`.

In: the map of stages and a source's schedule. Out: Airflow objects. Beside `dags/` this is the only
module that imports Airflow; it knows no stage's insides. A task is a process of its own that is
given the run's raw facts (run type, data interval, form); `pipeline.cycle.definition.resolve_cycle` decides
what they mean. Reading it loads neither torch, pyspark, mlflow nor great_expectations.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import (
    BaseHook,
    BaseNotifier,
    BaseOperator,
    Context,
    CronTriggerTimetable,
    Param,
    TaskGroup,
)
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
)

from pipeline.config import ScheduleConfig
from pipeline.cycle.definition import cutoff_of
from pipeline.local.service_settings import SPARK_CONNECTION
from pipeline.presets import DEFAULT, PRESETS
from pipeline.settings import CHECKOUT, Settings
from pipeline.sources import SOURCES
from pipeline.timetable import CutoffTimetable
from pipeline.workflows.refresh_cycle import Stage

DONE, FAILED, TRY_LATER, REFUSED = 0, 1, 75, 99
"""Exit codes of a stage that mean something; any other is a crash."""
CRASH_TRIES = 2
"""A crash is tried at most this often, however often a busy source is."""

_POOLS = {"spark": "spark", "torch": "gpu", "python": "default_pool"}
_MASTER = re.compile(r"local(\[(\*|\d+)(,\d+)?\])?|yarn|(spark|k8s)://\S+")


def timetable(schedule: ScheduleConfig) -> CronTriggerTimetable | CutoffTimetable | None:
    """When a source's cycles are due; None: manual triggers alone.

    The data interval of a run ends at its cutoff and is as long as the time between two cycles (a plain
    cron string would give intervals of no length). `end_date` is part of the timetable, because a DAG
    with an end date in the past starts no manual run either. Raises ValueError for cron with `end_date`.
    """
    if schedule.cron:
        if schedule.end_date:
            raise ValueError("schedule.cron and schedule.end_date cannot be combined; leave one of them out")
        return CronTriggerTimetable(schedule.cron, timezone="UTC", interval=_interval(schedule))
    if schedule.start_date is None:
        return None
    last = cutoff_of(schedule.end_date) if schedule.end_date else None
    return CutoffTimetable(cutoff_of(schedule.start_date), _interval(schedule), last)


def first_start(schedule: ScheduleConfig) -> datetime | None:
    """The DAG's start date: where the data interval of the first cycle begins."""
    if schedule.start_date is None:
        return None
    return cutoff_of(schedule.start_date) - _interval(schedule)


def _interval(schedule: ScheduleConfig) -> timedelta:
    """Time between two cycles, in whole minutes as every cutoff: a third of a day, written 0.333, is 8 hours."""
    return timedelta(minutes=max(1, round(schedule.interval * 24 * 60)))


def form(source: str) -> dict[str, Param]:
    """The fields of the manual trigger; a scheduled or backfilled run has their defaults."""
    return {
        "cutoff": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Cutoff date",
            description="The cycle ends at 00:00 UTC of this day. A run by hand needs it; a scheduled one "
            "and a backfill leave it empty and take the end of their data interval.",
        ),
        "source": Param(
            source,
            type="string",
            pattern=r"^([a-z][a-z0-9-]*|.*\.toml)$",
            examples=sorted({source, *SOURCES}),
            title="Source",
            description="A packaged source, or the path of a TOML file on the worker.",
        ),
        "preset": Param(
            DEFAULT, enum=sorted(PRESETS), title="Preset", description="The named run to start from."
        ),
        "cold_start": Param(
            False, type="boolean", title="Cold start", description="Train from scratch, without a parent."
        ),
    }


def phase_groups(stages: Iterable[Stage]) -> dict[str, TaskGroup]:
    """A group for every phase of the map, that a person folds; task ids stay the stages' names."""
    phases = dict.fromkeys(stage.phase for stage in stages if stage.phase)
    return {phase: TaskGroup(phase, prefix_group_id=False) for phase in phases}


def task_for(stage: Stage, group: TaskGroup | None = None) -> BaseOperator:
    """The task of a stage: submitted through the Spark connection, or a process of its own."""
    operator = SparkStageOperator if stage.engine == "spark" else StageOperator
    queues = stage.retries > CRASH_TRIES
    return operator(
        task_id=stage.name,
        command=stage.name,
        task_group=group,
        pool=_POOLS[stage.engine],
        retries=stage.retries,
        # A busy source is free again in minutes; what killed a process is mostly gone in seconds.
        retry_delay=timedelta(seconds=60 if queues else 10),
        # After a refusal what comes next is skipped, but for the stages that always run; after a
        # failure they do not run either, so that the last task tells the run's outcome.
        trigger_rule="none_failed" if stage.always else "all_success",
        doc_md=f"{stage.title}\n\nreads {', '.join(stage.reads) or '-'}; writes {', '.join(stage.writes) or '-'}",
        on_failure_callback=FailureNotifier(),
    )


def release_task() -> BaseOperator:
    """The command that gives the source back, whatever the cycle came to."""
    return StageOperator(task_id="release", command="release", retries=1, retry_delay=timedelta(seconds=10))


def arguments(command: str, context: Context) -> list[str]:
    """What `python -m pipeline` is told about a run: the form and Airflow's raw facts."""
    params, run = context["params"], context["dag_run"]
    run_type = str(getattr(run.run_type, "value", run.run_type))
    told = {
        "--source": _absolute(params["source"]),
        "--preset": params["preset"],
        "--run-type": run_type if run_type in ("scheduled", "backfill") else "manual",
        "--cutoff": params["cutoff"],
    }
    if told["--run-type"] != "manual":
        start, end = run.data_interval_start, run.data_interval_end
        told["--interval-start"] = start.isoformat() if start else None
        told["--interval-end"] = end.isoformat() if end else None
    words = [command, *(word for name, value in told.items() if value for word in (name, value))]
    return [*words, "--cold-start"] if params["cold_start"] else words


def _absolute(source: str) -> str:
    return str(CHECKOUT / source) if source.endswith(".toml") else source


class StageOperator(BaseOperator):
    """Runs one command of the pipeline as a process of its own; its lines are the task's log.

    Exit code 99 skips what comes next, 75 is tried again, 1 is an error that trying again cannot
    help; anything else is a crash, which may have come from outside.
    """

    def __init__(self, *, command: str, **options: Any) -> None:
        super().__init__(**options)
        self.command = command
        self._hook = SubprocessHook()

    def execute(self, context: Context) -> None:
        words = [sys.executable, "-m", "pipeline", *arguments(self.command, context)]
        result = self._hook.run_command(words, env=dict(os.environ), cwd=str(CHECKOUT))
        judge(result.exit_code, result.output, context["ti"].try_number)

    def on_kill(self) -> None:
        self._hook.send_sigterm()


def judge(exit_code: int, last_line: str, try_number: int) -> None:
    """Returns when a command is done; raises what makes Airflow skip, try again or give up."""
    if exit_code == DONE:
        return
    if exit_code == REFUSED:
        raise AirflowSkipException(last_line)
    told = last_line if exit_code in (FAILED, TRY_LATER) else f"ended with exit code {exit_code}: {last_line}"
    if exit_code == FAILED or (exit_code != TRY_LATER and try_number >= CRASH_TRIES):
        raise AirflowFailException(told)
    raise AirflowException(told)


class SparkStageOperator(SparkSubmitOperator):
    """Submits one command of the pipeline through the connection `spark_reprise`."""

    def __init__(self, *, command: str, **options: Any) -> None:
        super().__init__(
            application=str(CHECKOUT / "pipeline" / "__main__.py"),
            conn_id=SPARK_CONNECTION,
            name=f"reprise-{command}",
            # The checkout is on the path, the application's own folder is not: its modules are
            # `pipeline.cycle.records`, never `records`.
            env_vars={"PYTHONPATH": str(CHECKOUT), "PYTHONSAFEPATH": "1"},
            **options,
        )
        self.command = command

    def execute(self, context: Context) -> None:
        master = spark_master()
        self.application_args = arguments(self.command, context)
        self.properties_file = str(_spark_properties(master))
        code, line = DONE, ""
        try:
            super().execute(context)
        except AirflowException as error:
            code, line = _spark_failure(str(error))
        # Outside the handler, so that the task's log ends with the stage's own line alone.
        judge(code, line, context["ti"].try_number)


def _spark_failure(message: str) -> tuple[int, str]:
    """Exit code and the one line that says what was wrong, from the hook's message."""
    code = re.search(r"Error code is: (\d+)", message)
    told = [line for line in message.splitlines() if line.startswith(("error: ", "later: "))]
    return (int(code[1]) if code else -1), (told[-1] if told else message.strip().splitlines()[0])


def spark_master() -> str:
    """The master that the connection names.

    Raises AirflowFailException where the operator would fall back to yarn without a word: no
    connection, or one in the form of a URI.
    """
    advice = f"""give it as JSON: AIRFLOW_CONN_{SPARK_CONNECTION.upper()}='{{"conn_type":"spark","host":"local[2]"}}'"""
    try:
        connection = BaseHook.get_connection(SPARK_CONNECTION)
    except (AirflowNotFoundException, ValueError):
        raise AirflowFailException(
            f"the connection {SPARK_CONNECTION} is missing or unreadable; {advice}"
        ) from None
    host = connection.host or ""
    if connection.conn_type != "spark" or not _MASTER.fullmatch(host):
        raise AirflowFailException(
            f"the connection {SPARK_CONNECTION} names no Spark master (type {connection.conn_type!r}, host {host!r}); "
            f"allowed are local[n], spark://host:port, k8s://address and yarn; {advice}"
        )
    return f"{host}:{connection.port}" if connection.port else host


def _spark_properties(master: str) -> Path:
    """The properties file for spark-submit; a local one is made at set-up."""
    settings = Settings.from_environment()
    local = master.startswith("local")
    path = settings.home / "spark" / ("spark.properties" if local else "cluster.properties")
    if local and path.exists():
        return path
    from spark_jobs.lake.session import write_properties

    return write_properties(path, master, str(settings.jars))


class FailureNotifier(BaseNotifier):
    """Says in one line of the task's log which stage of which run failed, and why."""

    def notify(self, context: Context) -> None:
        instance, error = context["ti"], context.get("exception")
        self.log.error("%s of %s failed: %s", instance.task_id, instance.run_id, error)
