"""Explains an error that a full disk caused: which disk, how much is free, what to do.

Spark, SQLite and safetensors wrap the system's error in their own, so messages are searched too.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.settings import Settings

_CODES = (errno.ENOSPC, errno.EDQUOT)
_WORDS = re.compile(r"no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE)


def full_disk(error: BaseException, settings: Settings) -> str | None:
    """The explanation, in one line, of an error that a full disk raised or caused; None for any other error."""
    full = [link for link in _chain(error) if _is_full(link)]
    if not full:
        return None
    named = [path for link in full for path in _paths(link)]
    lake = [] if "://" in settings.lake else [Path(settings.lake)]
    # Spark spills into the folder of temporary files.
    places = named or [settings.home, *lake, Path(tempfile.gettempdir())]
    place = min((_existing(path) for path in places), key=lambda path: shutil.disk_usage(path).free)
    free = shutil.disk_usage(place).free // 2**20
    return f"the disk that holds {place} is full, {free} MB left; free some space there and run the command again"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes, the error first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _CODES
    return _WORDS.search(str(error)) is not None


def _paths(error: BaseException) -> list[Path]:
    """The file that could not be written, where the error names it; for a copy, the target."""
    names = (getattr(error, "filename2", None), getattr(error, "filename", None))
    return [Path(os.fsdecode(name)).absolute() for name in names if isinstance(name, str | bytes)][:1]


def _existing(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
