from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk import CronTriggerTimetable
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from pipeline import orchestration
from pipeline.config import ScheduleConfig
from pipeline.settings import CHECKOUT


def context(
    run_type: str = "manual", start: datetime | None = None, end: datetime | None = None, **form
) -> dict:
    params = {"cutoff": None, "source": "ml-100k", "preset": "laptop", "cold_start": False, **form}
    run = SimpleNamespace(run_type=run_type, data_interval_start=start, data_interval_end=end)
    return {"params": params, "dag_run": run}


def test_a_manual_run_passes_the_form_and_no_interval():
    # The interval of a run by hand is derived from the moment it is triggered: it means nothing.
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert orchestration.arguments("events", context(start=now, end=now, cutoff="1998-03-26", cold_start=True)) == [
        "events", "--source", "ml-100k", "--preset", "laptop", "--run-type", "manual",
        "--cutoff", "1998-03-26", "--cold-start",
    ]  # fmt: skip


def test_a_scheduled_run_passes_its_interval():
    start, end = datetime(2026, 2, 22, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    assert orchestration.arguments("resolve", context("scheduled", start, end))[5:] == [
        "--run-type", "scheduled",
        "--interval-start", "2026-02-22T00:00:00+00:00", "--interval-end", "2026-03-01T00:00:00+00:00",
    ]  # fmt: skip


def test_a_listed_due_time_passes_its_end_alone():
    due = datetime(1998, 3, 26, tzinfo=UTC)
    words = orchestration.arguments("resolve", context("backfill", due, due))
    assert words[5:] == ["--run-type", "backfill", "--interval-end", "1998-03-26T00:00:00+00:00"]


def test_an_empty_preset_leaves_the_choice_to_the_source():
    assert orchestration.form("ml-100k")["preset"].value is None
    assert "--preset" not in orchestration.arguments("events", context(preset=None))


def test_a_run_triggered_by_another_dag_counts_as_manual():
    assert "manual" in orchestration.arguments("resolve", context("operator_triggered", cutoff="1998-03-26"))


def test_the_path_of_a_source_file_is_taken_from_the_checkout():
    words = orchestration.arguments("events", context(source="mine/my.toml"))
    assert words[2] == str(CHECKOUT / "mine" / "my.toml")


def test_stages_understand_the_arguments():
    due = datetime(1998, 3, 26, tzinfo=UTC)
    words = orchestration.arguments("release", context("backfill", due, due))
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


def test_due_times_are_a_grid_from_the_first_to_the_last():
    schedule = ScheduleConfig(window_days=28, start_date=date(1998, 1, 29), end_date=date(1998, 3, 27))
    assert [due.date() for due in orchestration.due_times(schedule)] == [
        date(1998, 1, 29),
        date(1998, 2, 26),
        date(1998, 3, 26),
    ]
    assert orchestration.first_start(schedule) == datetime(1998, 1, 1, tzinfo=UTC)


def test_a_log_that_goes_on_has_a_long_list_of_due_times():
    due = orchestration.due_times(ScheduleConfig(interval_days=0.5, start_date=date(2026, 1, 1)))
    assert len(due) == orchestration.LONGEST_GRID
    assert due[1] == datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_without_cron_and_start_there_are_manual_runs_alone():
    assert orchestration.timetable(ScheduleConfig()) is None


def test_exit_codes_become_airflows_outcomes():
    orchestration.judge(0, "done", 1)
    with pytest.raises(AirflowSkipException, match="refused: below the margin"):
        orchestration.judge(99, "refused: below the margin", 1)
    with pytest.raises(AirflowFailException, match="error: no such file"):
        orchestration.judge(1, "error: no such file", 1)
    with pytest.raises(AirflowException, match="later") as busy:
        orchestration.judge(75, "later: cycle 1998-03-26 is running", 30)
    assert not isinstance(busy.value, AirflowFailException)


@pytest.mark.parametrize("code", [-9, 70, 137])
def test_a_crash_is_tried_again_once(code: int):
    with pytest.raises(AirflowException) as first:
        orchestration.judge(code, "Killed", 1)
    assert not isinstance(first.value, AirflowFailException)
    with pytest.raises(AirflowFailException, match=f"ended with exit code {code}: Killed"):
        orchestration.judge(code, "Killed", 2)


def test_a_failed_submit_is_told_in_the_stages_own_line():
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


def test_a_missing_connection_is_refused(monkeypatch: pytest.MonkeyPatch):
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    def missing(name: str):
        raise AirflowNotFoundException(name)

    monkeypatch.setattr(BaseHook, "get_connection", missing)
    with pytest.raises(AirflowFailException, match="spark_reprise is missing"):
        orchestration.spark_master()
