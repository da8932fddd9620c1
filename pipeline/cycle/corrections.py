"""What people have said against a source's landed data, and where the source is landed.

    corrections/my-log.json

Files that were withdrawn, people who were erased, and the folder that the source's files come from. Every
ingestion reads it, so that what has left does not come back with the next file. It is written before
anything is changed in the lake: a command that is killed after that is completed by the same command or by the next
ingestion. An erased person is kept as a digest only.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from expectations.files import write_atomically
from pipeline.settings import Settings

FORMAT = 1


class CorrectionError(ValueError):
    """A correction that cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Said:
    """Who said something, when and why."""

    by: str
    at: str
    """ISO 8601, UTC."""
    reason: str


@dataclass(frozen=True)
class Withdrawn:
    """A landed event file that may not be ingested."""

    file: str
    """Its name, relative to the landing folder when it is inside."""
    file_ids: tuple[str, ...]
    """SHA-256 of every content that it had when it was withdrawn; under another name they stay out too."""
    said: Said


@dataclass(frozen=True)
class Erased:
    """A person whose events may not be ingested."""

    user: str
    """`spark_jobs.landing.erased.user_digest` of the person's id."""
    said: Said


@dataclass(frozen=True)
class Corrections:
    """All that is said of one source."""

    withdrawn: tuple[Withdrawn, ...] = ()
    erased: tuple[Erased, ...] = ()
    landed_at: tuple[str, ...] = ()
    """Absolute patterns of its event files, as of the last cycle that was resolved; empty before the first."""
    moves: tuple[Mapping[str, Any], ...] = ()
    """Every time that `move-source` was called: from, to, and who said so."""

    @property
    def kept_out(self) -> tuple[str, ...]:
        """Names and contents of withdrawn files, sorted."""
        names = {entry.file for entry in self.withdrawn}
        return tuple(sorted(names.union(*(entry.file_ids for entry in self.withdrawn))))

    @property
    def erased_users(self) -> tuple[str, ...]:
        """Digests of erased people, sorted."""
        return tuple(sorted({entry.user for entry in self.erased}))


def said(reason: str, by: str | None = None) -> Said:
    """What is recorded of the person who gives a command now. Raises CorrectionError without a reason."""
    if not reason.strip():
        raise CorrectionError("--reason is empty; say in a few words why, it is kept in the record")
    who = by or f"{_user()}@{socket.gethostname()}"
    return Said(who, datetime.now(UTC).isoformat(timespec="seconds"), reason.strip())


def read(settings: Settings, source: str) -> Corrections:
    """What is said of a source so far. Raises CorrectionError for a file of a later revision."""
    path = settings.corrections(source)
    if not path.exists():
        return Corrections()
    content = json.loads(path.read_text())
    if content["format"] > FORMAT:
        raise CorrectionError(
            f"{path} has format {content['format']}, this revision reads up to {FORMAT}; update the code"
        )
    return Corrections(
        withdrawn=tuple(
            Withdrawn(entry["file"], tuple(entry["file_ids"]), Said(**entry["said"]))
            for entry in content["withdrawn"]
        ),
        erased=tuple(Erased(entry["user"], Said(**entry["said"])) for entry in content["erased"]),
        landed_at=tuple(content["landed_at"]),
        moves=tuple(content["moves"]),
    )


def write(settings: Settings, source: str, corrections: Corrections) -> None:
    """Replaces what is said of a source; the caller holds the source's lease."""
    content = {"format": FORMAT, **asdict(corrections)}
    write_atomically(settings.corrections(source), json.dumps(content, indent=1))


def withdraw(corrections: Corrections, file: str, file_ids: tuple[str, ...], why: Said) -> Corrections:
    """With a file withdrawn; of one that is withdrawn already, the contents are added and the first word stays."""
    before = next((entry for entry in corrections.withdrawn if entry.file == file), None)
    ids = tuple(sorted({*file_ids, *(before.file_ids if before else ())}))
    entry = replace(before, file_ids=ids) if before else Withdrawn(file, ids, why)
    others = tuple(other for other in corrections.withdrawn if other.file != file)
    return replace(corrections, withdrawn=tuple(sorted((*others, entry), key=lambda one: one.file)))


def readmit(corrections: Corrections, file: str) -> Corrections:
    """With a file no longer withdrawn. Raises CorrectionError when it is not."""
    names = [entry.file for entry in corrections.withdrawn]
    if file not in names:
        raise CorrectionError(f"{file} is not withdrawn; withdrawn are: {', '.join(names) or 'none'}")
    return replace(
        corrections, withdrawn=tuple(entry for entry in corrections.withdrawn if entry.file != file)
    )


def erase(corrections: Corrections, user: str, why: Said) -> Corrections:
    """With a person (a digest) erased; a second time changes nothing."""
    if user in corrections.erased_users:
        return corrections
    return replace(corrections, erased=(*corrections.erased, Erased(user, why)))


def digest(values: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
