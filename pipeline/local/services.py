"""What the services of one home are: Airflow's three processes and MLflow's page.

`control` starts and stops them, `running` remembers which run. Their logs are in `REPRISE_HOME/logs`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.local.service_settings import (
    LOOPBACK,
    airflow_environment,
    base_environment,
)
from pipeline.settings import Settings

SCHEDULER = "airflow-scheduler"


@dataclass(frozen=True)
class Service:
    """One process, and how to tell that it works."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    health: str
    """Address that answers once the service works."""
    part: str | None = None
    """The component whose status in that answer must be healthy; None: any answer will do."""
    port: int | None = None
    """The port it listens on; None: it listens on none."""

    @property
    def digest(self) -> str:
        """SHA-256 of the command and of the variables that configure it, the first 16 hexadecimal digits."""
        configuration = {
            name: value
            for name, value in self.environment.items()
            if name.startswith(("AIRFLOW", "MLFLOW", "REPRISE"))
        }
        content = json.dumps([self.command, configuration], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def airflow_services(settings: Settings, source: str, port: int) -> list[Service]:
    """Airflow as three processes. There is no triggerer, since no task defers."""
    environment = airflow_environment(settings, source, port)
    airflow, health = program("airflow"), f"http://{LOOPBACK}:{port}/api/v2/monitor/health"
    # The pages read the tasks' logs from the folder; a server for them would listen on every interface.
    scheduler = (airflow, "scheduler", "--skip-serve-logs")
    return [
        Service("airflow-api-server", (airflow, "api-server"), environment, health, port=port),
        Service(SCHEDULER, scheduler, environment, health, part="scheduler"),
        Service(
            "airflow-dag-processor", (airflow, "dag-processor"), environment, health, part="dag_processor"
        ),
    ]


def mlflow_service(settings: Settings, port: int) -> Service:
    """MLflow's page over the store that the stages write to."""
    environment = {
        **base_environment(settings),
        # Without its job runner MLflow takes 0.4 GB of memory instead of 2.3.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{LOOPBACK}:{port},localhost:{port}",
    }
    command = (
        program("mlflow"), "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", settings.tracking_uri, "--default-artifact-root", settings.artifacts.as_uri(),
    )  # fmt: skip
    return Service("mlflow", command, environment, f"http://{LOOPBACK}:{port}/health", port=port)


def program(name: str) -> str:
    """Path of a program of the virtual environment."""
    return str(Path(sys.executable).parent / name)
