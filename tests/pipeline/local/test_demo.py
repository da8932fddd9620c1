from __future__ import annotations

import errno
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import presets, runner, sources
from pipeline.cycle import lease
from pipeline.cycle.definition import Cycle, cycle_name
from pipeline.cycle.records import StageContext, StageResult
from pipeline.local import demo, services
from pipeline.local.demo import DemoError, Idle
from pipeline.local.service_settings import airflow_home
from pipeline.report import screens as status
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import Stage
from tests.factories import CUTOFFS, tiny_config
from tests.pipeline import cycle_records


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


@pytest.mark.parametrize("refused", [None, "rung_1"])
def test_the_screen_of_whole_cycles_is_the_same_again(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: str | None
):
    def call(stage: Stage, context: StageContext) -> StageResult:
        figures = cycle_records.figures_by_stage().get(stage.name, {})
        why = "worse than popularity" if stage.name == refused else None
        return StageResult(dict.fromkeys(stage.writes, 1), figures, why)

    config = tiny_config()
    names = [cycle_name(cutoff) for cutoff in CUTOFFS]
    with monkeypatch.context() as working:
        working.setattr(runner, "_call", call)
        for cutoff in CUTOFFS:
            cycle = Cycle("tiny", cutoff, timedelta(days=10), None)
            cycle_records.write(home, cycle, {})
            with lease.holding(home, "tiny", cycle.name):
                runner.run_cycle(config, cycle, home, say=lambda text: None)
    told = status.cycle_screen(home, "tiny", names)
    assert "0.0500 [.045, .056]" in told
    monkeypatch.setattr(presets, "load", lambda source: config)
    for module, name in ((services, "start"), (runner, "_call"), (sources, "land")):
        monkeypatch.setattr(module, name, None)
    demo.demo("tiny", home)
    assert capsys.readouterr().out == f"both cycles are finished; nothing is run\n{told}\n"


def test_a_cycle_that_never_ran_is_not_finished(home: Settings):
    assert not demo._is_finished(presets.load("ml-100k"), home, "1998-03-26")


def test_a_source_without_demo_cutoffs_is_told(home: Settings, tmp_path: Path):
    mapping = tmp_path / "my.toml"
    mapping.write_text(
        '[source]\nname = "mine"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "user"\nitem = "item"\ntime = "time"\n'
    )
    with pytest.raises(DemoError, match=r"names no schedule\.demo_cutoffs; add two dates"):
        demo.demo(str(mapping), home)


class Dag:
    """Airflow with some active runs; keeps what it was told."""

    def __init__(self, runs: list[str], paused: bool) -> None:
        self.runs, self.paused = runs, paused

    def active_runs(self, dag: str) -> list[str]:
        return list(self.runs)

    def end_run(self, dag: str, run: str) -> None:
        self.runs.remove(run)

    def is_paused(self, dag: str) -> bool:
        return self.paused

    def set_paused(self, dag: str, paused: bool) -> None:
        self.paused = paused


@pytest.mark.parametrize(
    ("ran_before", "stage_runs", "paused", "is_worked_on"),
    [
        (False, True, False, False),  # the new scheduler has taken it up; nobody waits for it
        (True, False, True, False),
        (True, True, True, True),
        (True, False, False, True),  # between two stages, or waiting for its turn
    ],
)
def test_only_a_run_that_nobody_works_on_is_ended(
    home: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ran_before: bool,
    stage_runs: bool,
    paused: bool,
    is_worked_on: bool,
):
    monkeypatch.setattr(services, "stage_is_running", lambda settings: stage_runs)
    airflow, told = Dag(["left"], paused), []
    if is_worked_on:
        with pytest.raises(DemoError) as problem:
            demo._end_left_runs(airflow, home, ran_before, told.append)
        assert str(problem.value) == (
            "Airflow works on the run left of refresh_cycle; wait for its end, "
            "or stop Airflow and all it runs: make stop"
        )
        assert airflow.runs == ["left"] and told == []
    else:
        demo._end_left_runs(airflow, home, ran_before, told.append)
        assert airflow.runs == [] and told == ["ended the run left that an interrupted demo left"]


def test_no_active_run_is_in_nobodys_way(home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "stage_is_running", lambda settings: True)
    told = []
    demo._end_left_runs(Dag([], paused=False), home, True, told.append)
    assert told == []


@pytest.mark.parametrize("paused", [True, False])
def test_the_dag_is_left_paused_or_not_as_it_was_found(paused: bool):
    airflow = Dag([], paused)
    with demo._unpaused(airflow):
        assert not airflow.paused
    assert airflow.paused == paused
    with pytest.raises(KeyboardInterrupt), demo._unpaused(airflow):
        raise KeyboardInterrupt
    assert airflow.paused == paused


def test_a_full_disk_while_landing_is_told_in_one_line(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def land(name: str, settings: Settings, say: Callable[[str], None]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(home.home / "landing" / "u.data"))

    monkeypatch.setenv("REPRISE_HOME", str(home.home))
    monkeypatch.setattr(sources, "land", land)
    monkeypatch.setattr(demo.signal, "signal", lambda number, handler: None)
    assert demo.main(["--source", "ml-100k"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: the disk that holds {home.home} is full, ") and told.count("\n") == 1


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
