from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.local.airflow_api import Airflow, AirflowError


class Recorded(ThreadingHTTPServer):
    """Gives the answers that a test prepares by method and path, and keeps the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[tuple[str, str], list[tuple[int, object]]] = {}
        self.requests: list[tuple[str, str, str | None, object]] = []


class Handler(BaseHTTPRequestHandler):
    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.requests.append((self.command, self.path, self.headers.get("Authorization"), body))
        code, content = self.server.answers[self.command, self.path].pop(0)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    do_GET = do_POST = do_PATCH = _serve

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[Recorded]:
    with Recorded() as served:
        served.answers["POST", "/auth/token"] = [(201, {"access_token": "token"})]
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


@pytest.fixture
def airflow(server: Recorded) -> Airflow:
    return Airflow(f"http://127.0.0.1:{server.server_address[1]}", "admin", "secret")


def test_it_logs_in_once_and_triggers_without_a_logical_date(server: Recorded, airflow: Airflow):
    runs = "/api/v2/dags/refresh_cycle/dagRuns"
    server.answers["POST", runs] = [(200, {"dag_run_id": "first"}), (200, {"dag_run_id": "second"})]
    assert airflow.trigger("refresh_cycle", {"cutoff": "1998-03-26"}, "ml-100k_1998-03-26") == "first"
    assert airflow.trigger("refresh_cycle", {}, "another") == "second"
    names = [request[3].pop("dag_run_id") for request in server.requests[1:]]
    assert re.fullmatch(r"ml-100k_1998-03-26_\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", names[0])
    assert names[1].startswith("another_")
    assert server.requests == [
        ("POST", "/auth/token", None, {"username": "admin", "password": "secret"}),
        ("POST", runs, "Bearer token", {"logical_date": None, "conf": {"cutoff": "1998-03-26"}}),
        ("POST", runs, "Bearer token", {"logical_date": None, "conf": {}}),
    ]


def test_the_id_of_a_run_is_quoted_in_the_address(server: Recorded, airflow: Airflow):
    path = "/api/v2/dags/refresh_cycle/dagRuns/manual__2026-03-01T00%3A00%3A00%2B00%3A00"
    server.answers["GET", path] = [(200, {"state": "running"})]
    assert airflow.state("refresh_cycle", "manual__2026-03-01T00:00:00+00:00") == "running"


def test_it_waits_until_airflow_has_the_dag(server: Recorded, airflow: Airflow):
    server.answers["GET", "/api/v2/importErrors"] = [(200, {"import_errors": []})] * 2
    server.answers["GET", "/api/v2/dags/refresh_cycle"] = [(404, {"detail": "not found"}), (200, {})]
    airflow.wait_for_dag("refresh_cycle")
    assert server.answers["GET", "/api/v2/dags/refresh_cycle"] == []


def test_a_dag_file_that_cannot_be_imported_is_an_error_at_once(server: Recorded, airflow: Airflow):
    broken = {"filename": "refresh_cycle.py", "stack_trace": "ConfigError: source 'x' is unknown\n"}
    server.answers["GET", "/api/v2/importErrors"] = [(200, {"import_errors": [broken]})]
    with pytest.raises(
        AirflowError, match=r"refresh_cycle\.py cannot be imported: ConfigError: source 'x' is unknown"
    ):
        airflow.wait_for_dag("refresh_cycle")


def test_an_import_error_of_another_file_matters_only_if_the_dag_does_not_appear(
    server: Recorded, airflow: Airflow
):
    other = {"filename": "broken_sources.py", "stack_trace": "my.toml is not valid TOML\n"}
    server.answers["GET", "/api/v2/importErrors"] = [(200, {"import_errors": [other]})] * 2
    server.answers["GET", "/api/v2/dags/refresh_cycle"] = [(200, {}), (404, {"detail": "not found"})]
    airflow.wait_for_dag("refresh_cycle")
    with pytest.raises(
        AirflowError, match=r"did not appear in 0 s; broken_sources\.py cannot be imported: my"
    ):
        airflow.wait_for_dag("refresh_cycle", seconds=0.0)


def test_active_runs_are_listed_and_one_is_marked_as_failed(server: Recorded, airflow: Airflow):
    listed = {"dag_runs": [{"dag_run_id": "a b"}]}
    server.answers["GET", "/api/v2/dags/refresh_cycle/dagRuns?state=queued&state=running"] = [(200, listed)]
    server.answers["PATCH", "/api/v2/dags/refresh_cycle/dagRuns/a%20b"] = [(200, {})]
    assert airflow.active_runs("refresh_cycle") == ["a b"]
    airflow.end_run("refresh_cycle", "a b")
    assert server.requests[-1][3] == {"state": "failed"}


def test_it_reads_whether_a_dag_is_paused(server: Recorded, airflow: Airflow):
    server.answers["GET", "/api/v2/dags/refresh_cycle"] = [(200, {"is_paused": True})]
    assert airflow.is_paused("refresh_cycle")


def test_a_proxy_of_the_environment_is_bypassed(
    server: Recorded, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.answers["GET", "/api/v2/dags/refresh_cycle"] = [(200, {"is_paused": False})]
    assert not airflow.is_paused("refresh_cycle")


def test_an_error_has_airflows_explanation(server: Recorded, airflow: Airflow):
    server.answers["PATCH", "/api/v2/dags/refresh_cycle"] = [(403, {"detail": "Forbidden"})]
    with pytest.raises(AirflowError, match="PATCH /dags/refresh_cycle: 403: Forbidden"):
        airflow.set_paused("refresh_cycle", False)
