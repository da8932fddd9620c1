from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.api_fastapi.execution_api.routes.task_instances import _is_eligible_to_retry
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.taskreschedule import TaskReschedule
from airflow.providers.apache.spark.hooks import spark_submit
from airflow.sdk import DAG, CronTriggerTimetable
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)
from airflow.utils.state import TaskInstanceState
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from pipeline import orchestration
from pipeline.config import ScheduleConfig
from pipeline.settings import CHECKOUT, Settings
from pipeline.timetable import CutoffTimetable
from pipeline.workflows.refresh_cycle import refresh_cycle
from tests.airflow_records import start_run


def context(
    run_type: str = "manual", start: datetime | None = None, end: datetime | None = None, **form
) -> dict:
    params = {"cutoff": None, "source": "ml-100k", "preset": None, "cold_start": False, **form}
    run = SimpleNamespace(run_type=run_type, data_interval_start=start, data_interval_end=end)
    return {"params": params, "dag_run": run, "task_reschedule_count": 0}


def test_a_manual_run_passes_the_form_and_no_interval():
    # The data interval of a manual run is the moment it is triggered: it means nothing.
    now = datetime(2026, 3, 1, tzinfo=UTC)
    run = context(start=now, end=now, cutoff="1998-03-26", preset="quick", cold_start=True)
    assert orchestration.arguments("events", "ml-100k", run) == [
        "events", "--source", "ml-100k", "--preset", "quick", "--run-type", "manual",
        "--cutoff", "1998-03-26", "--cold-start",
    ]  # fmt: skip


def test_a_scheduled_run_passes_its_interval_and_leaves_the_preset_to_the_source():
    start, end = datetime(2026, 2, 22, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    assert orchestration.arguments("resolve", "ml-100k", context("scheduled", start, end)) == [
        "resolve", "--source", "ml-100k", "--run-type", "scheduled",
        "--interval-start", "2026-02-22T00:00:00+00:00", "--interval-end", "2026-03-01T00:00:00+00:00",
    ]  # fmt: skip


def test_a_run_triggered_by_another_dag_counts_as_manual():
    run = context("operator_triggered", cutoff="1998-03-26")
    assert "manual" in orchestration.arguments("resolve", "ml-100k", run)


def test_the_form_is_not_asked_for_the_source():
    words = orchestration.arguments("events", "ml-100k", context(source="/elsewhere/my.toml"))
    assert words[:3] == ["events", "--source", "ml-100k"]


def test_the_relative_path_of_a_source_file_starts_at_the_checkout(monkeypatch: pytest.MonkeyPatch):
    read = []
    monkeypatch.setattr(orchestration.presets, "load", lambda source: read.append(source))
    monkeypatch.setenv("REPRISE_SOURCE", "mine/my.toml")
    monkeypatch.setenv("REPRISE_SOURCES", "/logs/other.toml")
    orchestration.registered_sources()
    assert read == [str(CHECKOUT / "mine" / "my.toml"), "/logs/other.toml"]


def test_a_bad_cron_expression_costs_its_own_source_the_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mapping = tmp_path / "my.toml"
    mapping.write_text('extends = "ml-100k"\n[source]\nname = "mine"\n[schedule]\ncron = "every monday"\n')
    monkeypatch.setenv("REPRISE_SOURCE", "ifdb")
    monkeypatch.setenv("REPRISE_SOURCES", str(mapping))
    registered = orchestration.registered_sources()
    assert [source.dag_id for source in registered.usable] == ["refresh_cycle"]
    assert len(registered.problems) == 1 and str(mapping) in registered.problems[0]


def test_stages_understand_the_arguments():
    due = datetime(1998, 3, 26, tzinfo=UTC)
    run = context("backfill", due - timedelta(days=28), due)
    words = orchestration.arguments("release", "ml-100k", run)
    answer = subprocess.run(
        [sys.executable, "-m", "pipeline", *words, "--help"],
        check=False,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr


def test_a_cron_schedule_has_the_interval_between_cycles():
    schedule = orchestration.timetable(ScheduleConfig(cron="0 3 * * 1", window_days=7))
    assert isinstance(schedule, CronTriggerTimetable)
    assert schedule.interval.days == 7


def test_a_schedule_without_cron_is_due_every_interval_from_its_first_to_its_last_cutoff():
    schedule = ScheduleConfig(window_days=28, start_date=date(1998, 1, 29), end_date=date(1998, 3, 27))
    due = orchestration.timetable(schedule)
    assert isinstance(due, CutoffTimetable)
    assert (due.first, due.interval, due.last) == (
        datetime(1998, 1, 29, tzinfo=UTC),
        timedelta(days=28),
        datetime(1998, 3, 27, tzinfo=UTC),
    )
    assert orchestration.first_start(schedule) == datetime(1998, 1, 1, tzinfo=UTC)


def test_an_interval_may_be_a_fraction_of_a_day():
    schedule = ScheduleConfig(interval_days=1 / 3, start_date=date(2026, 1, 1))
    assert orchestration.timetable(schedule).interval == timedelta(hours=8)


def test_without_cron_and_start_there_are_only_manual_runs():
    assert orchestration.timetable(ScheduleConfig()) is None


def test_exit_codes_become_airflows_outcomes():
    orchestration.judge(0, "done", 0)
    with pytest.raises(AirflowSkipException, match="refused: below the margin"):
        orchestration.judge(99, "refused: below the margin", 0)
    with pytest.raises(AirflowFailException, match="error: no such file"):
        orchestration.judge(1, "error: no such file", 0)


@pytest.mark.parametrize("code", [-9, 70, 137])
def test_a_crash_is_left_to_airflows_retries(code: int):
    with pytest.raises(AirflowException, match=f"ended with exit code {code}: Killed") as crash:
        orchestration.judge(code, "Killed", 0)
    assert type(crash.value) is AirflowException


def test_a_busy_source_is_waited_for_an_hour():
    line = "later: cycle 1998-03-26 is running"
    for waits in (0, 59):
        before = datetime.now(UTC)
        with pytest.raises(AirflowRescheduleException) as busy:
            orchestration.judge(75, line, waits)
        assert busy.value.reschedule_date - before >= timedelta(seconds=60)
    with pytest.raises(AirflowFailException, match=line):
        orchestration.judge(75, line, 60)


class Life:
    """The tries of one task in Airflow's own tables; the test says how each process ends."""

    def __init__(self, stage: str, session: Session) -> None:
        with DAG("cycles", schedule=None) as dag:
            orchestration.task_for(STAGES[stage], "ml-100k")
        self.session, self.run = session, start_run(dag, session)

    @property
    def instance(self) -> TaskInstance:
        (instance,) = self.run.get_task_instances(session=self.session)
        return instance

    def is_schedulable(self) -> bool:
        self.session.flush()
        return bool(self.run.task_instance_scheduling_decisions(session=self.session).schedulable_tis)

    def attempt(self, exit_code: int) -> str:
        """Schedules a try whose process ends with this code. Returns the state that Airflow gives the task."""
        decision = self.run.task_instance_scheduling_decisions(session=self.session)
        self.run.schedule_tis(decision.schedulable_tis, session=self.session)
        instance = self.instance
        self.session.refresh(instance)
        waits = select(func.count()).select_from(TaskReschedule).filter_by(ti_id=instance.id)
        try:
            orchestration.judge(exit_code, "the last line", self.session.scalar(waits))
            state = TaskInstanceState.SUCCESS
        except AirflowRescheduleException as wait:
            now = datetime.now(UTC)
            self.session.add(TaskReschedule(instance.id, now, now, wait.reschedule_date))
            state = TaskInstanceState.UP_FOR_RESCHEDULE
        except AirflowFailException:
            state = TaskInstanceState.FAILED
        except AirflowException:
            if _is_eligible_to_retry("running", instance.try_number, instance.max_tries):
                instance.prepare_db_for_next_try(self.session)
                state = TaskInstanceState.UP_FOR_RETRY
            else:
                state = TaskInstanceState.FAILED
        instance.state, instance.end_date = state, datetime.now(UTC) - timedelta(minutes=1)
        self.session.flush()
        return state

    def pause_ends(self) -> None:
        """The time for which the task was rescheduled comes."""
        self.session.execute(update(TaskReschedule).values(reschedule_date=datetime.now(UTC)))

    def clear(self) -> None:
        clear_task_instances([self.instance], self.session)
        self.run.state = "running"
        self.session.flush()


def test_a_crash_is_retried_once_more_after_a_clear(airflow_session: Session):
    task = Life("events", airflow_session)
    for _ in range(3):
        assert task.attempt(137) == "up_for_retry"
        assert task.attempt(137) == "failed"
        task.clear()
    assert task.attempt(137) == "up_for_retry"
    assert task.attempt(0) == "success"


def test_a_crash_is_retried_after_any_wait_for_a_busy_source(airflow_session: Session):
    task = Life("resolve", airflow_session)
    for _ in range(3):
        assert task.attempt(75) == "up_for_reschedule"
        assert not task.is_schedulable()
        task.pause_ends()
        assert task.is_schedulable()
    assert task.attempt(137) == "up_for_retry"
    assert task.attempt(75) == "up_for_reschedule"
    task.pause_ends()
    assert task.attempt(137) == "failed"
    assert task.instance.try_number == 2


def test_a_known_error_is_not_retried_and_neither_is_a_stage_that_judges_data(airflow_session: Session):
    assert Life("events", airflow_session).attempt(1) == "failed"
    airflow_session.rollback()
    assert Life("validate_events", airflow_session).attempt(137) == "failed"


def test_release_of_a_run_without_a_cutoff_ends_nobodys_lease():
    released = orchestration.release_task("ml-100k")
    with pytest.raises(AirflowSkipException, match="names no cutoff"):
        released.execute(context())


STAGES = refresh_cycle(["25k", "50k"])
SECRETS = {
    "AIRFLOW__CORE__FERNET_KEY": "fernet-secret",
    "AIRFLOW__API_AUTH__JWT_SECRET": "jwt-secret",
    "AIRFLOW__API__SECRET_KEY": "session-secret",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://airflow:database-secret@postgres/airflow",
    "AIRFLOW_CONN_WAREHOUSE": "postgresql://me:connection-secret@warehouse/db",
    "AIRFLOW_CONN_SPARK_REPRISE": '{"conn_type":"spark","host":"MASTER","password":"spark-secret"}',
    "_AIRFLOW_PROCESS_CONTEXT": "context-secret",
}
KEPT = {
    "REPRISE_HOME": "/home/of/reprise",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "AWS_SECRET_ACCESS_KEY": "of-the-object-store",
    "https_proxy": "http://proxy:3128",
    "JAVA_HOME": "/opt/java",
}
PRINT_ENVIRONMENT = "#!{python}\nimport json, os\nopen({output!r}, 'w').write(json.dumps(dict(os.environ)))\n"


def seen_by(program: Path, output: Path) -> None:
    """A program that writes down its environment."""
    program.write_text(PRINT_ENVIRONMENT.format(python=sys.executable, output=str(output)))
    program.chmod(0o755)


def assert_without_secrets(output: Path) -> None:
    environment = json.loads(output.read_text())
    assert not any("AIRFLOW" in name or "-secret" in value for name, value in environment.items())
    assert KEPT.items() <= environment.items()
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("seconds", [None, "0"])
def test_a_stages_process_has_no_variable_of_airflow_and_shares_loaded_libraries(
    seconds: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = {"REPRISE_WARM_PYTHON_SECONDS": seconds} if seconds else {}
    for name, value in {**SECRETS, **KEPT, **kept}.items():
        monkeypatch.setenv(name, value)
    seen_by(tmp_path / "python", tmp_path / "environment.json")
    monkeypatch.setattr(orchestration.sys, "executable", str(tmp_path / "python"))
    orchestration.task_for(STAGES["train"], "ml-100k").execute(context(cutoff="2026-03-01"))
    assert_without_secrets(tmp_path / "environment.json")
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["REPRISE_WARM_PYTHON_SECONDS"] == (seconds or "600")


@pytest.mark.parametrize("seconds", [None, "0"])
def test_a_stage_on_a_local_master_is_a_process_that_shares_warm_jvms(
    seconds: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kept = {"REPRISE_WARM_JVM_SECONDS": seconds} if seconds else {}
    for name, value in {**SECRETS, **KEPT, **kept}.items():
        monkeypatch.setenv(name, value.replace("MASTER", "local[2]"))
    seen_by(tmp_path / "python", tmp_path / "environment.json")
    monkeypatch.setattr(orchestration.sys, "executable", str(tmp_path / "python"))
    orchestration.task_for(STAGES["events"], "ml-100k").execute(context(cutoff="2026-03-01"))
    assert_without_secrets(tmp_path / "environment.json")
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["REPRISE_SPARK_MASTER"] == "local[2]"
    assert environment["REPRISE_WARM_JVM_SECONDS"] == (seconds or "600")


def test_a_killed_task_ends_its_process_where_nothing_was_submitted(monkeypatch: pytest.MonkeyPatch):
    ended = []
    monkeypatch.setattr(orchestration.SubprocessHook, "send_sigterm", lambda hook: ended.append("process"))
    monkeypatch.setattr(orchestration.SparkSubmitHook, "on_kill", lambda hook: ended.append("submitted"))
    for stage in ("train", "events"):
        orchestration.task_for(STAGES[stage], "ml-100k").on_kill()
    assert ended == ["process", "process"]


@pytest.mark.parametrize("master", ["spark://spark-master:7077", "yarn"])
def test_spark_submit_has_no_variable_of_airflow(
    master: str, home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = tmp_path / "environment.json"
    monkeypatch.setitem(KEPT, "REPRISE_HOME", str(home.home))
    for name, value in {**SECRETS, **KEPT}.items():
        monkeypatch.setenv(name, value.replace("MASTER", master))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    seen_by(tmp_path / "spark-submit", output)
    task = orchestration.task_for(STAGES["events"], "ml-100k")
    task.execute(context(cutoff="2026-03-01"))
    assert_without_secrets(output)
    environment = json.loads(output.read_text())
    assert (environment["PYTHONPATH"], environment["PYTHONSAFEPATH"]) == (str(CHECKOUT), "1")
    # Where the driver may run on another machine, its environment is part of the command.
    in_command = {"spark.yarn.appMasterEnv.PYTHONSAFEPATH": "1"} if master == "yarn" else {}
    assert in_command.items() <= task.conf.items()


@pytest.mark.parametrize(
    ("master", "given"),
    [
        ("yarn", {"spark.executor.instances": "4", "spark.yarn.queue": "night"}),
        ("k8s://https://host:443", {"spark.kubernetes.container.image": "registry/reprise:1"}),
    ],
)
def test_a_cluster_is_given_the_sources_settings_beside_the_persons_defaults(
    master: str, given: dict[str, str], home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mapping = tmp_path / "my.toml"
    lines = "".join(f'"{name}" = "{value}"\n' for name, value in given.items())
    mapping.write_text(f'extends = "ml-100k"\n[source]\nname = "mine"\n[spark]\n{lines}')
    monkeypatch.setenv("REPRISE_HOME", str(home.home))
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_REPRISE", json.dumps({"conn_type": "spark", "host": master}))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if master.startswith("k8s"):
        with pytest.raises(AirflowFailException, match="apache-airflow-providers-cncf-kubernetes"):
            orchestration.spark_master()
        # As with that package, which only cluster mode calls.
        monkeypatch.setattr(spark_submit, "kube_client", object(), raising=False)
    words = tmp_path / "words.json"
    program = tmp_path / "spark-submit"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(words)!r}, 'w').write(json.dumps(sys.argv))\n"
    )
    program.chmod(0o755)
    orchestration.task_for(STAGES["events"], str(mapping)).execute(context(cutoff="2026-03-01"))
    submitted = json.loads(words.read_text())
    # With such a file, spark-submit reads no spark-defaults.conf.
    assert "--properties-file" not in submitted
    assert submitted[submitted.index("--master") + 1] == master
    conf = dict(
        submitted[place + 1].split("=", 1) for place, word in enumerate(submitted) if word == "--conf"
    )
    prefix = "spark.yarn.appMasterEnv" if master == "yarn" else "spark.kubernetes.driverEnv"
    assert given.items() <= conf.items()
    assert conf[f"{prefix}.PYTHONPATH"] == str(CHECKOUT)
    assert conf["spark.sql.session.timeZone"] == "UTC" and "delta-spark" in conf["spark.jars"]


def test_a_failed_submit_is_reported_by_the_stages_own_line():
    message = (
        "Cannot execute: spark-submit --master local[2]. Error code is: 1.\nLast spark-submit output:\n"
        "Traceback (most recent call last):\nerror: events: no file matches ratings/*.csv\n"
    )
    assert orchestration._spark_failure(message) == (1, "error: events: no file matches ratings/*.csv")
    assert orchestration._spark_failure("Cannot execute: spark-submit. Error code is: -9.") == (
        -1,
        "Cannot execute: spark-submit. Error code is: -9.",
    )


@pytest.mark.parametrize(
    ("connection", "master"),
    [
        ('{"conn_type":"spark","host":"local[2]"}', "local[2]"),
        ('{"conn_type":"spark","host":"local[*]"}', "local[*]"),
        ('{"conn_type":"spark","host":"spark://spark-master","port":7077}', "spark://spark-master:7077"),
        ('{"conn_type":"spark","host":"spark://spark-master:7077"}', "spark://spark-master:7077"),
        ('{"conn_type":"spark","host":"yarn"}', "yarn"),
    ],
)
def test_the_connection_names_a_master(connection: str, master: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_REPRISE", connection)
    assert orchestration.spark_master() == master


@pytest.mark.parametrize(
    "connection", ["spark://local[2]", "local[2]", "spark://spark-master:7077", "{}", "not json"]
)
def test_a_connection_that_would_silently_become_yarn_is_refused(
    connection: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_REPRISE", connection)
    with pytest.raises(AirflowFailException, match="give it as JSON"):
        orchestration.spark_master()


def test_a_missing_connection_is_an_error(monkeypatch: pytest.MonkeyPatch):
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    def missing(name: str):
        raise AirflowNotFoundException(name)

    monkeypatch.setattr(BaseHook, "get_connection", missing)
    with pytest.raises(AirflowFailException, match="spark_reprise is missing"):
        orchestration.spark_master()
