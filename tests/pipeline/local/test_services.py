from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.cycle import lease
from pipeline.local import service_settings, services
from pipeline.local.services import Service, ServiceError
from pipeline.settings import Settings

NOWHERE = "http://127.0.0.1:9/"
SLEEPER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); time.sleep(60)"


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return Settings.at(tmp_path / "a home")


def sleeper(name: str = "sleeper", **variables: str) -> Service:
    return Service(name, (sys.executable, "-c", SLEEPER), {**os.environ, **variables}, NOWHERE)


def until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_stopping_ends_what_a_service_started_in_a_session_of_its_own(
    place: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(services, "_answers", lambda service: True)
    services.start(place, [sleeper()], say=lambda text: None)
    leader = psutil.Process(json.loads((place.home / "services.json").read_text())["sleeper"][0])
    assert until(lambda: leader.children())
    child = leader.children()[0]
    assert os.getsid(child.pid) != os.getsid(leader.pid)
    assert services.stop(place) == ["sleeper"]
    assert not leader.is_running() and not child.is_running()
    assert services.stop(place) == []


def test_a_service_is_known_again_after_the_clock_was_set(place: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "_answers", lambda service: True)
    services.start(place, [sleeper()], say=lambda text: None)
    told = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: told(self) + 1)
    assert services.stop(place) == ["sleeper"]


def test_starting_again_starts_nothing_new(place: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "_answers", lambda service: True)
    try:
        services.start(place, [sleeper()], say=lambda text: None)
        first = (place.home / "services.json").read_text()
        services.start(place, [sleeper()], say=lambda text: None)
        assert (place.home / "services.json").read_text() == first
    finally:
        services.stop(place)


def test_a_service_of_another_source_is_ended_and_its_neighbour_kept(
    place: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(services, "_answers", lambda service: True)
    one, neighbour = sleeper("airflow-scheduler", REPRISE_SOURCE="ml-100k"), sleeper("mlflow")
    other = sleeper("airflow-scheduler", REPRISE_SOURCE="/my logs/my.toml")
    told: list[str] = []
    try:
        services.start(place, [one, neighbour], say=lambda text: None)
        services.end_changed(place, [one, sleeper("mlflow", COLUMNS="80")], told.append)
        assert set(services._running(place)) == {"airflow-scheduler", "mlflow"} and told == []
        services.end_changed(place, [other, neighbour], told.append)
        assert set(services._running(place)) == {"mlflow"}
        assert told == ["airflow-scheduler ran for another source or with other settings; starting anew"]
        services.start(place, [other, neighbour], say=lambda text: None)
        services.end_changed(place, [other, neighbour], told.append)
        assert set(services._running(place)) == {"airflow-scheduler", "mlflow"} and len(told) == 1
    finally:
        services.stop(place)


def test_another_source_is_refused_while_a_cycle_runs(place: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "_answers", lambda service: True)
    other = sleeper("airflow-scheduler", REPRISE_SOURCE="ifdb")
    try:
        services.start(place, [sleeper("airflow-scheduler", REPRISE_SOURCE="ml-100k")], say=lambda text: None)
        lease.take(place, "ml-100k", "1998-03-26")
        with pytest.raises(ServiceError) as problem:
            services.end_changed(place, [other])
        assert str(problem.value) == (
            "Airflow runs for another source or with other settings, and cycle 1998-03-26 of ml-100k is running; "
            "wait for its end, or run make stop first"
        )
        lease.release(place, "ml-100k")
        monkeypatch.setattr(services, "stage_is_running", lambda settings: True)
        with pytest.raises(ServiceError, match="and a stage is running; wait"):
            services.end_changed(place, [other])
        assert services.is_running(place)
    finally:
        services.stop(place)


def test_a_proxy_of_the_environment_is_passed_by(place: Settings, monkeypatch: pytest.MonkeyPatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", NOWHERE)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        assert services._answers(Service("one", (), {}, address))
        server.shutdown()
    assert service_settings.base_environment(place)["no_proxy"] == "127.0.0.1,localhost"
    monkeypatch.setenv("NO_PROXY", "intranet,localhost")
    assert service_settings.base_environment(place)["no_proxy"] == "intranet,localhost,127.0.0.1"


def test_a_service_that_ends_at_once_is_told_with_its_log(place: Settings):
    broken = Service(
        "broken", (sys.executable, "-c", "raise SystemExit('no such option')"), dict(os.environ), NOWHERE
    )
    with pytest.raises(ServiceError, match=r"broken ended while starting; read .*broken\.log"):
        services.start(place, [broken], say=lambda text: None)
    assert "no such option" in (place.home / "logs" / "broken.log").read_text()


def test_a_busy_port_is_told_in_one_line(place: Settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError) as problem:
            services.start(place, [services.mlflow_service(place, port)], say=lambda text: None)
    assert str(problem.value) == (
        f"port {port} is taken by another program; stop it, or choose another port: REPRISE_MLFLOW_PORT={port + 1}"
    )


def test_a_full_disk_is_told_in_one_line(place: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services.shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(ServiceError, match="has 3 MB left; free 500 MB"):
        services.start(place, [], say=lambda text: None)


def test_a_process_number_used_anew_is_not_a_service(place: Settings):
    place.home.mkdir()
    (place.home / "services.json").write_text(json.dumps({"airflow-scheduler": [os.getpid(), 1.0]}))
    assert not services.is_running(place)
    assert services.stop(place) == []


def test_a_stage_is_recognised_by_its_command(place: Settings, monkeypatch: pytest.MonkeyPatch):
    script = place.home / "pipeline" / "__main__.py"
    script.parent.mkdir(parents=True)
    script.write_text("import time; time.sleep(60)")
    process = subprocess.Popen([sys.executable, str(script), "events"])
    try:
        assert until(lambda: services._is_stage(psutil.Process(process.pid)))
        assert not services._is_stage(psutil.Process(os.getpid()))
    finally:
        process.kill()
        process.wait()


def test_secrets_are_made_once_and_for_the_owner_alone(place: Settings):
    environment = service_settings.airflow_environment(place, "ml-100k", 8080)
    assert service_settings.airflow_environment(place, "ml-100k", 8080) == environment
    for name in ("secrets.json", "passwords.json"):
        assert stat.S_IMODE((place.home / "airflow" / name).stat().st_mode) == 0o600
    kept = json.loads((place.home / "airflow" / "passwords.json").read_text())
    assert kept == {"admin": service_settings.password(place)}
    assert len(service_settings.password(place)) >= 16


def test_two_homes_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://somebody-elses")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/somewhere/else")
    one, two = Settings.at(tmp_path / "one"), Settings.at(tmp_path / "two")
    first = service_settings.airflow_environment(one, "ml-100k", 8080)
    second = service_settings.airflow_environment(two, "ml-100k", 8081)
    assert not any(str(two.home) in value or "somewhere" in value for value in first.values())
    assert first["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{one.home}/airflow/airflow.db"
    assert first["AIRFLOW__API_AUTH__JWT_SECRET"] != second["AIRFLOW__API_AUTH__JWT_SECRET"]


def test_everything_listens_on_the_loopback(place: Settings):
    environment = service_settings.airflow_environment(place, "ml-100k", 18081)
    assert environment["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18081/execution/"
    command = services.mlflow_service(place, 5001).command
    assert command[command.index("--host") + 1] == "127.0.0.1"
    scheduler = services.airflow_services(place, "ml-100k", 18081)[1]
    assert "--skip-serve-logs" in scheduler.command


def test_a_connection_given_by_the_environment_is_kept(place: Settings, monkeypatch: pytest.MonkeyPatch):
    given = '{"conn_type":"spark","host":"spark://cluster:7077"}'
    assert (
        json.loads(service_settings.base_environment(place)["AIRFLOW_CONN_SPARK_REPRISE"])["host"]
        == "local[2]"
    )
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_REPRISE", given)
    assert service_settings.base_environment(place)["AIRFLOW_CONN_SPARK_REPRISE"] == given


@pytest.mark.parametrize("given", ["80", "http", "70000", "-1"])
def test_a_bad_port_is_refused(given: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REPRISE_AIRFLOW_PORT", given)
    with pytest.raises(ValueError, match=f"REPRISE_AIRFLOW_PORT is '{given}'"):
        service_settings.Ports.from_environment()


def test_the_command_tells_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("REPRISE_MLFLOW_PORT", "no")
    assert services.main(["start"]) == 1
    assert capsys.readouterr().err == "error: REPRISE_MLFLOW_PORT is 'no'; give a port from 1024 to 65535\n"


def test_a_command_of_airflow_is_run_for_this_home(
    place: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("REPRISE_HOME", str(place.home))
    place.home.mkdir()
    script = place.home / "script"
    script.write_text('echo "$AIRFLOW_HOME" "$@"; exit 3')
    monkeypatch.setattr(services, "_program", lambda name: "/bin/sh")
    assert services.main(["airflow", str(script), "--to-date", "2026-03-01"]) == 3
    assert capfd.readouterr().out == f"{place.home}/airflow --to-date 2026-03-01\n"


def test_services_are_held_still_while_nobody_writes(place: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(services, "_answers", lambda service: True)
    database = service_settings.airflow_home(place) / "airflow.db"
    database.parent.mkdir(parents=True)
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("CREATE TABLE one (number INTEGER)")
    try:
        services.start(place, [sleeper("airflow-scheduler")], say=lambda text: None)
        leader = psutil.Process(
            json.loads((place.home / "services.json").read_text())["airflow-scheduler"][0]
        )
        with services.held_still(place):
            assert until(lambda: leader.status() == psutil.STATUS_STOPPED)
        assert until(lambda: leader.status() != psutil.STATUS_STOPPED)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceError, match="try again"), services.held_still(place):
            raise AssertionError("held in the middle of a write")
        assert until(lambda: leader.status() != psutil.STATUS_STOPPED)
    finally:
        services.stop(place)
