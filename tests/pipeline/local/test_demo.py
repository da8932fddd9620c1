from __future__ import annotations

import errno
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline import presets, runner, sources
from pipeline.cycle import lease
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import Cycle, cycle_name
from pipeline.cycle.records import StageResult
from pipeline.local import control, demo, running
from pipeline.local.demo import DemoError, Idle
from pipeline.local.service_settings import airflow_home
from pipeline.report import screens
from pipeline.settings import Settings
from pipeline.workflows.stage import Stage
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


def test_finished_cycles_are_not_run_again(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def never(*arguments: object) -> None:
        raise RuntimeError("started")

    monkeypatch.setattr(demo, "_is_finished", lambda config, settings, name: True)
    monkeypatch.setattr(control, "start", never)
    monkeypatch.setattr(
        screens, "cycle_screen", lambda settings, source, names: f"screen of {source} {names}"
    )
    demo.demo("ml-100k", home)
    assert capsys.readouterr().out.splitlines() == [
        "both cycles are finished; nothing is run",
        "screen of ml-100k ['1998-03-26', '1998-04-23']",
    ]


@pytest.mark.parametrize("refused", [None, "rung_1"])
def test_a_second_demo_prints_the_same_screen(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: str | None
):
    def call(stage: Stage, context: StageContext) -> tuple[StageResult, None]:
        why = "worse than popularity" if stage.name == refused else None
        figures = cycle_records.figures_by_stage()[stage.name]
        return StageResult(figures, dict.fromkeys(stage.writes, 1), why), None

    config = tiny_config()
    names = [cycle_name(cutoff) for cutoff in CUTOFFS]
    with monkeypatch.context() as working:
        working.setattr(runner, "_call", call)
        for cutoff in CUTOFFS:
            cycle = Cycle("tiny", cutoff, timedelta(days=10), None)
            cycle_records.write(home, cycle, {})
            with lease.holding(home, "tiny", cycle.name):
                runner.run_cycle(config, cycle, home, say=lambda text: None)
    screen = screens.cycle_screen(home, "tiny", names)
    assert "0.0500 [.045, .056]" in screen
    monkeypatch.setattr(presets, "load", lambda source: config)
    for module, name in ((control, "start"), (runner, "_call"), (sources, "land")):
        monkeypatch.setattr(module, name, None)
    demo.demo("tiny", home)
    assert capsys.readouterr().out == f"both cycles are finished; nothing is run\n{screen}\n"


def test_a_cycle_that_never_ran_is_not_finished(home: Settings):
    assert not demo._is_finished(presets.load("ml-100k"), home, "1998-03-26")


def test_a_source_without_demo_cutoffs_is_an_error(home: Settings, tmp_path: Path):
    mapping = tmp_path / "my.toml"
    mapping.write_text(
        '[source]\nname = "mine"\n[source.events]\nfiles = ["*.csv"]\nformat = "csv"\n'
        'user = "user"\nitem = "item"\ntime = "time"\n'
    )
    with pytest.raises(DemoError, match=r"names no schedule\.demo_cutoffs; add two dates"):
        demo.demo(str(mapping), home)


class Dag:
    """Airflow with some active runs; ended runs and the pause change it."""

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
    ("ran_before", "stage_runs", "paused", "is_in_progress"),
    [
        (False, True, False, False),  # the new scheduler has started it; nobody waits for it
        (True, False, True, False),
        (True, True, True, True),
        (True, False, False, True),  # between two stages, or waiting for its turn
    ],
)
def test_only_an_abandoned_run_is_ended(
    home: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ran_before: bool,
    stage_runs: bool,
    paused: bool,
    is_in_progress: bool,
):
    monkeypatch.setattr(running, "stage_is_running", lambda settings: stage_runs)
    airflow, lines = Dag(["left"], paused), []
    if is_in_progress:
        with pytest.raises(DemoError) as problem:
            demo._end_abandoned_runs(airflow, home, ran_before, lines.append)
        assert str(problem.value) == (
            "Airflow works on the run left of refresh_cycle; wait for its end, "
            "or stop Airflow and all it runs: make stop"
        )
        assert airflow.runs == ["left"] and lines == []
    else:
        demo._end_abandoned_runs(airflow, home, ran_before, lines.append)
        assert airflow.runs == [] and lines == ["ended the run left that an interrupted demo left"]


def test_without_an_active_run_the_demo_goes_on(home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "stage_is_running", lambda settings: True)
    lines = []
    demo._end_abandoned_runs(Dag([], paused=False), home, True, lines.append)
    assert lines == []


@pytest.mark.parametrize("paused", [True, False])
def test_the_dag_is_paused_afterwards_if_it_was_before(paused: bool):
    airflow = Dag([], paused)
    with demo._unpaused(airflow):
        assert not airflow.paused
    assert airflow.paused == paused
    with pytest.raises(KeyboardInterrupt), demo._unpaused(airflow):
        raise KeyboardInterrupt
    assert airflow.paused == paused


def test_a_full_disk_while_landing_is_one_line(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def land(name: str, settings: Settings, say: Callable[[str], None]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(home.home / "landing" / "u.data"))

    monkeypatch.setenv("REPRISE_HOME", str(home.home))
    monkeypatch.setattr(sources, "land", land)
    monkeypatch.setattr(demo.signal, "signal", lambda number, handler: None)
    assert demo.main(["--source", "ml-100k"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: the disk that holds {home.home} is full, ") and error.count("\n") == 1


def test_each_task_that_ends_is_printed_once(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(running, "stage_is_running", lambda settings: True)
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


def test_the_error_of_a_failed_stage_is_its_own_last_line(home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(running, "stage_is_running", lambda settings: True)
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
    # Looks 1, 4 and 7 query Airflow; at two of the seven no stage's process runs.
    stage_runs = iter([False, True, True, True, True, False, True])
    monkeypatch.setattr(running, "stage_is_running", lambda settings: next(stage_runs))
    idle = Idle()
    watch(home, Scripted(["running", "running", "success"], []), idle).follow("1998-03-26")
    assert (idle.looks, idle.idle) == (7, 2)
    assert idle.share == 2 / 7


def test_the_last_match_of_a_log_that_is_being_written(home: Settings):
    log = write_log(
        home, "train", "[06:00:01] train: step 10", "[06:00:02] train: step 20", half='{"event": "[06:0'
    )
    assert demo._last(log, demo._PROGRESS) == "train: step 20"
    assert demo._last(log, demo._LAST_LINE) is None
    assert demo._last(log.with_name("attempt=2.log"), demo._PROGRESS) is None


def test_without_a_look_the_idle_share_is_zero():
    assert Idle().share == 0.0


class Recorded(Dag):
    """Airflow whose runs succeed at once; keeps what was triggered."""

    def __init__(self, *address: str) -> None:
        super().__init__([], paused=True)
        self.triggered: list[tuple[dict, str]] = []
        Recorded.last = self

    def wait_for_dag(self, dag: str) -> None:
        assert dag == "refresh_cycle"

    def trigger(self, dag: str, conf: dict, name: str) -> str:
        self.triggered.append((conf, name))
        return name

    def state(self, dag: str, run: str) -> str:
        return "success"

    def tasks(self, dag: str, run: str) -> list[dict]:
        return []


@pytest.mark.parametrize("ran_before", [True, False])
def test_cycles_run_one_after_the_other_under_an_airflow_of_this_source(
    home: Settings, monkeypatch: pytest.MonkeyPatch, ran_before: bool
):
    calls = []
    monkeypatch.setattr(sources, "land", lambda name, settings, say: calls.append(f"land {name}"))
    monkeypatch.setattr(running, "airflow_is_running", lambda settings: ran_before)
    monkeypatch.setattr(running, "stage_is_running", lambda settings: False)
    for name in ("prepare_airflow", "end_changed", "start", "stop"):
        monkeypatch.setattr(control, name, lambda *arguments, name=name: calls.append(name))
    monkeypatch.setattr(demo, "Airflow", Recorded)
    days = {"1998-03-26": "1998-03-26", "1998-04-23": "1998-04-23"}
    demo._run("ml-100k", presets.load("ml-100k"), home, days, say=lambda text: None)
    # An Airflow that runs for another source is restarted; one that ran before the demo is left running.
    assert calls == ["land ml-100k", "prepare_airflow", "end_changed", "start"] + ["stop"] * (not ran_before)
    assert Recorded.last.triggered == [
        ({"cutoff": "1998-03-26"}, "ml-100k_1998-03-26"),
        ({"cutoff": "1998-04-23"}, "ml-100k_1998-04-23"),
    ]
    assert Recorded.last.paused
