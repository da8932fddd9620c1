"""Settings of the local services: ports, pools, generated secrets, and the environment of every process.

Nothing here starts a process or imports Airflow. Inherited `AIRFLOW*` variables are dropped, except for
connections, so that an Airflow of another home or of the person's own is never touched.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from expectations.files import write_atomically
from pipeline.settings import CHECKOUT, Settings

LOOPBACK = "127.0.0.1"
USER = "admin"
SPARK_CONNECTION = "spark_reprise"
POOLS = {
    "spark": {
        "slots": 2,
        "description": "Spark jobs at a time; a local one takes one core while it starts, and up to 2 GB",
        "include_deferred": False,
    },
    "gpu": {
        "slots": 1,
        "description": "one training or scoring process at a time",
        "include_deferred": False,
    },
}
"""Pools of the DAG's tasks; give them more slots where there are more machines."""


@dataclass(frozen=True)
class Ports:
    """Ports of the two pages, which listen on the loopback only."""

    airflow: int
    """`REPRISE_AIRFLOW_PORT`, 8080 by default."""
    mlflow: int
    """`REPRISE_MLFLOW_PORT`, 5000 by default."""

    @classmethod
    def from_environment(cls) -> Ports:
        """Raises ValueError for a port that is not a number from 1024 to 65535."""
        return cls(_port("REPRISE_AIRFLOW_PORT", 8080), _port("REPRISE_MLFLOW_PORT", 5000))


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise ValueError(f"{variable} is {text!r}; give a port from 1024 to 65535")
    return int(text)


def located(source: str) -> str:
    """The source with the path of a TOML file made absolute, since other processes run in other folders."""
    return str(Path(source).absolute()) if source.endswith(".toml") else source


def airflow_home(settings: Settings) -> Path:
    """Folder of Airflow's database, secrets and task logs."""
    return settings.home / "airflow"


def password(settings: Settings) -> str:
    """The generated password of the user `admin` of the local Airflow page."""
    return _secrets(settings)["password"]


def _secrets(settings: Settings) -> dict[str, str]:
    """The secrets that all of Airflow's processes share: generated once, readable only by the owner."""
    path = airflow_home(settings) / "secrets.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        generated = {name: secrets.token_urlsafe(32) for name in ("jwt", "session")}
        generated["fernet"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        generated["password"] = secrets.token_urlsafe(12)
        _write_private(path, json.dumps(generated))
        _write_private(_passwords(settings), json.dumps({USER: generated["password"]}) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def _write_private(path: Path, text: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.write_text(text, encoding="utf-8")


def _passwords(settings: Settings) -> Path:
    return airflow_home(settings) / "passwords.json"


def pools_file(settings: Settings) -> Path:
    """Writes `POOLS` as the file that `airflow pools import` reads; returns its path."""
    path = airflow_home(settings) / "pools.json"
    write_atomically(path, json.dumps(POOLS, indent=1))
    return path


def airflow_environment(settings: Settings, source: str, port: int) -> dict[str, str]:
    """The whole environment of an Airflow process of this home.

    A stage inherits it without the variables of Airflow (`pipeline.orchestration.stage_environment`).
    """
    generated = _secrets(settings)
    address = f"http://{LOOPBACK}:{port}"
    return {
        **base_environment(settings),
        "REPRISE_SOURCE": source,
        "AIRFLOW_HOME": str(airflow_home(settings)),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        # The timetable of `pipeline.timetable`, which Airflow only finds through a plugin.
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "dags" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        # The default forks 32 workers; two cores serve one stage and now and then a second task.
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__FERNET_KEY": generated["fernet"],
        # Without it tasks report to whatever listens on 8080.
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords(settings)),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow_home(settings) / 'airflow.db'}",
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": generated["session"],
        "AIRFLOW__API_AUTH__JWT_SECRET": generated["jwt"],
        # These two shorten the gap between two tasks; the defaults suit hundreds of DAGs.
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        # Reading the map and a source's configuration is cheap, and changes only with the checkout.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    }


def base_environment(settings: Settings) -> dict[str, str]:
    """The environment of every service: this home, the checkout on PYTHONPATH, the virtual environment first on
    PATH, and what the caller's environment says otherwise."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AIRFLOW") or name.startswith("AIRFLOW_CONN_")
    }
    connection = json.dumps({"conn_type": "spark", "host": settings.spark_master})
    kept.setdefault(f"AIRFLOW_CONN_{SPARK_CONNECTION.upper()}", connection)
    given = kept.get("no_proxy", kept.get("NO_PROXY", "")).split(",")
    direct = ",".join(dict.fromkeys(filter(None, [*given, LOOPBACK, "localhost"])))
    return {
        **kept,
        "REPRISE_HOME": str(settings.home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), kept.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        # Tasks report to the API server on the loopback, which no proxy reaches.
        "NO_PROXY": direct,
        "no_proxy": direct,
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
