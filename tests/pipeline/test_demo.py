from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import demo, services, status
from pipeline.demo import DemoError, Idle
from pipeline.service_settings import airflow_home
from pipeline.settings import Settings


class Scripted:
    """Answers as Airflow would: one state of the run after another, and the same tasks."""

    def __init__(self, states: list[str], tasks: list[dict]) -> None:
        self._states, self._tasks = states, tasks

    def state(self, dag: str, run: str) -> str:
        return self._states.pop(0)

    def tasks(self, dag: str, run: str) -> list[dict]:
        return self._tasks


def task(name: str, state: str, end: str | None = "2026-03-01T00:00:09Z", seconds: float = 4.25) -> dict:
    return {"task_id": name, "state": state, "end_date": end, "duration": seconds, "try_number": 1}


def write_log(settings: Settings, name: str, *events: str, half: str = "") -> Path:
    folder = airflow_home(settings) / "logs" / "dag_id=refresh_cycle" / "run_id=run" / f"task_id={name}"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps({"timestamp": "…", "event": event}) + "\n" for event in events)
    (folder / "attempt=1.log").write_text(lines + half)
    return folder / "attempt=1.log"


def watch(settings: Settings, airflow: Scripted, idle: Idle) -> demo._Watch:
    return demo._Watch(airflow, settings, "run", idle)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo, "LOOK_SECONDS", 0.0)


def test_finished_cycles_are_looked_up_and_nothing_is_started(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def never(*arguments: object) -> None:
        raise RuntimeError("started")

    monkeypatch.setattr(demo, "_is_finished", lambda config, settings, name: True)
    monkeypatch.setattr(services, "start", never)
    monkeypatch.setattr(status, "cycle_screen", lambda settings, source, names: f"screen of {source} {names}")
    demo.demo("ml-100k", home)
    assert capsys.readouterr().out.splitlines() == [
        "both cycles are finished; nothing is run",
        "screen of ml-100k ['1998-03-26', '1998-04-23']",
    ]


def test_a_cycle_that_never_ran_is_not_finished(home: Settings):
    from pipeline import presets

    assert not demo._is_finished(presets.load("ml-100k"), home, "1998-03-26")


def test_a_source_without_demo_cutoffs_is_told(home: Settings, tmp_path: Path):
    mapping = tmp_path / "my.toml"
    mapping.write_text(
        '[source]\nname = "mine"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "user"\nitem = "item"\ntime = "time"\n'
    )
    with pytest.raises(DemoError, match=r"names no schedule\.demo_cutoffs; add two dates"):
        demo.demo(str(mapping), home)


def test_each_task_that_ends_is_told_once(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(services, "stage_is_running", lambda settings: True)
    write_log(home, "events", "[06:00:01] events: 100,000 accepted, 0 rejected", "Command exited")
    tasks = [
        task("rung_2", "skipped", "2026-03-01T00:00:20Z", 0.0),
        task("in_order", "success", "2026-03-01T00:00:01Z"),
        task("events", "success"),
        task("report", "running", None),
    ]
    watch(home, Scripted(["running", "success"], tasks), Idle()).follow("1998-03-26")
    assert capsys.readouterr().out.splitlines() == [
        "  events                    4.2 s  events: 100,000 accepted, 0 rejected",
        "  rung_2                    0.0 s  skipped",
    ]


def test_a_failed_stage_is_told_in_its_own_line(home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "stage_is_running", lambda settings: True)
    log = write_log(
        home, "events", "error: events: no file matches *.csv", "Command exited with return code 1"
    )
    failed = [task("events", "failed"), task("items", "upstream_failed")]
    with pytest.raises(DemoError) as problem:
        watch(home, Scripted(["failed"], failed), Idle()).follow("1998-03-26")
    assert str(problem.value) == (
        f"cycle 1998-03-26: events failed: error: events: no file matches *.csv; its log: {log}"
    )


def test_idle_time_is_the_share_of_looks_without_a_stage(home: Settings, monkeypatch: pytest.MonkeyPatch):
    # Airflow is asked at looks 1, 4 and 7; of the seven looks two find no process.
    found = iter([False, True, True, True, True, False, True])
    monkeypatch.setattr(services, "stage_is_running", lambda settings: next(found))
    idle = Idle()
    watch(home, Scripted(["running", "running", "success"], []), idle).follow("1998-03-26")
    assert (idle.looks, idle.idle) == (7, 2)
    assert idle.share == 2 / 7


def test_the_last_line_is_found_in_a_log_that_is_being_written(home: Settings):
    log = write_log(
        home, "train", "[06:00:01] train: step 10", "[06:00:02] train: step 20", half='{"event": "[06:0'
    )
    assert demo._last(log, demo._PROGRESS) == "train: step 20"
    assert demo._last(log, demo._TOLD) is None
    assert demo._last(log.with_name("attempt=2.log"), demo._PROGRESS) is None


def test_no_cycle_has_no_idle_share():
    assert Idle().share == 0.0
