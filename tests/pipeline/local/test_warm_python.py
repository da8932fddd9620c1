"""Stages as forks of one process: what a fork has of its command, and which of the two ends with which."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.errors import Exit
from pipeline.local import warm_python
from pipeline.settings import CHECKOUT

STAND_IN = '''"""A package that takes the pipeline's place: says what it was given, and ends as it is told to."""
import json, os, sys, threading
print(json.dumps({
    "number": os.getpid(), "parent": os.getppid(), "words": sys.argv[1:], "folder": os.getcwd(),
    "variable": os.environ.get("REPRISE_TEST"), "loaded": "email.mime.text" in sys.modules,
    "group": os.getpgid(0) == os.getpid(), "own": sorted({"model", "pipeline.registry"} & set(sys.modules)),
}), flush=True)
print("said on the other stream", file=sys.stderr)
how = sys.argv[1]
if how == "waits":
    threading.Event().wait()
if how == "reads":
    print(sys.stdin.read())
if how == "is killed":
    os.kill(os.getpid(), 9)
sys.exit(int(how) if how.isdigit() else 0)
'''


class Checkout:
    """A folder with the module under test beside a stand-in for the pipeline, which loads one small library."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / ("long" * 30)
        (folder / "pipeline" / "local").mkdir(parents=True)
        for package in ("model", "pipeline/registry"):
            (folder / package).mkdir()
        for package in ("pipeline", "pipeline/local", "model", "pipeline/registry"):
            (folder / package / "__init__.py").touch()
        (folder / "pipeline" / "__main__.py").write_text(STAND_IN)
        (folder / "pipeline" / "errors.py").write_text("class Exit:\n    CRASHED = 70\n")
        text = Path(warm_python.__file__).read_text()
        first, last = text.index("LIBRARIES = ("), text.index(")\n", text.index("LIBRARIES = (")) + 1
        (folder / "pipeline" / "local" / "warm_python.py").write_text(
            text[:first] + 'LIBRARIES = ("email.mime.text",)' + text[last:]
        )
        (folder / "elsewhere").mkdir()

    def start(self, *words: str, seconds: str = "60", **variables: str) -> subprocess.Popen:
        environment = os.environ | {"REPRISE_HOME": str(self.home), warm_python.VARIABLE: seconds} | variables
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.local.warm_python", *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def warm(self) -> None:
        """Runs a first stage, and waits for the fork server that it leaves."""
        first = said(self.start("0"))
        assert not first["loaded"] and first["words"] == ["0"]
        deadline = time.monotonic() + 30
        while not self.sockets():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def sockets(self) -> list[Path]:
        return list(warm_python.folder_of(self.home).glob("*.socket"))

    def servers(self) -> list[psutil.Process]:
        folder = str(warm_python.folder_of(self.home))
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if folder in (process.info["cmdline"] or []) and process.parent().name() != process.name()
        ]


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path)
    yield made
    warm_python.end(warm_python.folder_of(made.home))


def said(command: subprocess.Popen) -> dict:
    line = command.stdout.readline()
    assert line, command.stderr.read()
    return json.loads(line)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_later_stage_is_a_fork_with_its_own_words_folder_environment_and_streams(checkout: Checkout):
    checkout.warm()
    command = checkout.start("reads", "--cutoff", "2026-03-01", REPRISE_TEST="mine")
    output, errors = command.communicate("what it reads")
    first, second = output.splitlines()
    stage = json.loads(first)
    assert stage["words"] == ["reads", "--cutoff", "2026-03-01"] and stage["variable"] == "mine"
    assert stage["loaded"] and stage["group"] and stage["number"] != command.pid
    assert stage["folder"] == str(checkout.folder)
    # No module of the project was loaded in advance.
    assert stage["own"] == []
    assert (second, errors, command.returncode) == ("what it reads", "said on the other stream\n", 0)
    folder = warm_python.folder_of(checkout.home)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    warm_python.end(folder)
    wait_until(lambda: not checkout.sockets() and not checkout.servers())


@pytest.mark.parametrize(("how", "code"), [("0", 0), ("99", 99), ("is killed", -signal.SIGKILL)])
def test_the_command_ends_as_its_stage_did(checkout: Checkout, how: str, code: int):
    checkout.warm()
    command = checkout.start(how)
    assert said(command)["loaded"]
    assert command.wait() == code


def test_a_stage_ends_with_its_command_and_others_go_on(checkout: Checkout):
    checkout.warm()
    one, other = checkout.start("waits"), checkout.start("waits")
    numbers = [said(command)["number"] for command in (one, other)]
    one.kill()
    wait_until(lambda: not psutil.pid_exists(numbers[0]))
    assert psutil.pid_exists(numbers[1])
    other.terminate()
    assert other.wait() == -signal.SIGTERM
    assert not psutil.pid_exists(numbers[1])
    assert said(checkout.start("0"))["loaded"]


def test_a_stage_whose_fork_server_is_killed_ends_as_a_crash_and_the_next_is_a_process_again(
    checkout: Checkout,
):
    checkout.warm()
    command = checkout.start("waits")
    number = said(command)["number"]
    for server in checkout.servers():
        server.kill()
    assert command.wait() == Exit.CRASHED
    assert "run it again" in command.stderr.read().splitlines()[-1]
    wait_until(lambda: not psutil.pid_exists(number))
    assert not said(checkout.start("0"))["loaded"]


def test_a_fork_server_ends_when_nothing_is_asked_of_it(checkout: Checkout):
    assert said(checkout.start("0", seconds="0.3"))["words"] == ["0"]
    wait_until(lambda: bool(checkout.sockets()))
    wait_until(lambda: not checkout.sockets())


@pytest.mark.parametrize("variables", [{"OMP_NUM_THREADS": "3"}, {warm_python.VARIABLE: "0"}])
def test_a_stage_for_which_libraries_would_be_loaded_otherwise_is_no_fork(
    checkout: Checkout, variables: dict[str, str]
):
    checkout.warm()
    command = checkout.start("0", **variables)
    stage = said(command)
    assert not stage["loaded"] and stage["number"] == command.pid


def test_nothing_is_left_running_by_the_first_stage_when_it_is_switched_off(checkout: Checkout):
    assert said(checkout.start("0", seconds="0"))["words"] == ["0"]
    assert not checkout.servers() and not warm_python.folder_of(checkout.home).exists()


def test_what_libraries_read_when_they_are_loaded_is_set_by_packages_that_load_nothing_else():
    code = (
        "import sys, os; before = set(sys.modules)\n"
        f"for name in {warm_python.SETTERS!r}: __import__(name)\n"
        "print(sorted(set(sys.modules) - before), os.environ['MLFLOW_DISABLE_TELEMETRY'], os.environ['GOMP_SPINCOUNT'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['model', 'pipeline', 'pipeline.registry'] true 10000"


def test_the_real_pipeline_runs_in_a_fork(home):
    environment = os.environ | {"REPRISE_HOME": str(home.home), warm_python.VARIABLE: "60"}
    words = [sys.executable, "-m", "pipeline.local.warm_python", "--list"]
    folder = warm_python.folder_of(home.home)
    try:
        answers = []
        for _ in range(2):
            done = subprocess.run(
                words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True
            )
            answers.append(done.stdout)
            deadline = time.monotonic() + 120
            while not list(folder.glob("*.socket")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert answers[0] == answers[1] and "validate_sequences" in answers[0]
    finally:
        warm_python.end(folder)
