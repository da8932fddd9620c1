from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest

from pipeline.local import control, running
from pipeline.local.services import SCHEDULER
from pipeline.settings import Settings
from tests.pipeline.local.sleeping import sleeper, until

pytestmark = pytest.mark.usefixtures("answering")


def test_the_register_names_what_runs_and_how_it_was_started(empty_home: Settings):
    service = sleeper()
    assert running.running(empty_home) == {} and running.digests(empty_home) == {}
    try:
        control.start(empty_home, [service], say=lambda text: None)
        (process,) = running.running(empty_home).values()
        assert process.cmdline()[0] == sys.executable
        assert running.digests(empty_home) == {"sleeper": service.digest}
        running.register(empty_home, {"sleeper": process})
        assert running.digests(empty_home) == {"sleeper": service.digest}
    finally:
        control.stop(empty_home)
    assert running.running(empty_home) == {}


def test_a_service_is_known_again_after_the_clock_was_set(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch
):
    control.start(empty_home, [sleeper()], say=lambda text: None)
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: create_time(self) + 1)
    assert control.stop(empty_home) == ["sleeper"]


def test_a_process_number_used_again_is_not_a_service(empty_home: Settings):
    empty_home.home.mkdir()
    (empty_home.home / "services.json").write_text(json.dumps({SCHEDULER: [os.getpid(), 1.0]}))
    assert not running.airflow_is_running(empty_home)
    assert control.stop(empty_home) == []


@pytest.mark.parametrize(
    "words", [["pipeline/__main__.py"], ["-m", "pipeline"], ["-m", "pipeline.local.warm_python"]]
)
def test_a_stage_is_recognised_by_its_command_under_the_scheduler(empty_home: Settings, words: list[str]):
    package = empty_home.home / "pipeline"
    (package / "local").mkdir(parents=True)
    for name in ("__init__", "local/__init__"):
        (package / f"{name}.py").touch()
    for name in ("__main__", "local/warm_python"):
        (package / f"{name}.py").write_text("import time; time.sleep(60)")
    code = f"import subprocess, sys; subprocess.run([sys.executable, *{words!r}, 'events'], cwd={str(empty_home.home)!r})"
    scheduler = subprocess.Popen([sys.executable, "-c", code])
    try:
        assert not running.stage_is_running(empty_home)
        running.register(empty_home, {SCHEDULER: psutil.Process(scheduler.pid)})
        assert until(lambda: running.stage_is_running(empty_home))
    finally:
        control.stop(empty_home)
        scheduler.wait()
    assert not running.stage_is_running(empty_home)
