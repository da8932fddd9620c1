"""Starts commands of the program as forks of a process that has imported everything, so that a start takes no seconds.

    server = ForkServer(home)
    process = server.start(["events", "--source", "tiny.toml", "--cutoff", "2024-02-10"], log)
    process.kill("group")                   # or "python", "jvm"
    assert process.wait() == -signal.SIGKILL

A fork inherits modules and nothing else: it opens its own log, Spark session and database. The server itself never runs a
command, so that it has no thread that a fork would lack.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from pipeline.settings import CHECKOUT

IMPORTED = (
    "deltalake",
    "great_expectations",
    "mlflow",
    "pyspark.sql",
    "pytorch_lightning",
    "pipeline.__main__",
    "pipeline.runner",
    "spark_jobs.lake.session",
)


class Process:
    """One command that the server has started."""

    def __init__(self, server: ForkServer, number: int) -> None:
        self._server, self.number = server, number

    def kill(self, victim: str) -> None:
        """Kills the whole group, Python alone, or the JVM alone where there is one."""
        if victim == "group":
            os.killpg(self.number, signal.SIGKILL)
        elif victim == "jvm" and (machine := self._jvm()) is not None:
            machine.kill()
        else:
            os.kill(self.number, signal.SIGKILL)

    def _jvm(self) -> psutil.Process | None:
        try:
            children = psutil.Process(self.number).children()
            return next((child for child in children if child.name() == "java"), None)
        except psutil.Error:
            return None

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        return self._server.ask({"wait": self.number})

    def end_group(self) -> None:
        """Ends a JVM that has outlived its Python process."""
        try:
            os.killpg(self.number, signal.SIGKILL)
        except ProcessLookupError:
            pass


class ForkServer:
    """The test's end of a server process."""

    def __init__(self, home: Path) -> None:
        words = [sys.executable, "-m", "tests.proof.fork_server"]
        environment = os.environ | {"REPRISE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            words, cwd=CHECKOUT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, request: dict[str, Any]) -> int:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, words: list[str], log: Path, **variables: str) -> Process:
        """Starts `python -m pipeline` with these words and further variables of the environment."""
        return Process(self, self.ask({"run": words, "log": str(log), "variables": variables}))

    def state(self, home: Path, folder: Path) -> dict[str, Any]:
        """What a home holds of the tiny log (`tiny_home.state`), read by a process of its own: MLflow keeps a database
        open, whose file may be put back meanwhile. `folder` is for its files."""
        target, log = folder / "state.json", folder / "state.log"
        words = [str(home), "tiny", str(target)]
        request = {"run": words, "log": str(log), "function": "tests.proof.tiny_home:write_state"}
        assert self.ask({"wait": self.ask(request)}) == 0, log.read_text()
        return json.loads(target.read_text())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _forked(request: dict[str, Any]) -> int:
    """Number of a process that does what is asked in a group of its own."""
    child = os.fork()
    if child:
        os.setpgid(child, child)  # here, so that it can be killed as a group from now on
        return child
    code = 70
    try:
        os.setpgid(0, 0)
        with open(request["log"], "w") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        os.environ |= request.get("variables", {})
        code = _function(request)(request["run"]) or 0
        sys.stdout.flush()
    finally:
        os._exit(code)


def _function(request: dict[str, Any]) -> Callable[[list[str]], int | None]:
    module, _, name = request.get("function", "pipeline.__main__:main").partition(":")
    return getattr(importlib.import_module(module), name)


def _serve() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = _forked(request)
        print(answer, flush=True)


if __name__ == "__main__":
    _serve()
