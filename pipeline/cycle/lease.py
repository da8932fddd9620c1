"""One cycle of a source at a time: a lease in the home folder that every other cycle respects.

Airflow's `max_active_runs` does not count backfill runs, and a person may start a cycle beside a
schedule; so the pipeline itself refuses. A cycle takes the lease in `resolve` and gives it back at its
end; each of its stages renews it. A running stage also holds an operating-system lock, which ends with
its process however it dies: a lease without a live process that was not renewed for
`STALE_AFTER_SECONDS` may be taken over. Stages that wait for the same stages may run side by side. Where one process
runs a whole cycle, no other process runs a stage of it.

Several machines may share a home. A process id proves nothing on another machine than its own: there, a process counts as
alive while it renews the lease. Several homes may share a lake: `lake_lease` keeps them apart.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil

from expectations.files import write_atomically
from pipeline.cycle import lake_lease
from pipeline.cycle.lake_lease import RENEWED_EVERY_SECONDS, SKEW_SECONDS, SourceBusyError
from pipeline.settings import Settings

STALE_AFTER_SECONDS = 3600.0
"""Longest wait between two stages of one cycle before another cycle may take the source."""


CLOCK_STEP_SECONDS = 60.0
"""Most by which the start of a process may seem to move when the machine's clock is set."""

SILENT_AFTER_SECONDS = 3 * RENEWED_EVERY_SECONDS + SKEW_SECONDS
"""A process of another machine that has not renewed the lease for so long is gone."""


def take(settings: Settings, source: str, cycle: str, owner_process: int | None = None) -> bool:
    """Gives the source to a cycle; returns whether the cycle did not hold it before.

    `owner_process` is given where one process runs the whole cycle: the lease then ends with it.
    Raises SourceBusyError when another cycle holds it, or another process runs this one.
    """
    with _guard(settings, source):
        _refuse_another_cycle(settings, source, cycle)
        _refuse_another_process(settings, source, owner_process)
        held = _read(_path(settings, source))
        _write(settings, source, cycle, owner_process or _process_of(held))
        return held is None or held["cycle"] != cycle


@contextmanager
def taking(settings: Settings, source: str, cycle: str) -> Iterator[None]:
    """Takes the lease, which the cycle keeps when the block succeeds.

    When it fails, a lease that was taken here is given back: a cycle that could not begin must not make
    the next one wait. Raises SourceBusyError when another cycle holds the source.
    """
    with _in_lake(settings, source, f"cycle {cycle}"):
        is_new = take(settings, source, cycle)
        try:
            yield
        except BaseException:
            if is_new:
                release(settings, source, cycle)
            raise


@contextmanager
def holding(settings: Settings, source: str, cycle: str) -> Iterator[None]:
    """The lease for a process that runs a whole cycle; given back however the cycle ends. Raises as `take`."""
    with _in_lake(settings, source, f"cycle {cycle}"):
        take(settings, source, cycle, os.getpid())
        try:
            with _renewing(settings, source, cycle):
                yield
        finally:
            release(settings, source, cycle, os.getpid())


def release(
    settings: Settings, source: str, cycle: str | None = None, process: int | None = None
) -> str | None:
    """Gives the source back; with a cycle or a process, only when that one holds it. Returns who held it."""
    with _guard(settings, source):
        held = _read(_path(settings, source))
        if held is None or (cycle is not None and held["cycle"] != cycle):
            return None
        if process is not None and (held["process"] != process or not _is_here(held)):
            return None
        _path(settings, source).unlink()
    lake_lease.release(settings, source)
    return held["cycle"]


def holder(settings: Settings, source: str) -> str | None:
    """The cycle that holds the source, at work or not."""
    with _guard(settings, source):
        held = _read(_path(settings, source))
    return held["cycle"] if held else None


def running_cycles(settings: Settings) -> list[str]:
    """The cycles that hold their source now, in words."""
    found = []
    for path in sorted(_folder(settings).glob("*.json")):
        with _guard(settings, path.stem):
            held = _read(path)
            if held is not None and _is_live(settings, path.stem, held):
                found.append(f"cycle {held['cycle']} of {path.stem}")
    return found


@contextmanager
def working(
    settings: Settings, source: str, cycle: str, stage: str, beside: Collection[str] = ()
) -> Iterator[Callable[[], None]]:
    """Held while a stage runs; takes or renews the cycle's lease. Yields a function that raises SourceBusyError once the
    lease is lost, which is asked before what was done is recorded.

    Raises SourceBusyError when another cycle holds the source, when another process runs this one, when this stage
    already runs in another process, or when a stage runs that is not of this cycle and named in `beside`.
    """
    with _in_lake(settings, source, f"cycle {cycle}") as check, ExitStack() as held:
        # Every lock is taken under the guard, so no stage begins between the check and the lock.
        with _guard(settings, source):
            _refuse_another_process(settings, source, os.getpid())
            lease = _read(_path(settings, source))
            is_ours = lease is not None and lease["cycle"] == cycle
            others = [name for name in _working(settings, source) if not (is_ours and name in beside)]
            if others:
                raise SourceBusyError(
                    f"stage {', '.join(others)} of {source} is still running; retry when it finishes"
                )
            _refuse_another_cycle(settings, source, cycle)
            held.enter_context(_exclusive(_folder(settings) / f"{source}.{stage}.working", wait=False))
            _write(settings, source, cycle, _process_of(lease) if is_ours else None)
        held.enter_context(_renewing(settings, source, cycle))
        yield check


@contextmanager
def mending(settings: Settings, source: str, command: str) -> Iterator[None]:
    """Held while a command changes what cycles have written; a cycle between two stages keeps its lease, and its
    next stage waits.

    Raises SourceBusyError while a stage, another such command or a process that runs a whole cycle is at work.
    """
    with _in_lake(settings, source, command), ExitStack() as held:
        with _guard(settings, source):
            _refuse_another_process(settings, source, None)
            if others := _working(settings, source):
                raise SourceBusyError(
                    f"{', '.join(others)} of {source} is still running; retry when it finishes"
                )
            held.enter_context(_exclusive(_folder(settings) / f"{source}.{command}.working", wait=False))
        yield


@contextmanager
def moving_alias(settings: Settings, source: str) -> Iterator[None]:
    """Held from the look at the live version to the move of its alias; waits for others who hold it."""
    with _exclusive(_folder(settings) / f"{source}.alias", wait=True):
        yield


@contextmanager
def alone(settings: Settings, what: str) -> Iterator[None]:
    """Held while a command is at work that may run beside stages, but not beside itself. Raises SourceBusyError while
    another process is at it."""
    with _exclusive(_folder(settings) / f"{what}.alone", wait=False):
        yield


def _refuse_another_cycle(settings: Settings, source: str, cycle: str) -> None:
    held = _read(_path(settings, source))
    if held is not None and held["cycle"] != cycle and _is_live(settings, source, held):
        raise SourceBusyError(
            f"cycle {held['cycle']} of {source} is running; cycle {cycle} waits for it. If nothing "
            f"runs, release the source: python -m pipeline release --source {source}"
        )


def _refuse_another_process(settings: Settings, source: str, process: int | None) -> None:
    """`process`: the one that asks; None: it does not run a whole cycle."""
    held = _read(_path(settings, source))
    if held is None or not _has_live_process(held) or (_is_here(held) and held["process"] == process):
        return
    where = "" if _is_here(held) else f" on {held['host']}"
    raise SourceBusyError(
        f"cycle {held['cycle']} of {source} is running in process {held['process']}{where}; retry when it finishes"
    )


def _write(settings: Settings, source: str, cycle: str, process: int | None) -> None:
    content = {"cycle": cycle, "process": process, "host": platform.node(), "renewed_at": time.time()}
    if process is not None:
        content["process_started_at"] = _started_at(process)
    write_atomically(_path(settings, source), json.dumps(content))


@contextmanager
def _in_lake(settings: Settings, source: str, what: str) -> Iterator[Callable[[], None]]:
    """The source's lease in a lake that other homes may use, which lasts as long as the home's own."""

    def kept_seconds() -> float:
        return STALE_AFTER_SECONDS if _path(settings, source).exists() else 0.0

    with lake_lease.holding(settings, source, what, kept_seconds) as check:
        yield check


@contextmanager
def _renewing(settings: Settings, source: str, cycle: str) -> Iterator[None]:
    """Says every minute that the cycle's lease still holds, for those who cannot look at its process."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWED_EVERY_SECONDS):
            with _guard(settings, source):
                held = _read(_path(settings, source))
                if held is None or held["cycle"] != cycle:
                    return
                write_atomically(_path(settings, source), json.dumps(held | {"renewed_at": time.time()}))

    thread = threading.Thread(target=renew, name=f"lease of {source}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _working(settings: Settings, source: str) -> list[str]:
    """Stages of the source that are running; the caller holds the guard."""
    found = []
    for path in sorted(_folder(settings).glob(f"{source}.*.working")):
        try:
            with _exclusive(path, wait=False):
                pass
        except SourceBusyError:
            found.append(path.name.split(".")[1])
    return found


def _is_live(settings: Settings, source: str, held: dict) -> bool:
    if _working(settings, source):
        return True
    if held["process"] is not None:
        return _has_live_process(held)
    return time.time() - held["renewed_at"] < STALE_AFTER_SECONDS


def _is_here(held: dict) -> bool:
    """Whether the lease was written on this machine."""
    return held.get("host", platform.node()) == platform.node()


def _has_live_process(held: dict) -> bool:
    """Whether a process runs the whole cycle: one of this machine that is there, or one of another that renews."""
    if _is_here(held) or held["process"] is None:
        return _process_of(held) is not None
    return time.time() - held["renewed_at"] < SILENT_AFTER_SECONDS


def _process_of(held: dict | None) -> int | None:
    """The live process of this machine that runs the whole cycle; None where there is none. A process that was given the
    number of one that is gone is another."""
    if held is None or held["process"] is None or not _is_here(held):
        return None
    now, then = _started_at(held["process"]), held.get("process_started_at")
    is_it = now is not None and (then is None or abs(now - then) < CLOCK_STEP_SECONDS)
    return held["process"] if is_it else None


def _started_at(process: int) -> float | None:
    """When a process began, seconds since 1970-01-01; None when there is none, or none but its name."""
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.Error:
        return None


def _guard(settings: Settings, source: str) -> AbstractContextManager[None]:
    """Held while the lease or a stage's lock changes hands."""
    return _exclusive(_folder(settings) / f"{source}.guard", wait=True)


def _folder(settings: Settings) -> Path:
    return settings.home / "leases"


def _path(settings: Settings, source: str) -> Path:
    return _folder(settings) / f"{source}.json"


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.exists() else None


@contextmanager
def _exclusive(path: Path, *, wait: bool) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise SourceBusyError(
                f"{path.stem} is locked by another process; retry when it finishes"
            ) from None
        yield
    finally:
        os.close(handle)
