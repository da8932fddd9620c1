"""What a packaged source is, and how its raw files come into the landing zone.

In: a folder of the open data, or bytes fetched. Out: files in `settings.landing(name)`, each put there
whole, so that a listing never sees a part. Knows nothing of what the files hold.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expectations.files import replacing, write_atomically
from pipeline.settings import Settings
from spark_jobs.config import SourceConfig


class SourceError(RuntimeError):
    """A source whose raw files cannot be had; the message is one line that says what to do."""


@dataclass(frozen=True)
class SourceDefinition:
    """A packaged open data set."""

    config: SourceConfig
    overlay: dict[str, Any]
    """What this source says about the other sections of the configuration, by section."""
    land: Callable[[Settings, Callable[[str], None]], None] = field(repr=False)
    """Puts the raw files into the landing zone; does nothing when they are there. Raises SourceError."""

    def configuration(self) -> dict[str, Any]:
        """Sections of the configuration as plain values, the lowest layer of a named run."""
        return {"source": self.config.model_dump(mode="json"), **self.overlay}


def land_folder(settings: Settings, name: str, folder: str, files: tuple[str, ...]) -> None:
    """Links (or copies) files of `settings.data`/folder into the landing zone. Raises SourceError."""
    origin = settings.data / folder
    absent = [file for file in files if not (origin / file).is_file()]
    if absent:
        raise SourceError(
            f"source {name} needs {', '.join(absent)} in {origin}; put the data there or point REPRISE_DATA at its parent"
        )
    landing = settings.landing(name)
    landing.mkdir(parents=True, exist_ok=True)
    for file in files:
        _put(origin / file, landing / file)


def put_bytes(path: Path, content: bytes) -> None:
    """Writes a file as one step; one that has this content already is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    write_atomically(path, content, mode=0o644)


def _put(origin: Path, target: Path) -> None:
    if target.is_file() and target.stat().st_size == origin.stat().st_size:
        return
    with replacing(target) as temporary:
        temporary.unlink()
        try:
            os.link(origin, temporary)
        except OSError:  # another file system, or links not allowed
            shutil.copyfile(origin, temporary)
