"""Which services of a home run: a register of their processes in `REPRISE_HOME/services.json`.

An entry holds the process number, the clock tick at which the process started, and the digest of the
service. Number and tick together name one process, so a number that the system gave to another process since
is not taken for a service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import psutil

from expectations.files import write_atomically
from pipeline.local.processes import descendants, is_alive, started_ticks
from pipeline.local.services import SCHEDULER
from pipeline.settings import Settings

_STAGES = ("pipeline", "pipeline.local.warm_python")
"""Modules whose process is a stage, or waits for one."""


def running(settings: Settings) -> dict[str, psutil.Process]:
    """The live processes of this home's services, by the service's name."""
    live = {}
    for name, (number, started, *_) in _read(settings).items():
        try:
            process = psutil.Process(number)
            if started_ticks(process) == started and is_alive(process):
                live[name] = process
        except psutil.NoSuchProcess:
            continue
    return live


def digests(settings: Settings) -> dict[str, str]:
    """The digest that each registered service was started with, by name."""
    return {name: entry[2] for name, entry in _read(settings).items() if len(entry) > 2}


def register(
    settings: Settings, processes: Mapping[str, psutil.Process], started: Mapping[str, str] | None = None
) -> None:
    """Replaces the register by these processes; `started` has the digests of those started since.

    Raises psutil.NoSuchProcess when one of them has ended and was waited for.
    """
    known = digests(settings) | dict(started or {})
    content = {
        name: (process.pid, started_ticks(process), known.get(name)) for name, process in processes.items()
    }
    write_atomically(_path(settings), json.dumps(content))


def airflow_is_running(settings: Settings) -> bool:
    """Whether this home's Airflow runs."""
    return SCHEDULER in running(settings)


def stage_is_running(settings: Settings) -> bool:
    """Whether a process of a stage runs under this home's scheduler."""
    scheduler = running(settings).get(SCHEDULER)
    return scheduler is not None and any(_is_stage(process) for process in descendants(scheduler))


def _is_stage(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return any(word in _STAGES or word.endswith("pipeline/__main__.py") for word in words)


def _read(settings: Settings) -> dict[str, list]:
    path = _path(settings)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _path(settings: Settings) -> Path:
    return settings.home / "services.json"
