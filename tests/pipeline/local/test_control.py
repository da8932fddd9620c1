from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from pipeline.cycle import lease
from pipeline.local import control, running, services
from pipeline.local.control import ServiceError
from pipeline.local.service_settings import airflow_home
from pipeline.local.services import SCHEDULER, Service
from pipeline.settings import Settings
from tests.pipeline.local.sleeping import NOWHERE, sleeper, until


def quietly(text: str) -> None:
    """Prints nothing."""


def leader_of(settings: Settings, name: str) -> psutil.Process:
    return psutil.Process(json.loads((settings.home / "services.json").read_text())[name][0])


@pytest.mark.usefixtures("answering")
def test_stopping_ends_what_a_service_started_in_another_session(empty_home: Settings):
    control.start(empty_home, [sleeper()], quietly)
    leader = leader_of(empty_home, "sleeper")
    assert until(lambda: leader.children())
    child = leader.children()[0]
    assert os.getsid(child.pid) != os.getsid(leader.pid)
    assert control.stop(empty_home) == ["sleeper"]
    assert not leader.is_running() and not child.is_running()
    assert control.stop(empty_home) == []


@pytest.mark.usefixtures("answering")
def test_starting_again_starts_nothing_new(empty_home: Settings):
    try:
        control.start(empty_home, [sleeper()], quietly)
        first = (empty_home.home / "services.json").read_text()
        control.start(empty_home, [sleeper()], quietly)
        assert (empty_home.home / "services.json").read_text() == first
    finally:
        control.stop(empty_home)


@pytest.mark.usefixtures("answering")
def test_a_service_of_another_source_is_ended_and_its_neighbour_kept(empty_home: Settings):
    scheduler, neighbour = sleeper(SCHEDULER, REPRISE_SOURCE="ml-100k"), sleeper("mlflow")
    of_another_source = sleeper(SCHEDULER, REPRISE_SOURCE="/my logs/my.toml")
    lines: list[str] = []
    try:
        control.start(empty_home, [scheduler, neighbour], quietly)
        control.end_changed(empty_home, [scheduler, sleeper("mlflow", COLUMNS="80")], lines.append)
        assert set(running.running(empty_home)) == {SCHEDULER, "mlflow"} and lines == []
        control.end_changed(empty_home, [of_another_source, neighbour], lines.append)
        assert set(running.running(empty_home)) == {"mlflow"}
        assert lines == ["airflow-scheduler ran for another source or with other settings; restarting"]
        control.start(empty_home, [of_another_source, neighbour], quietly)
        control.end_changed(empty_home, [of_another_source, neighbour], lines.append)
        assert set(running.running(empty_home)) == {SCHEDULER, "mlflow"} and len(lines) == 1
    finally:
        control.stop(empty_home)


@pytest.mark.usefixtures("answering")
def test_another_source_is_refused_while_a_cycle_runs(empty_home: Settings, monkeypatch: pytest.MonkeyPatch):
    of_another_source = sleeper(SCHEDULER, REPRISE_SOURCE="ifdb")
    try:
        control.start(empty_home, [sleeper(SCHEDULER, REPRISE_SOURCE="ml-100k")], quietly)
        lease.take(empty_home, "ml-100k", "1998-03-26")
        with pytest.raises(ServiceError) as problem:
            control.end_changed(empty_home, [of_another_source])
        assert str(problem.value) == (
            "Airflow runs for another source or with other settings, and cycle 1998-03-26 of ml-100k is running; "
            "wait for its end, or run make stop first"
        )
        lease.release(empty_home, "ml-100k")
        monkeypatch.setattr(control, "stage_is_running", lambda settings: True)
        with pytest.raises(ServiceError, match="and a stage is running; wait"):
            control.end_changed(empty_home, [of_another_source])
        assert running.airflow_is_running(empty_home)
    finally:
        control.stop(empty_home)


def test_a_proxy_of_the_environment_is_bypassed(monkeypatch: pytest.MonkeyPatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", NOWHERE)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        assert control._answers(Service("page", (), {}, address))
        server.shutdown()


def test_the_error_of_a_service_that_ends_at_once_names_its_log(empty_home: Settings):
    command = (sys.executable, "-c", "raise SystemExit('no such option')")
    broken = Service("broken", command, dict(os.environ), NOWHERE)
    with pytest.raises(ServiceError, match=r"broken ended while starting; read .*broken\.log"):
        control.start(empty_home, [broken], quietly)
    assert "no such option" in (empty_home.home / "logs" / "broken.log").read_text()
    assert running.running(empty_home) == {}


def test_a_service_that_never_answers_is_stopped_again(empty_home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(control, "START_SECONDS", 0.0)
    with pytest.raises(ServiceError, match=r"sleeper gave no answer in 0 s; read .*sleeper\.log"):
        control.start(empty_home, [sleeper()], quietly)
    assert running.running(empty_home) == {}


def test_the_error_of_a_busy_port_offers_another(empty_home: Settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError) as problem:
            control.start(empty_home, [services.mlflow_service(empty_home, port)], quietly)
    assert str(problem.value) == (
        f"port {port} is taken by another program; stop it, or choose another port: REPRISE_MLFLOW_PORT={port + 1}"
    )


def test_a_nearly_full_disk_is_refused(empty_home: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(ServiceError, match="has 3 MB left; free 500 MB"):
        control.start(empty_home, [], quietly)


def test_airflow_is_prepared_once(empty_home: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    airflow = tmp_path / "airflow"
    airflow.write_text('#!/bin/sh\necho "$1 $2"\n')
    airflow.chmod(0o755)
    monkeypatch.setattr(control, "program", lambda name: str(airflow))
    lines: list[str] = []
    for _ in range(2):
        control.prepare_airflow(empty_home, "ml-100k", 8080, lines.append)
    assert lines == ["preparing Airflow's database and pools (once; about 20 s)"]
    log = empty_home.home / "logs" / "airflow-prepare.log"
    assert log.read_text().splitlines() == ["db migrate", "pools import"]


def test_a_preparation_that_fails_is_done_again(
    empty_home: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    airflow = tmp_path / "airflow"
    airflow.write_text("#!/bin/sh\nexit 4\n")
    airflow.chmod(0o755)
    monkeypatch.setattr(control, "program", lambda name: str(airflow))
    for _ in range(2):
        with pytest.raises(ServiceError, match=r"airflow db migrate failed with exit code 4; read .*\.log"):
            control.prepare_airflow(empty_home, "ml-100k", 8080, quietly)


@pytest.mark.usefixtures("answering")
def test_services_are_suspended_while_nobody_writes_to_the_database(empty_home: Settings):
    database = airflow_home(empty_home) / "airflow.db"
    database.parent.mkdir(parents=True)
    writer = sqlite3.connect(database, isolation_level=None)
    writer.execute("CREATE TABLE counted (number INTEGER)")
    try:
        control.start(empty_home, [sleeper(SCHEDULER)], quietly)
        leader = leader_of(empty_home, SCHEDULER)
        with control.airflow_suspended(empty_home):
            assert until(lambda: leader.status() == psutil.STATUS_STOPPED)
        assert until(lambda: leader.status() != psutil.STATUS_STOPPED)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(ServiceError, match="try again"), control.airflow_suspended(empty_home):
            raise AssertionError("suspended in the middle of a write")
        assert until(lambda: leader.status() != psutil.STATUS_STOPPED)
    finally:
        control.stop(empty_home)
