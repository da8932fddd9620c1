"""What a packaged source is, and how its raw files get into the landing zone.

Files appear in `settings.landing(name)` by one rename each, so that a job never lists half a file.
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
    """Raw files are not available; the message is one line that says what to do."""


@dataclass(frozen=True)
class SourceDefinition:
    """A packaged open data set."""

    config: SourceConfig
    overlay: dict[str, Any]
    """Values tuned for this source in the other sections of the configuration, by section."""
    land: Callable[[Settings, Callable[[str], None]], None] = field(repr=False)
    """Puts the raw files into the landing zone unless they are there. Raises SourceError."""

    def configuration(self) -> dict[str, Any]:
        """The source and its tuned values as plain values, the lowest layer of a named run."""
        return {"source": self.config.model_dump(mode="json"), **self.overlay}


def land_folder(settings: Settings, name: str, folder: str, files: tuple[str, ...]) -> None:
    """Links (or copies) files from `settings.data / folder` into the landing zone. Raises SourceError."""
    origin = settings.data / folder
    missing = [file for file in files if not (origin / file).is_file()]
    if missing:
        raise SourceError(
            f"source {name} needs {', '.join(missing)} in {origin}; put the data there or point REPRISE_DATA at its parent"
        )
    landing = settings.landing(name)
    landing.mkdir(parents=True, exist_ok=True)
    for file in files:
        _put(origin / file, landing / file)


def put_bytes(path: Path, content: bytes) -> None:
    """Writes a file by one rename, unless it has this content already."""
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
