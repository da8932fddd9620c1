"""Landed files: the files that match a source's patterns, and the digest that identifies each.

The landing folder is a local path or an object-store URI. Python reads local files; paths with a scheme
go through Hadoop's file systems, with Spark's credentials. What lines mean is not known here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from spark_jobs.landing.digests import digests_of
from spark_jobs.landing.folders import (
    Entry,
    HadoopFiles,
    LandingError,
    LocalFiles,
    fixed_root,
    matching,
    open_remote,
)

__all__ = ["LandedFile", "LandingError", "find", "metadata_key", "open_head", "path_key"]

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class LandedFile:
    """One file of the landing zone."""

    path: str
    """An absolute path or a URI, as Spark takes it."""
    name: str
    """Relative to the landing folder when the file is inside it, else the path."""
    size_bytes: int
    file_id: str
    """SHA-256 of the bytes, and of `partition` where folders give values; of the path when the bytes cannot be read."""
    unreadable: str | None
    """Why none of its lines can be read; None when they can, as far as the listing knows."""

    @property
    def key(self) -> str:
        """`path_key` of the path."""
        return path_key(self.path)

    @property
    def is_local(self) -> bool:
        """Whether Python opens it by its path."""
        return "://" not in self.path

    @property
    def order(self) -> str:
        """What the files are ordered by, where several hold lines of one event."""
        return self.name

    @property
    def partition(self) -> dict[str, str | None]:
        """The values that its folders give by their names, `dt=2026-03-01/country=NL`."""
        pairs = (part.split("=", 1) for part in self.name.split("/")[:-1] if "=" in part.strip("="))
        return {key: None if value == _NO_VALUE else unquote(value) for key, value in pairs}


def path_key(path: str) -> str:
    """One spelling for a plain path and a `file:` URI."""
    return re.sub(r"^file:/+", "/", path)


def metadata_key(metadata_path: str) -> str:
    """`path_key` of Spark's `_metadata.file_path`, which is percent-encoded."""
    return path_key(unquote(metadata_path))


def find(
    spark: SparkSession, landing: str, patterns: tuple[str, ...], digests: str | None = None
) -> list[LandedFile]:
    """The files that match, each once, sorted by name, by the rules of `folders`. A file that cannot be opened is listed
    as unreadable. `digests`: the file that keeps the digests, without which each file is read. Raises LandingError when
    the landing folder does not exist or a folder cannot be listed."""
    found: dict[str, Entry] = {}
    for pattern in patterns:
        absolute = "://" in pattern or pattern.startswith(("/", "file:"))
        whole = path_key(pattern if absolute else f"{landing.rstrip('/')}/{pattern}")
        inside = whole.startswith(path_key(landing).rstrip("/") + "/")
        root = path_key(landing).rstrip("/") or "/" if inside else fixed_root(whole)
        system = HadoopFiles(spark, root) if "://" in whole else LocalFiles()
        if inside and not system.is_folder(root):
            raise LandingError(
                f"the landing folder {root} does not exist: mount it or correct its path; nothing was changed"
            )
        found.update(matching(system, root, whole.removeprefix(root).lstrip("/")))
    root, found = path_key(landing).rstrip("/") + "/", _once(found)
    looked_for = " ".join([root, *patterns])
    known = digests_of(spark, found, looked_for, None if digests is None else Path(digests))
    files = [
        LandedFile(path, name, found[path].size_bytes, known[path].value, known[path].problem)
        for name, path in sorted((path.removeprefix(root), path) for path in found)
    ]
    return [replace(file, file_id=_with_partition(file)) if file.partition else file for file in files]


def _with_partition(file: LandedFile) -> str:
    """The same bytes in two folders are two contents where the folders give values."""
    given = json.dumps([file.file_id, file.partition], sort_keys=True)
    return hashlib.sha256(given.encode()).hexdigest()


def open_head(spark: SparkSession, file: LandedFile, count: int) -> BinaryIO:
    """The file's first `count` bytes as a stream. Raises OSError when it cannot be read."""
    if file.is_local:
        with open(file.path, "rb") as stream:
            return io.BytesIO(stream.read(count))
    try:
        stream = open_remote(spark, file.path)
        try:
            return io.BytesIO(bytes(stream.readNBytes(count)))
        finally:
            stream.close()
    except Py4JJavaError as error:
        raise OSError(error.java_exception.getMessage()) from None


def _once(found: dict[str, Entry]) -> dict[str, Entry]:
    """Local files that several patterns reach by different links are kept once, by their own path if it is there."""
    by_real: dict[str, str] = {}
    for path in sorted(found, key=lambda path: ("://" not in path and os.path.realpath(path) != path, path)):
        by_real.setdefault(path if "://" in path else os.path.realpath(path), path)
    return {path: found[path] for path in by_real.values()}
