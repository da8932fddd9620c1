"""A small client of the local Airflow's REST API: triggers runs, and reads their states and tasks.

Returns the API's own dictionaries. Uses only the standard library.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ACTIVE = ("queued", "running")


def open_directly(request: urllib.request.Request | str, seconds: float) -> Any:
    """Opens an address of this machine, bypassing any proxy that the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=seconds)


class AirflowError(RuntimeError):
    """A request that Airflow refused, or a DAG it cannot read; the message has Airflow's own explanation."""


class Airflow:
    """One Airflow, as the user who logged in."""

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address
        self._credentials = {"username": user, "password": password}
        self._token: str | None = None

    def wait_for_dag(self, dag: str, seconds: float = 90.0) -> None:
        """Returns when Airflow has the DAG of the file `<dag>.py`.

        Raises AirflowError when that file cannot be imported, or when the DAG does not appear in time. Import
        errors of other files, a broken source's for instance, do not matter to it.
        """
        deadline = time.monotonic() + seconds
        while True:
            errors = self._call("GET", "/importErrors")["import_errors"]
            own = next((error for error in errors if Path(error["filename"]).name == f"{dag}.py"), None)
            if own is not None:
                raise AirflowError(_import_error(own))
            if self._call("GET", f"/dags/{dag}", missing_is_none=True) is not None:
                return
            if time.monotonic() > deadline:
                reasons = "".join(f"; {_import_error(error)}" for error in errors)
                raise AirflowError(f"the DAG {dag} did not appear in {seconds:.0f} s{reasons}")
            time.sleep(0.5)

    def is_paused(self, dag: str) -> bool:
        """Whether the DAG is paused."""
        return self._call("GET", f"/dags/{dag}")["is_paused"]

    def set_paused(self, dag: str, paused: bool) -> None:
        """Pauses or unpauses the DAG; a paused one starts no run, not even a manual one."""
        self._call("PATCH", f"/dags/{dag}", {"is_paused": paused})

    def trigger(self, dag: str, conf: dict[str, Any], name: str) -> str:
        """Creates a manual run without a logical date. Returns its id: `name`, an underscore and the time."""
        run = f"{name}_{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        body = {"dag_run_id": run, "logical_date": None, "conf": conf}
        return self._call("POST", f"/dags/{dag}/dagRuns", body)["dag_run_id"]

    def state(self, dag: str, run: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        return self._call("GET", f"/dags/{dag}/dagRuns/{_quote(run)}")["state"]

    def runs(self, dag: str, run_type: str) -> list[dict[str, Any]]:
        """The runs of a type (`backfill`, `manual`, `scheduled`), with `state`, `data_interval_end`, `start_date`
        and `end_date`."""
        return self._call("GET", f"/dags/{dag}/dagRuns?run_type={run_type}&limit=100")["dag_runs"]

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The task instances of a run, with `task_id`, `state`, `start_date`, `end_date`, `duration` (seconds) and
        `try_number`."""
        return self._call("GET", f"/dags/{dag}/dagRuns/{_quote(run)}/taskInstances?limit=100")[
            "task_instances"
        ]

    def active_runs(self, dag: str) -> list[str]:
        """Ids of the runs that are queued or running, whether or not they make progress."""
        states = "&".join(f"state={state}" for state in ACTIVE)
        return [run["dag_run_id"] for run in self._call("GET", f"/dags/{dag}/dagRuns?{states}")["dag_runs"]]

    def end_run(self, dag: str, run: str) -> None:
        """Marks a run as failed: its tasks end, except for a teardown, which Airflow still runs."""
        self._call("PATCH", f"/dags/{dag}/dagRuns/{_quote(run)}", {"state": "failed"})

    def _call(
        self, method: str, path: str, body: dict | None = None, *, missing_is_none: bool = False
    ) -> Any:
        if self._token is None:
            self._token = self._request("POST", "/auth/token", self._credentials)["access_token"]
        try:
            return self._request(method, f"/api/v2{path}", body)
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing_is_none:
                return None
            raise AirflowError(f"{method} {path}: {error.code}: {_detail(error)}") from None

    def _request(self, method: str, path: str, body: dict | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._address + path, content, headers, method=method)
        with open_directly(request, 60) as answer:
            return json.loads(answer.read() or b"{}")


def _import_error(error: dict[str, Any]) -> str:
    return f"{error['filename']} cannot be imported: {error['stack_trace'].strip()}"


def _quote(run: str) -> str:
    return urllib.parse.quote(run, safe="")


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError):
        return error.reason
