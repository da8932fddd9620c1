"""Airflow and MLflow as local processes of one home: prepared once, started, waited for, stopped.

    python -m pipeline.local.services start | stop        (`make ui`, `make stop`)
    python -m pipeline.local.services airflow backfill create --dag-id refresh_cycle …

In: `Settings`, the source whose DAG is scheduled. Out: running processes, a file that names them,
and their logs under `REPRISE_HOME/logs`. Every service leads a session of its own, so that
stopping it ends what it started: tasks, and the stages' processes. Knows nothing of stages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from expectations.files import write_atomically
from pipeline.cycle import lease
from pipeline.local.airflow_api import open_directly
from pipeline.local.processes import descendants, end_families, is_alive, started_ticks
from pipeline.local.service_settings import (
    LOOPBACK,
    POOLS,
    USER,
    Ports,
    airflow_environment,
    airflow_home,
    base_environment,
    located,
    password,
    pools_file,
)
from pipeline.settings import Settings

Say = Callable[[str], None]

SCHEDULER = "airflow-scheduler"
START_SECONDS = 180.0
"""Longest wait for a service to answer; 15 to 25 seconds are usual on two cores."""
NEEDED_MEGABYTES = 500
"""Free disk that a service needs for its database and logs."""


class ServiceError(RuntimeError):
    """A service that cannot start; the message is one line that says what to do."""


@dataclass(frozen=True)
class Service:
    """One process and how to tell that it works."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    health: str
    """Address that answers once it works."""
    part: str | None = None
    """Whose heartbeat in that answer counts; None: the answer is enough."""
    port: int | None = None
    """The port it listens on; None: it listens on none."""

    @property
    def digest(self) -> str:
        """SHA-256 of the command and of the variables that it is told by, the first 16 hexadecimal digits."""
        told = {
            name: value
            for name, value in self.environment.items()
            if name.startswith(("AIRFLOW", "MLFLOW", "REPRISE"))
        }
        content = json.dumps([self.command, told], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def airflow_services(settings: Settings, source: str, port: int) -> list[Service]:
    """Airflow as three processes. No triggerer: nothing here is deferred."""
    environment = airflow_environment(settings, source, port)
    airflow, health = _program("airflow"), f"http://{LOOPBACK}:{port}/api/v2/monitor/health"
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
        # Both off: 0.4 GB of memory instead of 2.3.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{LOOPBACK}:{port},localhost:{port}",
    }
    command = (
        _program("mlflow"), "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", settings.tracking_uri, "--default-artifact-root", settings.artifacts.as_uri(),
    )  # fmt: skip
    return Service("mlflow", command, environment, f"http://{LOOPBACK}:{port}/health", port=port)


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def prepare_airflow(settings: Settings, source: str, port: int, say: Say = print) -> None:
    """Airflow's database and pools, made once for each version of Airflow and each set of pools (about 20
    seconds)."""
    pools = hashlib.sha256(json.dumps(POOLS).encode()).hexdigest()[:8]
    done = airflow_home(settings) / f"prepared-{_airflow_version()}-{pools}"
    if done.exists():
        return
    _check_disk(settings)
    environment = airflow_environment(settings, source, port)
    say("preparing Airflow's database and pools (once; about 20 s)")
    for arguments in (("db", "migrate"), ("pools", "import", str(pools_file(settings)))):
        _run((_program("airflow"), *arguments), environment, _log(settings, "airflow-prepare"))
    done.touch()


def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow")


def _run(command: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
    with log.open("ab") as output:
        code = subprocess.run(command, check=False, env=environment, stdout=output, stderr=output).returncode
    if code != 0:
        raise ServiceError(f"{' '.join(command[1:3])} failed with exit code {code}; read {log}")


def end_changed(settings: Settings, services: list[Service], say: Say = print) -> None:
    """Ends the running services that were started otherwise: for another source, with other settings.

    Raises ServiceError while a cycle runs, which would go on under the other source's schedule.
    """
    running, digests = _running(settings), _digests(settings)
    changed = [
        service.name
        for service in services
        if service.name in running and digests.get(service.name) != service.digest
    ]
    if not changed:
        return
    cycles = lease.running_cycles(settings)
    if SCHEDULER in changed and (cycles or stage_is_running(settings)):
        raise ServiceError(
            f"Airflow runs for another source or with other settings, and {cycles[0] if cycles else 'a stage'} is running; "
            "wait for its end, or run make stop first"
        )
    say(f"{', '.join(changed)} ran for another source or with other settings; starting anew")
    end_families([running.pop(name) for name in changed])
    _remember(settings, running)


def start(settings: Settings, services: list[Service], say: Say = print) -> None:
    """Starts the services that do not run yet and waits until all answer.

    Raises ServiceError when a port is taken by something else, the disk is full, or a service ends
    or stays silent; what this call started is then stopped again.
    """
    running = _running(settings)
    wanted = [service for service in services if service.name not in running]
    _check_disk(settings)
    for service in wanted:
        _check_port(service)
    try:
        for service in wanted:
            running[service.name] = _launch(settings, service)
            _remember(settings, running, wanted)
        _wait(settings, services, running, say)
    except BaseException:
        end_families([running[service.name] for service in wanted if service.name in running])
        _remember(settings, _alive(running))
        raise


def stop(settings: Settings) -> list[str]:
    """Ends every service of this home with all that it started. Returns their names."""
    running = _running(settings)
    end_families(list(running.values()))
    _remember(settings, {})
    return list(running)


def is_running(settings: Settings) -> bool:
    """Whether Airflow runs for this home."""
    return SCHEDULER in _running(settings)


def stage_is_running(settings: Settings) -> bool:
    """Whether a stage's process runs under the scheduler at this moment."""
    scheduler = _running(settings).get(SCHEDULER)
    return scheduler is not None and any(_is_stage(process) for process in descendants(scheduler))


@contextmanager
def held_still(settings: Settings) -> Iterator[None]:
    """Airflow's running services do nothing meanwhile; tasks go on.

    The local database is SQLite, where a transaction that has read cannot write once another process
    has written ("database is locked", at once), so that a backfill would be created by half.
    Raises ServiceError when the database is not at rest within seconds.
    """
    leaders = [process for name, process in _running(settings).items() if name.startswith("airflow-")]
    database = airflow_home(settings) / "airflow.db"
    try:
        for _ in range(50):
            for leader in leaders:
                leader.suspend()
            if not database.exists() or _is_at_rest(database):
                break
            for leader in leaders:
                leader.resume()
            time.sleep(0.1)
        else:
            raise ServiceError("Airflow's database is being written to without a pause; try again")
        yield
    finally:
        for leader in leaders:
            leader.resume()


def _is_at_rest(database: Path) -> bool:
    """Whether nobody is in the middle of a write."""
    connection = sqlite3.connect(database, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def _is_stage(process: psutil.Process) -> bool:
    try:
        return any(part == "pipeline" or part.endswith("pipeline/__main__.py") for part in process.cmdline())
    except psutil.Error:
        return False


def _launch(settings: Settings, service: Service) -> psutil.Process:
    with _log(settings, service.name).open("ab") as output:
        started = subprocess.Popen(
            service.command,
            env=service.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return psutil.Process(started.pid)


def _wait(settings: Settings, services: list[Service], running: dict[str, psutil.Process], say: Say) -> None:
    begun = time.monotonic()
    silent = {service.name: service for service in services}
    while silent:
        for name, service in list(silent.items()):
            if not is_alive(running[name]):
                raise ServiceError(f"{name} ended while starting; read {_log(settings, name)}")
            if _answers(service):
                say(f"{name} is up after {time.monotonic() - begun:.0f} s")
                del silent[name]
        if silent and time.monotonic() - begun > START_SECONDS:
            name = next(iter(silent))
            raise ServiceError(f"{name} gave no answer in {START_SECONDS:.0f} s; read {_log(settings, name)}")
        time.sleep(0.3)


def _answers(service: Service) -> bool:
    try:
        with open_directly(service.health, 10) as answer:
            text = answer.read()
    except (urllib.error.URLError, OSError):
        return False
    return service.part is None or json.loads(text)[service.part]["status"] == "healthy"


def _check_port(service: Service) -> None:
    if service.port is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, service.port))
        except OSError:
            variable = "REPRISE_MLFLOW_PORT" if service.name == "mlflow" else "REPRISE_AIRFLOW_PORT"
            raise ServiceError(
                f"port {service.port} is taken by another program; stop it, "
                f"or choose another port: {variable}={service.port + 1}"
            ) from None


def _check_disk(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free // 2**20
    if free < NEEDED_MEGABYTES:
        raise ServiceError(
            f"the disk that holds {settings.home} has {free} MB left; free {NEEDED_MEGABYTES} MB"
        )


def _running(settings: Settings) -> dict[str, psutil.Process]:
    """Services of this home that live, by name; a process number used anew does not count."""
    found = {}
    for name, (number, started, *_) in _registered(settings).items():
        try:
            process = psutil.Process(number)
            if started_ticks(process) == started and is_alive(process):
                found[name] = process
        except psutil.NoSuchProcess:
            continue
    return found


def _digests(settings: Settings) -> dict[str, str]:
    """What the remembered services were started with, by name; one without a digest is left out."""
    return {name: entry[2] for name, entry in _registered(settings).items() if len(entry) > 2}


def _registered(settings: Settings) -> dict[str, list]:
    path = _register(settings)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _remember(
    settings: Settings, running: dict[str, psutil.Process], started: Iterable[Service] = ()
) -> None:
    digests = _digests(settings) | {service.name: service.digest for service in started}
    content = {
        name: (process.pid, started_ticks(process), digests.get(name)) for name, process in running.items()
    }
    write_atomically(_register(settings), json.dumps(content))


def _register(settings: Settings) -> Path:
    return settings.home / "services.json"


def _log(settings: Settings, name: str) -> Path:
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"


def _alive(running: dict[str, psutil.Process]) -> dict[str, psutil.Process]:
    return {name: process for name, process in running.items() if is_alive(process)}


def main(arguments: list[str] | None = None) -> int:
    """`start`, `stop`, or a command of this home's Airflow; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local.services", description="Local Airflow and MLflow."
    )
    parser.add_argument("--source", default=os.environ.get("REPRISE_SOURCE", "ml-100k"))
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("start", help="start both and print where their pages are")
    actions.add_parser("stop", help="end both, with all that they started")
    command = actions.add_parser("airflow", help="run a command of this home's Airflow", add_help=False)
    command.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    settings, source = Settings.from_environment(), located(options.source)
    try:
        if options.action == "stop":
            print("stopped " + (", ".join(stop(settings)) or "nothing: no service ran"))
            return 0
        ports = Ports.from_environment()
        if options.action == "airflow":
            environment = airflow_environment(settings, source, ports.airflow)
            with held_still(settings):
                return subprocess.run(
                    [_program("airflow"), *options.words], check=False, env=environment
                ).returncode
        prepare_airflow(settings, source, ports.airflow)
        wanted = [
            *airflow_services(settings, source, ports.airflow),
            mlflow_service(settings, ports.mlflow),
        ]
        end_changed(settings, wanted)
        start(settings, wanted)
    except (ServiceError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Airflow  http://{LOOPBACK}:{ports.airflow}   user {USER}, password {password(settings)}")
    print(f"MLflow   http://{LOOPBACK}:{ports.mlflow}")
    print("make stop ends both.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
