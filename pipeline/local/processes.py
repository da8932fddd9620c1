"""Families of processes: who descends from whom, who lives, and how to end them all.

In: the processes that lead. Knows nothing of what they do.
"""

from __future__ import annotations

from pathlib import Path

import psutil

STOP_SECONDS = 20.0
"""Time a family is given to end by itself."""


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started_ticks(process: psutil.Process) -> int:
    """Clock ticks from the machine's boot to the start of the process; with its number it names one process.

    Its time of day will not do: that moves by a second whenever the clock is set. Raises
    psutil.NoSuchProcess.
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
    """Asks every service and all that it started to end, and after a while ends what is left.

    The tree is read before anything ends: a stage leads a session of its own, so that neither its
    service's group nor, once its parent is gone, its parents lead to it.
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
