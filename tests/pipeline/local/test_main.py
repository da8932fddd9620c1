"""The command that starts and stops the local services."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.local import control
from pipeline.local.__main__ import main
from pipeline.settings import CHECKOUT, Settings


def test_start_restarts_what_changed_and_prints_the_addresses(
    monkeypatch: pytest.MonkeyPatch, empty_home: Settings, capsys: pytest.CaptureFixture[str]
):
    calls = []
    monkeypatch.setenv("REPRISE_HOME", str(empty_home.home))
    monkeypatch.setattr(control, "prepare_airflow", lambda *arguments: calls.append("prepare"))
    monkeypatch.setattr(control, "end_changed", lambda settings, wanted: calls.append("end changed"))
    monkeypatch.setattr(
        control, "start", lambda settings, wanted: calls.extend(service.name for service in wanted)
    )
    assert main(["start"]) == 0
    assert calls == [
        "prepare", "end changed", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "mlflow",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Airflow  http://127.0.0.1:8080   user admin, password ")
    assert lines[1:] == ["MLflow   http://127.0.0.1:5000", "make stop ends both."]


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("REPRISE_MLFLOW_PORT", "no")
    assert main(["start"]) == 1
    assert capsys.readouterr().err == "error: REPRISE_MLFLOW_PORT is 'no'; give a port from 1024 to 65535\n"


def test_stop_says_when_no_service_ran(
    monkeypatch: pytest.MonkeyPatch, empty_home: Settings, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("REPRISE_HOME", str(empty_home.home))
    assert main(["stop"]) == 0
    assert capsys.readouterr().out == "stopped nothing: no service ran\n"


def test_a_command_of_airflow_runs_for_this_home_with_its_own_exit_code(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("REPRISE_HOME", str(empty_home.home))
    empty_home.home.mkdir()
    script = empty_home.home / "script"
    script.write_text('echo "$AIRFLOW_HOME" "$@"; exit 3')
    monkeypatch.setattr(control, "program", lambda name: "/bin/sh")
    assert main(["airflow", str(script), "--to-date", "2026-03-01"]) == 3
    assert capfd.readouterr().out == f"{empty_home.home}/airflow --to-date 2026-03-01\n"


@pytest.mark.parametrize("module", ["pipeline.local", "pipeline.local.demo"])
def test_help_has_an_example_and_the_exit_codes(module: str):
    answer = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        check=True, capture_output=True, text=True, cwd=CHECKOUT, env={**os.environ, "COLUMNS": "110"},
    )  # fmt: skip
    assert f"  python -m {module} --source " in answer.stdout
    assert "exit codes:\n  0 " in answer.stdout
