"""Process families: the descendants of a process, whether it lives, and how to end them all."""

from __future__ import annotations

from pathlib import Path

import psutil

STOP_SECONDS = 20.0
"""Time between asking a family to end and killing what is left of it."""


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie, which has ended and was not waited for, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started_ticks(process: psutil.Process) -> int:
    """Clock ticks from the machine's boot to the start of the process; with its number they identify it.

    The time of day at which it started would not do: it moves by a second whenever the clock is set.
    Raises psutil.NoSuchProcess.
    """
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(process.pid) from None
    return int(fields[19])


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Everything it started, and what that started, whatever session or group they lead."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end_families(leaders: list[psutil.Process]) -> None:
    """Terminates the leaders and their descendants, and kills what is left after `STOP_SECONDS`.

    The tree is read before anything ends: a stage leads its own session, so once its parent is gone
    neither the service's group nor any parent leads to it.
    """
    family = [process for leader in leaders for process in (*descendants(leader), leader)]
    for process in family:
        _signal(process, "terminate")
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for process in left:
        _signal(process, "kill")
    psutil.wait_procs(left, timeout=5)


def _signal(process: psutil.Process, how: str) -> None:
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        pass
