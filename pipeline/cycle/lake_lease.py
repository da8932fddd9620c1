"""One home at a time works on a source's tables in a lake that several homes may use.

A lake in a home is that home's own, and nothing is done here. Any other one, a folder or an object store, holds a lease
beside the source's tables: a Delta table without rows, whose newest commit says which home holds the source and until when.
It changes hands by a commit of the version after the one that was read, which the store refuses when another home was
quicker. No process id counts, since homes may be on several machines: the holder renews the lease while it works, and a lease
that was not renewed may be taken over. Clocks may differ by `SKEW_SECONDS`; where they differ by more, a holder that
lost the lease notices at its next renewal, and writes no record.
"""

from __future__ import annotations

import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.delta_log import storage_options
from expectations.files import write_atomically
from expectations.tables import location
from pipeline.settings import Settings

if TYPE_CHECKING:
    from deltalake import DeltaTable

EXPIRES_AFTER_SECONDS = 300.0
"""How long a lease holds that its holder has stopped to renew."""
RENEWED_EVERY_SECONDS = 60.0
SKEW_SECONDS = 60.0
"""Most by which the clocks of two machines may differ."""
_TRIES = 20
"""Times that a change of the lease is tried while others change it too."""


class SourceBusyError(RuntimeError):
    """Another cycle, stage or home holds the source; a later retry can succeed."""


@dataclass(frozen=True)
class Holder:
    """What the lease says."""

    home: str
    """Id of the home; empty when nobody holds the source."""
    host: str
    what: str
    """What is at work, in words."""
    until: float
    """Seconds since 1970-01-01, by the holder's clock."""

    @property
    def is_live(self) -> bool:
        return bool(self.home) and time.time() < self.until + SKEW_SECONDS


NOBODY = Holder("", "", "", 0.0)


def is_shared(settings: Settings) -> bool:
    """Whether other homes may use the lake."""
    return "://" in settings.lake or not Path(settings.lake).absolute().is_relative_to(settings.home)


@contextmanager
def holding(
    settings: Settings, source: str, what: str, kept_seconds: Callable[[], float]
) -> Iterator[Callable[[], None]]:
    """Held while this home works on a source; renewed by a thread. Yields a function that raises SourceBusyError once the
    lease is lost. Afterwards it is kept for `kept_seconds()` more, 0: it is given back.

    Raises SourceBusyError when another home holds the source.
    """
    if not is_shared(settings):
        yield lambda: None
        return
    take(settings, source, what, EXPIRES_AFTER_SECONDS)
    renewed, lost, ended = [time.monotonic()], [], threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWED_EVERY_SECONDS):
            try:
                take(settings, source, what, EXPIRES_AFTER_SECONDS)
                renewed[0] = time.monotonic()
            except SourceBusyError as taken:
                lost.append(str(taken))
                return
            except Exception:  # noqa: BLE001, S112  (a store that does not answer may answer next time)
                continue

    def check() -> None:
        if not lost and time.monotonic() - renewed[0] > EXPIRES_AFTER_SECONDS:
            lost.append(f"{settings.lake} could not be reached to renew the lease of {source}")
        if lost:
            raise SourceBusyError(f"{lost[0]}; what was done since is not recorded, retry")

    thread = threading.Thread(target=renew, name=f"lease of {source}", daemon=True)
    thread.start()
    try:
        yield check
    finally:
        ended.set()
        thread.join()
        if not lost:
            seconds = kept_seconds()
            take(settings, source, what, seconds) if seconds else release(settings, source)


def take(settings: Settings, source: str, what: str, seconds: float) -> None:
    """Takes or renews the lease for this home. Raises SourceBusyError when another home holds it."""
    ours = _home_id(settings)

    def change(held: Holder) -> Holder:
        if held.home != ours and held.is_live:
            until = time.strftime("%H:%M:%S", time.gmtime(held.until + SKEW_SECONDS))
            raise SourceBusyError(
                f"{held.what} of {source} is at work in {settings.lake} from another home, on {held.host}; retry when it has "
                f"finished. If nothing runs there, it may be taken over from {until} UTC on"
            )
        return Holder(ours, platform.node(), what, time.time() + seconds)

    _change(settings, source, change)


def release(settings: Settings, source: str) -> None:
    """Gives the source back, if this home holds it."""
    if is_shared(settings):
        ours = _home_id(settings)
        _change(settings, source, lambda held: NOBODY if held.home == ours else held)


def holder(settings: Settings, source: str) -> Holder:
    """Who holds the source now."""
    table = _table(settings, source, make=False)
    return NOBODY if table is None else _said(table)


def _change(settings: Settings, source: str, change: Callable[[Holder], Holder]) -> None:
    """Replaces what the lease says by `change` of it, of which nothing else was said in between."""
    from deltalake import CommitProperties
    from deltalake.exceptions import CommitFailedError

    for number in range(_TRIES):
        try:
            table = _table(settings, source, make=True)
            before = _said(table)
            after = change(before)
            if after == before:
                return
            said = {name: str(value) for name, value in vars(after).items()}
            table.create_write_transaction(
                [],
                mode="append",
                schema=table.schema(),
                commit_properties=CommitProperties(custom_metadata=said, max_commit_retries=0),
            )
            return
        except CommitFailedError:  # another home was quicker, or made the table
            time.sleep(0.05 * (1 + number))
    raise SourceBusyError(f"the lease of {source} in {settings.lake} changes too often; retry")


def _table(settings: Settings, source: str, *, make: bool) -> DeltaTable | Any:
    """The lease's table at its newest version; None where there is none."""
    import pyarrow as pa
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    address = location(settings.lake, source, "lease")
    options = storage_options(address)
    try:
        return DeltaTable(address, storage_options=options)
    except TableNotFoundError:
        if not make:
            return None
    # Every renewal is a commit; delta-rs removes those that are older than the last checkpoint and an hour.
    return DeltaTable.create(
        address,
        pa.schema([("nothing", pa.string())]),
        mode="ignore",
        configuration={"delta.logRetentionDuration": "interval 1 hours", "delta.checkpointInterval": "20"},
        storage_options=options,
    )


def _said(table: DeltaTable) -> Holder:
    newest = table.history(1)[0]
    if "home" not in newest:
        return NOBODY
    return Holder(newest["home"], newest["host"], newest["what"], float(newest["until"]))


def _home_id(settings: Settings) -> str:
    """The home's own id, made once, whoever is first."""
    path = settings.home / "leases" / "home-id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"home-id-{uuid.uuid4()}")
        write_atomically(made, uuid.uuid4().hex)
        with suppress(FileExistsError):
            os.link(made, path)
        made.unlink()
    return path.read_text()
