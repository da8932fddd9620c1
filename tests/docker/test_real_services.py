"""The services of the compose file, started from programs on this machine instead of containers.

PostgreSQL's server comes from Debian's package, Airflow and MLflow from the virtual environment, and their
settings from `compose.yaml`, with the names of containers replaced by the loopback.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline.local import control, service_settings, services
from pipeline.local.services import Service
from pipeline.orchestration import task_for
from pipeline.settings import CHECKOUT, Settings
from pipeline.workflows.refresh_cycle import refresh_cycle
from tests.cluster.services import PROGRAMS, driver_environment, free_port, standalone_cluster

COMPOSE = CHECKOUT / "docker" / "compose.yaml"
PASSWORD = "secret-of-postgres"


def environment_of(service: str, replaced: dict[str, str]) -> dict[str, str]:
    """A service's environment as compose would set it, with the names in `replaced` exchanged."""
    values = {"REPRISE_FERNET_KEY": "A" * 43 + "=", "REPRISE_POSTGRES_PASSWORD": PASSWORD}
    given = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"][service]["environment"]
    environment = {}
    for name, text in given.items():
        filled = re.sub(
            r"\$\{(\w+)[^}]*\}", lambda match: values.get(match[1], "secret-of-a-test" * 4), str(text)
        )
        for old, new in replaced.items():
            filled = filled.replace(old, new)
        environment[name] = filled
    return environment


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[int]:
    """A PostgreSQL with the databases that docker/postgres-init.sh makes; yields its port."""
    if shutil.which("initdb") is None:
        pytest.fail("PostgreSQL's server is missing; install Debian's package postgresql", pytrace=False)
    port, folder = free_port(), tmp_path / "postgres"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    for parent in (tmp_path, *list(tmp_path.parents)[:-2]):
        parent.chmod(parent.stat().st_mode | 0o011)
    # The server refuses to run as root.
    server_user = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
    data, secret = folder / "data", folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    # No socket file: its path may have 107 characters, and a test folder's is longer.
    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories='' -p {port}"
    subprocess.run(
        [*server_user, "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", secret],
        check=True, capture_output=True,
    )  # fmt: skip
    control = [*server_user, "pg_ctl", "-D", str(data), "-w"]
    subprocess.run(
        [*control, "-o", options, "-l", str(folder / "log"), "start"], check=True, capture_output=True
    )
    try:
        access = {"POSTGRES_USER": "postgres", "POSTGRES_PASSWORD": PASSWORD, "PGPASSWORD": PASSWORD}
        subprocess.run(
            [str(CHECKOUT / "docker" / "postgres-init.sh")],
            env={**os.environ, **access, "PGHOST": "127.0.0.1", "PGPORT": str(port)}, check=True, capture_output=True,
        )  # fmt: skip
        yield port
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)


@pytest.mark.postgres
def test_airflow_and_mlflow_run_on_postgres(postgres: int, tmp_path: Path):
    settings = Settings.at(tmp_path / "home")
    airflow_port, mlflow_port = free_port(), free_port()
    replaced = {
        "@postgres/": f"@127.0.0.1:{postgres}/",
        "airflow-api-server:8080": f"127.0.0.1:{airflow_port}",
        "/opt/reprise": str(CHECKOUT),
        "/var/lib/reprise": str(settings.home),
        "mlflow:5000": f"127.0.0.1:{mlflow_port}",
    }
    base = {**service_settings.base_environment(settings), "AIRFLOW_HOME": str(settings.home / "airflow")}
    airflow = {**base, **environment_of("airflow-scheduler", replaced)}
    (settings.home / "airflow").mkdir(parents=True)
    for arguments in (("db", "migrate"), ("pools", "import", str(service_settings.pools_file(settings)))):
        subprocess.run([str(PROGRAMS / "airflow"), *arguments], env=airflow, check=True, capture_output=True)

    mlflow = services.mlflow_service(settings, mlflow_port)
    command = (*mlflow.command[: mlflow.command.index("--backend-store-uri")],)
    command += ("--artifacts-destination", str(settings.home / "artifacts"))
    wanted: list[Service] = [
        *(
            replace(service, environment=airflow | {"AIRFLOW__API__PORT": str(airflow_port)})
            for service in services.airflow_services(settings, "ml-100k", airflow_port)
        ),
        replace(mlflow, command=command, environment={**base, **environment_of("mlflow", replaced)}),
    ]
    try:
        control.start(settings, wanted, say=print)
        tables = ask(postgres, "airflow", "select count(*) from slot_pool where pool in ('spark', 'gpu')")
        assert tables == "2"
        assert ask(postgres, "mlflow", "select count(*) from experiments") == "1"
        heartbeats = ask(postgres, "airflow", "select count(*) from job where state = 'running'")
        assert int(heartbeats) >= 2
    finally:
        control.stop(settings)


def ask(port: int, database: str, query: str) -> str:
    access = {**os.environ, "PGPASSWORD": PASSWORD}
    command = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", database, "-d", database, "-Atc", query]
    return subprocess.run(command, env=access, check=True, capture_output=True, text=True).stdout.strip()


SOURCE = """
[source]
name = "tiny"
[source.events]
files = ["{folder}/log.csv"]
format = "csv"
user = "user"
item = "item"
time = "time"
[schedule]
window_days = 2
[spark]
eventLog.enabled = true
eventLog.dir = "file://{folder}/event-log"
eventLog.compress = false
sql.extensions = "no.such.Extension"
executor.memory = "512m"
"""


@pytest.mark.cluster
def test_a_stage_runs_on_a_spark_cluster_by_a_change_of_connection(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "log.csv").write_text(
        "user,item,time\n" + "".join(f"u{n % 3},i{n % 5},{1_700_000_000 + n * 3600}\n" for n in range(120))
    )
    mapping, log = tmp_path / "tiny.toml", tmp_path / "event-log"
    mapping.write_text(SOURCE.format(folder=tmp_path))
    log.mkdir()
    for name, value in driver_environment(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(PROGRAMS), prepend=os.pathsep)
    with standalone_cluster(home, tmp_path, workers=2) as master:
        monkeypatch.setenv("AIRFLOW_CONN_SPARK_REPRISE", json.dumps({"conn_type": "spark", "host": master}))
        words = ["--source", str(mapping), "--cutoff", "2023-11-19"]
        subprocess.run([sys.executable, "-m", "pipeline", "resolve", *words], cwd=CHECKOUT, check=True)
        operator = task_for(refresh_cycle(["25k"])["events"], str(mapping))
        params = {"preset": None, "cutoff": "2023-11-19", "cold_start": False}
        run = SimpleNamespace(run_type="manual", data_interval_start=None, data_interval_end=None)
        operator.execute({"params": params, "dag_run": run, "task_reschedule_count": 0})
    record = json.loads((home.cycle_folder("tiny", "2023-11-19") / "stage-events.json").read_text())
    assert record["versions"]["events"] >= 0
    # The workers' folders have one of an executor each: the work was done there and not in the driver.
    assert len(list(tmp_path.glob("worker-*/app-*/*/stderr"))) == 2
    # What `[spark]` says has reached the cluster.
    told = "".join(path.read_text() for path in log.rglob("*") if path.is_file())
    assert '"spark.sql.extensions":"io.delta.sql.DeltaSparkSessionExtension,no.such.Extension"' in told
    assert '"spark.executor.memory":"512m"' in told
