from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.local import control, services
from pipeline.settings import CHECKOUT, Settings
from tests.pipeline.local.sleeping import sleeper


def test_everything_listens_on_the_loopback(empty_home: Settings):
    command = services.mlflow_service(empty_home, 5001).command
    assert command[command.index("--host") + 1] == "127.0.0.1"
    api_server, scheduler, processor = services.airflow_services(empty_home, "ml-100k", 18081)
    assert api_server.environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "--skip-serve-logs" in scheduler.command
    assert (api_server.port, scheduler.port, processor.port) == (18081, None, None)


def test_a_digest_changes_with_the_command_and_with_what_configures_it():
    service = sleeper(REPRISE_SOURCE="ml-100k")
    assert service.digest == sleeper(REPRISE_SOURCE="ml-100k", COLUMNS="80").digest
    assert service.digest != sleeper(REPRISE_SOURCE="ifdb").digest
    assert service.digest != services.Service("sleeper", ("sleep",), service.environment, "").digest


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
    assert services.main(["start"]) == 0
    assert calls == [
        "prepare", "end changed", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "mlflow",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Airflow  http://127.0.0.1:8080   user admin, password ")
    assert lines[1:] == ["MLflow   http://127.0.0.1:5000", "make stop ends both."]


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("REPRISE_MLFLOW_PORT", "no")
    assert services.main(["start"]) == 1
    assert capsys.readouterr().err == "error: REPRISE_MLFLOW_PORT is 'no'; give a port from 1024 to 65535\n"


def test_stop_says_when_no_service_ran(
    monkeypatch: pytest.MonkeyPatch, empty_home: Settings, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("REPRISE_HOME", str(empty_home.home))
    assert services.main(["stop"]) == 0
    assert capsys.readouterr().out == "stopped nothing: no service ran\n"


def test_a_command_of_airflow_runs_for_this_home_with_its_own_exit_code(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("REPRISE_HOME", str(empty_home.home))
    empty_home.home.mkdir()
    script = empty_home.home / "script"
    script.write_text('echo "$AIRFLOW_HOME" "$@"; exit 3')
    monkeypatch.setattr(control, "program", lambda name: "/bin/sh")
    assert services.main(["airflow", str(script), "--to-date", "2026-03-01"]) == 3
    assert capfd.readouterr().out == f"{empty_home.home}/airflow --to-date 2026-03-01\n"


@pytest.mark.parametrize("module", ["services", "demo"])
def test_help_has_an_example_and_the_exit_codes(module: str):
    answer = subprocess.run(
        [sys.executable, "-m", f"pipeline.local.{module}", "--help"],
        check=True, capture_output=True, text=True, cwd=CHECKOUT, env={**os.environ, "COLUMNS": "110"},
    )  # fmt: skip
    assert f"  python -m pipeline.local.{module} --source " in answer.stdout
    assert "exit codes:\n  0 " in answer.stdout
