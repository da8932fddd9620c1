"""How Airflow runs a cycle: sources, schedules, form, operators and notifier for the files in `dags/`.

Beside those files and `pipeline.timetable` this is the only module that imports Airflow. It knows nothing
of what a stage does: a task starts one command of `python -m pipeline` as its own process and passes the
run's facts (run type, data interval, form) on; `pipeline.cycle.definition.resolve_cycle` decides what they
mean. Importing it loads neither torch, pyspark, mlflow nor great_expectations.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
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
    AirflowRescheduleException,
    AirflowSkipException,
)

from pipeline import presets
from pipeline.config import Config, ScheduleConfig
from pipeline.cycle.definition import cutoff_of
from pipeline.errors import Exit
from pipeline.local.service_settings import SPARK_CONNECTION
from pipeline.local.warm_python import VARIABLE as WARM_PYTHON
from pipeline.settings import CHECKOUT, Settings
from pipeline.timetable import CutoffTimetable
from pipeline.workflows.stage import Stage

QUEUE_PAUSE = timedelta(seconds=60)
"""Time between two tries of a stage whose source is busy with another cycle."""
QUEUE_TRIES = 60
"""Times a stage waits for a busy source before its task fails."""
WARM_SECONDS = "600"
"""How long the JVM of a local Spark master, and Python's loaded libraries, wait for the next stage, unless
`REPRISE_WARM_JVM_SECONDS` and `REPRISE_WARM_PYTHON_SECONDS` say."""
RETRY_DELAY = timedelta(seconds=10)
"""Wait before a crashed stage is run again; what killed a process is mostly gone in seconds."""

_POOLS = {"spark": "spark", "torch": "gpu", "python": "default_pool"}
_MASTER = re.compile(r"local(\[(\*|\d+)(,\d+)?\])?|yarn|(spark|k8s)://\S+")
# The checkout is on the path, the application's own folder is not: its modules are
# `pipeline.cycle.records`, never `records`.
_PYTHON = {"PYTHONPATH": str(CHECKOUT), "PYTHONSAFEPATH": "1"}
_CLUSTER_ENVIRONMENT = {"yarn": "spark.yarn.appMasterEnv", "k8s": "spark.kubernetes.driverEnv"}


@dataclass(frozen=True)
class RegisteredSource:
    """A source that has a DAG."""

    dag_id: str
    source: str
    """A packaged source's name, or the absolute path of a TOML file."""
    config: Config
    timetable: CronTriggerTimetable | CutoffTimetable | None
    """When its cycles are due; None: only on a manual trigger."""


@dataclass(frozen=True)
class RegisteredSources:
    """The sources named by the environment."""

    usable: tuple[RegisteredSource, ...]
    problems: tuple[str, ...]
    """For every other source one line that says what is wrong with it."""


class BrokenSourceError(ValueError):
    """A registered source without a DAG; the message says what is wrong with its configuration."""


def registered_sources() -> RegisteredSources:
    """The sources of `REPRISE_SOURCE` (DAG `refresh_cycle`) and `REPRISE_SOURCES` (separated by spaces; DAG
    `refresh_cycle_NAME`). A relative path starts at the checkout."""
    named = [("REPRISE_SOURCE", os.environ.get("REPRISE_SOURCE", "ml-100k"))]
    named += [("REPRISE_SOURCES", source) for source in os.environ.get("REPRISE_SOURCES", "").split()]
    usable: dict[str, RegisteredSource] = {}
    problems = []
    for variable, given in named:
        source = str(CHECKOUT / given) if given.endswith(".toml") else given
        if any(source == other.source for other in usable.values()):
            continue
        try:
            registered = _read_source(source, is_main=variable == "REPRISE_SOURCE")
        except Exception as error:  # noqa: BLE001  (nothing about one source may cost another its DAG)
            kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
            place = "" if given in str(error) else f"{given}: "
            problems.append(f"{variable}: {place}{kind}{error}")
            continue
        name = registered.config.source.name
        if name in usable:
            problems.append(
                f"{variable}: {given}: source.name is {name!r}, which {usable[name].source} has too; "
                "choose another name, since tables and versions are kept by it"
            )
        else:
            usable[name] = registered
    return RegisteredSources(tuple(usable.values()), tuple(problems))


def _read_source(source: str, *, is_main: bool) -> RegisteredSource:
    config = presets.load(source)
    dag_id = "refresh_cycle" if is_main else f"refresh_cycle_{config.source.name}"
    return RegisteredSource(dag_id, source, config, timetable(config.schedule))


def timetable(schedule: ScheduleConfig) -> CronTriggerTimetable | CutoffTimetable | None:
    """When a source's cycles are due; None: only on a manual trigger.

    The data interval of a run ends at its cutoff and is as long as the time between two cycles (a plain
    cron string would give intervals of no length). `end_date` is part of the timetable, because a DAG
    with an end date in the past starts no manual run either.
    """
    if schedule.cron:
        return CronTriggerTimetable(schedule.cron, timezone="UTC", interval=timedelta(days=schedule.interval))
    if schedule.start_date is None:
        return None
    last = cutoff_of(schedule.end_date) if schedule.end_date else None
    return CutoffTimetable(cutoff_of(schedule.start_date), timedelta(days=schedule.interval), last)


def first_start(schedule: ScheduleConfig) -> datetime | None:
    """The DAG's start date: where the data interval of the first cycle begins."""
    if schedule.start_date is None:
        return None
    return cutoff_of(schedule.start_date) - timedelta(days=schedule.interval)


def form(source: str) -> dict[str, Param]:
    """The fields of the manual trigger; a scheduled or backfilled run has their defaults.

    A DAG runs its own source: a mapping is SQL that can call Java, so a person who may trigger runs may not
    choose the file. The constant `source` is hidden in the form, and a trigger through the REST API that
    names another source is refused; the tasks never read it.
    """
    return {
        "cutoff": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Cutoff date",
            description="The cycle uses all events before 00:00 UTC of this day. Required for a manual run; a "
            "scheduled run or a backfill takes the end of its data interval.",
        ),
        "preset": Param(
            None,
            type=["null", "string"],
            enum=[None, *sorted(presets.PRESETS)],
            values_display={"null": "the source's own"},
            title="Preset",
            description="The named configuration to start from.",
        ),
        "cold_start": Param(
            False, type="boolean", title="Cold start", description="Train from scratch, without a parent."
        ),
        "source": Param(source, const=source, type="string", title="Source"),
    }


def phase_groups(stages: Iterable[Stage]) -> dict[str, TaskGroup]:
    """A task group for every phase of the map; task ids stay the stages' names."""
    phases = dict.fromkeys(stage.phase for stage in stages if stage.phase)
    return {phase: TaskGroup(phase, prefix_group_id=False) for phase in phases}


def task_for(stage: Stage, source: str, group: TaskGroup | None = None) -> BaseOperator:
    """The task of a stage: submitted through the Spark connection, or started as a process."""
    operator = SparkStageOperator if stage.engine == "spark" else StageOperator
    return operator(
        task_id=stage.name,
        command=stage.name,
        source=source,
        task_group=group,
        pool=_POOLS[stage.engine],
        retries=stage.retries,
        retry_delay=RETRY_DELAY,
        # After a refusal only the stages that always run still run; after a failure they do not either, so
        # that the state of the last task is the state of the run.
        trigger_rule="none_failed" if stage.always else "all_success",
        doc_md=f"{stage.title}\n\nreads {', '.join(stage.reads) or '-'}; writes {', '.join(stage.writes) or '-'}",
        on_failure_callback=FailureNotifier(),
    )


def release_task(source: str) -> BaseOperator:
    """The task that gives up the cycle's lease of the source."""
    return ReleaseOperator(
        task_id="release", command="release", source=source, retries=1, retry_delay=RETRY_DELAY
    )


def maintenance_timetable(registered: RegisteredSource) -> CronTriggerTimetable | None:
    """When a source's tables are maintained; None: when a person asks for it."""
    cron = registered.config.maintenance.cron
    return CronTriggerTimetable(cron, timezone="UTC") if cron else None


def maintenance_task(source: str) -> BaseOperator:
    """The task that maintains a source's tables. It waits for a stage at work, as a stage for another."""
    return SparkStageOperator(
        task_id="maintain",
        command="maintain",
        source=source,
        pool=_POOLS["spark"],
        retries=1,
        retry_delay=RETRY_DELAY,
        on_failure_callback=FailureNotifier(),
    )


def arguments(command: str, source: str, context: Context) -> list[str]:
    """The arguments of `python -m pipeline` for a run: its source, and what the form and Airflow say. A DAG without a
    form runs no cycle: its command is given the source alone."""
    params, run = context["params"], context["dag_run"]
    if not params:
        return [command, "--source", source]
    run_type = str(getattr(run.run_type, "value", run.run_type))
    options = {
        "--source": source,
        "--preset": params["preset"],
        "--run-type": run_type if run_type in ("scheduled", "backfill") else "manual",
        "--cutoff": params["cutoff"],
    }
    if options["--run-type"] != "manual":
        start, end = run.data_interval_start, run.data_interval_end
        options["--interval-start"] = start.isoformat() if start else None
        options["--interval-end"] = end.isoformat() if end else None
    words = [command, *(word for name, value in options.items() if value for word in (name, value))]
    return [*words, "--cold-start"] if params["cold_start"] else words


def stage_environment() -> dict[str, str]:
    """The environment of a stage's process: the task's own without any variable of Airflow.

    A stage runs a source's SQL and may start a JVM on other machines. It calls nothing of Airflow, so it
    gets neither its keys, its database's address nor its connections. Credentials of object stores,
    proxies and everything named `REPRISE_*` or `MLFLOW_*` stay.
    """
    return {name: value for name, value in os.environ.items() if not name.lstrip("_").startswith("AIRFLOW")}


def run_command(
    hook: SubprocessHook, command: str, source: str, context: Context, environment: dict[str, str]
) -> None:
    """Runs a command of the pipeline in a process of its own and judges its exit code."""
    words = [sys.executable, "-m", "pipeline.local.warm_python", *arguments(command, source, context)]
    environment = {WARM_PYTHON: WARM_SECONDS, **environment}
    result = hook.run_command(words, env=environment, cwd=str(CHECKOUT))
    judge(result.exit_code, result.output, context["task_reschedule_count"])


class StageOperator(BaseOperator):
    """Runs one command of the pipeline as its own process, whose output is the task's log.

    `judge` says what its exit code means.
    """

    def __init__(self, *, command: str, source: str, **options: Any) -> None:
        super().__init__(**options)
        self.command = command
        self.source = source
        self._hook = SubprocessHook()

    def execute(self, context: Context) -> None:
        run_command(self._hook, self.command, self.source, context, stage_environment())

    def on_kill(self) -> None:
        self._hook.send_sigterm()


class ReleaseOperator(StageOperator):
    """Gives up the lease that the run's cycle holds, if it holds one."""

    def execute(self, context: Context) -> None:
        # Without a cutoff the command would end the lease of whichever cycle holds the source.
        words = arguments(self.command, self.source, context)
        if not {"--cutoff", "--interval-end"} & set(words):
            raise AirflowSkipException("the run names no cutoff, so it took no lease")
        super().execute(context)


def judge(exit_code: int, last_line: str, waits: int) -> None:
    """Returns when a command is done; otherwise raises what makes Airflow skip, wait, retry or give up.

    - 99 (refused): what follows is skipped.
    - 75 (the source is busy): the same try goes on after `QUEUE_PAUSE`, at most `QUEUE_TRIES` times;
      `waits` is how often it waited already. Waiting uses up no retry.
    - 1 (a known error): the task fails, since running it again cannot help.
    - Anything else is a crash: Airflow retries it as often as the task allows, and counts from zero after a
      clear.
    """
    if exit_code == Exit.DONE:
        return
    if exit_code == Exit.REFUSED:
        raise AirflowSkipException(last_line)
    if exit_code == Exit.TRY_LATER and waits < QUEUE_TRIES:
        raise AirflowRescheduleException(datetime.now(UTC) + QUEUE_PAUSE)
    if exit_code in (Exit.FAILED, Exit.TRY_LATER):
        raise AirflowFailException(last_line)
    raise AirflowException(f"ended with exit code {exit_code}: {last_line}")


class SparkStageOperator(SparkSubmitOperator):
    """Runs one command of the pipeline on the master of the connection `spark_reprise`.

    It is submitted to a cluster. With a local master it is a process like any other stage's, so that its JVM
    can be one that an earlier stage has left warm (`spark_jobs.lake.warm_jvm`).
    """

    def __init__(self, *, command: str, source: str, **options: Any) -> None:
        super().__init__(
            application=str(CHECKOUT / "pipeline" / "__main__.py"),
            conn_id=SPARK_CONNECTION,
            name=f"reprise-{command}",
            **options,
        )
        self.command = command
        self.source = source
        self._process = SubprocessHook()

    def execute(self, context: Context) -> None:
        master = spark_master()
        if master.startswith("local"):
            environment = {
                "REPRISE_WARM_JVM_SECONDS": WARM_SECONDS,
                **stage_environment(),
                "REPRISE_SPARK_MASTER": master,
            }
            run_command(self._process, self.command, self.source, context, environment)
            return
        self.application_args = arguments(self.command, self.source, context)
        # Not as a properties file, which would stand in place of the person's spark-defaults.conf.
        self.conf = _spark_settings(master, self.source)
        code, line = Exit.DONE, ""
        try:
            super().execute(context)
        except AirflowException as error:
            code, line = _spark_failure(str(error))
        # Outside the handler, so that the task's log ends with the stage's last line and no traceback of the hook.
        judge(code, line, context["task_reschedule_count"])

    def on_kill(self) -> None:
        if self._hook is None:  # nothing was submitted
            self._process.send_sigterm()
        else:
            super().on_kill()

    def _get_hook(self) -> SparkSubmitHook:
        hook = super()._get_hook()
        # The operator's `env_vars` would be added to the task's environment, Airflow's secrets included.
        hook.submit = partial(hook.submit, env=stage_environment() | _PYTHON)
        return hook


def _spark_failure(message: str) -> tuple[int, str]:
    """Exit code and the one line that says what was wrong, from the hook's message."""
    code = re.search(r"Error code is: (\d+)", message)
    own_lines = [line for line in message.splitlines() if line.startswith(("error: ", "later: "))]
    return (int(code[1]) if code else -1), (own_lines[-1] if own_lines else message.strip().splitlines()[0])


def spark_master() -> str:
    """The master that the connection names.

    Raises AirflowFailException where the operator would silently fall back to yarn: no connection, or one
    written as a URI.
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
    if host.startswith("k8s:") and not _has_kubernetes():
        raise AirflowFailException(
            f"the connection {SPARK_CONNECTION} names {host}, for which Airflow's Spark operator needs the package "
            "apache-airflow-providers-cncf-kubernetes; install it where tasks run"
        )
    return f"{host}:{connection.port}" if connection.port else host


def _has_kubernetes() -> bool:
    from airflow.providers.apache.spark.hooks import spark_submit

    return hasattr(spark_submit, "kube_client")


def _spark_settings(master: str, source: str) -> dict[str, str]:
    """What spark-submit is given for a source beside the person's `spark-defaults.conf`."""
    from spark_jobs.lake.session import configuration

    chosen = configuration(master, str(Settings.from_environment().jars), presets.load(source).spark)
    # Where the driver may run on another machine, its environment is part of the command.
    prefix = _CLUSTER_ENVIRONMENT.get(master.partition(":")[0])
    return chosen | ({f"{prefix}.{name}": value for name, value in _PYTHON.items()} if prefix else {})


class FailureNotifier(BaseNotifier):
    """Logs in one line which stage of which run failed, and why."""

    def notify(self, context: Context) -> None:
        instance, error = context["ti"], context.get("exception")
        self.log.error("%s of %s failed: %s", instance.task_id, instance.run_id, error)
