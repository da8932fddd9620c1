"""Prepares, starts, awaits, restarts and stops the services of one home.

Every service leads its own session, so that stopping it ends all that it started: tasks, and the stages'
processes. Knows nothing of what a stage does.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sqlite3
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil

from pipeline.cycle import lease
from pipeline.local import warm_python
from pipeline.local.airflow_api import open_directly
from pipeline.local.processes import end_families, is_alive
from pipeline.local.running import digests, register, running, stage_is_running
from pipeline.local.service_settings import (
    LOOPBACK,
    POOLS,
    airflow_environment,
    airflow_home,
    pools_file,
)
from pipeline.local.services import SCHEDULER, Service, program
from pipeline.settings import Settings
from pipeline.setup.environment import SetupError, check_disk
from spark_jobs.lake.warm_jvm import WarmJvms

Say = Callable[[str], None]

START_SECONDS = 180.0
"""Longest wait for a service to answer; 15 to 25 seconds are usual on two cores."""
NEEDED_MEGABYTES = 500
"""Free disk space that a service needs for its database and logs."""


class ServiceError(RuntimeError):
    """A service that cannot start; the message is one line that says what to do."""


def prepare_airflow(settings: Settings, source: str, port: int, say: Say = print) -> None:
    """Makes Airflow's database and pools, once for each version of Airflow and each set of pools (20 s).

    Raises ServiceError when the disk is nearly full or a command of Airflow fails.
    """
    pools = hashlib.sha256(json.dumps(POOLS).encode()).hexdigest()[:8]
    done = airflow_home(settings) / f"prepared-{version('apache-airflow')}-{pools}"
    if done.exists():
        return
    _check_disk(settings)
    environment = airflow_environment(settings, source, port)
    say("preparing Airflow's database and pools (once; about 20 s)")
    for words in (("db", "migrate"), ("pools", "import", str(pools_file(settings)))):
        log = _log(settings, "airflow-prepare")
        with log.open("ab") as output:
            command = [program("airflow"), *words]
            code = subprocess.run(
                command, check=False, env=environment, stdout=output, stderr=output
            ).returncode
        if code != 0:
            raise ServiceError(f"airflow {words[0]} {words[1]} failed with exit code {code}; read {log}")
    done.touch()


def run_airflow(settings: Settings, source: str, port: int, words: Sequence[str]) -> int:
    """Runs a command of this home's Airflow while its services are suspended; returns its exit code."""
    environment = airflow_environment(settings, source, port)
    with airflow_suspended(settings):
        return subprocess.run([program("airflow"), *words], check=False, env=environment).returncode


def end_changed(settings: Settings, services: list[Service], say: Say = print) -> None:
    """Ends the running services that were started for another source or with other settings.

    Raises ServiceError while a cycle runs, which would go on under the other source's schedule.
    """
    processes, known = running(settings), digests(settings)
    changed = [
        service.name
        for service in services
        if service.name in processes and known.get(service.name) != service.digest
    ]
    if not changed:
        return
    cycles = lease.running_cycles(settings)
    if SCHEDULER in changed and (cycles or stage_is_running(settings)):
        raise ServiceError(
            f"Airflow runs for another source or with other settings, and {cycles[0] if cycles else 'a stage'} is running; "
            "wait for its end, or run make stop first"
        )
    say(f"{', '.join(changed)} ran for another source or with other settings; restarting")
    end_families([processes.pop(name) for name in changed])
    register(settings, processes)


def start(settings: Settings, services: list[Service], say: Say = print) -> None:
    """Starts the services that do not run yet and waits until all answer.

    Raises ServiceError when another program has a port, the disk is nearly full, or a service ends or does
    not answer; what this call started is then stopped again.
    """
    processes = running(settings)
    wanted = [service for service in services if service.name not in processes]
    _check_disk(settings)
    for service in wanted:
        _check_port(service)
    try:
        for service in wanted:
            processes[service.name] = _launch(settings, service)
            register(settings, processes, {service.name: service.digest for service in wanted})
        _wait(settings, services, processes, say)
    except BaseException:
        end_families([processes[service.name] for service in wanted if service.name in processes])
        register(settings, {name: process for name, process in processes.items() if is_alive(process)})
        raise


def stop(settings: Settings) -> list[str]:
    """Ends every service of this home with all that it started. Returns their names."""
    processes = running(settings)
    end_families(list(processes.values()))
    register(settings, {})
    WarmJvms(settings.warm_jvm_folder, 0).end()
    warm_python.end(warm_python.folder_of(settings.home))
    return list(processes)


@contextmanager
def airflow_suspended(settings: Settings) -> Iterator[None]:
    """Suspends Airflow's services meanwhile; tasks go on.

    The local database is SQLite, where a transaction that has read cannot write once another process
    has written ("database is locked", at once), so that a backfill would be created by half.
    Raises ServiceError when the database is not at rest within seconds.
    """
    leaders = [process for name, process in running(settings).items() if name.startswith("airflow-")]
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
    """Whether no process is in the middle of a write."""
    connection = sqlite3.connect(database, timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


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


def _wait(
    settings: Settings, services: list[Service], processes: dict[str, psutil.Process], say: Say
) -> None:
    begun = time.monotonic()
    silent = {service.name: service for service in services}
    while silent:
        for name, service in list(silent.items()):
            if not is_alive(processes[name]):
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
    try:
        check_disk(settings.home, NEEDED_MEGABYTES)
    except SetupError as error:
        raise ServiceError(str(error)) from None


def _log(settings: Settings, name: str) -> Path:
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.log"
