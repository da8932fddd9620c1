"""The services of one home, Airflow and MLflow, and the command that starts and stops them.

    python -m pipeline.local.services start | stop        (`make ui`, `make stop`)
    python -m pipeline.local.services airflow backfill create --dag-id refresh_cycle …

This module says what the services are; `control` starts and stops them, `running` remembers which run. Their
logs are in `REPRISE_HOME/logs`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.local.service_settings import (
    LOOPBACK,
    USER,
    Ports,
    airflow_environment,
    base_environment,
    located,
    password,
)
from pipeline.settings import Settings

SCHEDULER = "airflow-scheduler"

_EXAMPLES = """\
examples:
  python -m pipeline.local.services --source my.toml start
  python -m pipeline.local.services airflow dags list-import-errors
  python -m pipeline.local.services stop

exit codes:
  0  done
  1  not done; one line on standard error says why and what to do
  `airflow` ends with the exit code of the Airflow command
"""


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


def main(arguments: list[str] | None = None) -> int:
    """`start`, `stop`, or a command of this home's Airflow; returns the exit code."""
    from pipeline.local import control  # which imports this module

    options = _parser().parse_args(arguments)
    settings, source = Settings.from_environment(), located(options.source)
    try:
        if options.action == "stop":
            print("stopped " + (", ".join(control.stop(settings)) or "nothing: no service ran"))
            return 0
        ports = Ports.from_environment()
        if options.action == "airflow":
            return control.run_airflow(settings, source, ports.airflow, options.words)
        wanted = [
            *airflow_services(settings, source, ports.airflow),
            mlflow_service(settings, ports.mlflow),
        ]
        control.prepare_airflow(settings, source, ports.airflow)
        control.end_changed(settings, wanted)
        control.start(settings, wanted)
    except (control.ServiceError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Airflow  http://{LOOPBACK}:{ports.airflow}   user {USER}, password {password(settings)}")
    print(f"MLflow   http://{LOOPBACK}:{ports.mlflow}")
    print("make stop ends both.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local.services",
        description="Airflow and MLflow on this machine, for one home (REPRISE_HOME).",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        default=os.environ.get("REPRISE_SOURCE", "ml-100k"),
        help="the source of the DAG refresh_cycle: a packaged one or a TOML file (default: %(default)s)",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("start", help="start both and print the addresses of their pages")
    actions.add_parser("stop", help="end both, with everything they started")
    command = actions.add_parser("airflow", help="run a command of this home's Airflow", add_help=False)
    command.add_argument("words", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    sys.exit(main())
