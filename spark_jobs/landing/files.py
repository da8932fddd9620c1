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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from spark_jobs.landing.folders import HadoopFiles, LandingError, LocalFiles, fixed_root, matching

__all__ = ["LandedFile", "LandingError", "find", "metadata_key", "open_head", "path_key"]

_READERS = 4
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


def find(spark: SparkSession, landing: str, patterns: tuple[str, ...]) -> list[LandedFile]:
    """The files that match, each once, sorted by name, by the rules of `folders`. A file that cannot be opened is listed
    as unreadable. Raises LandingError when the landing folder does not exist or a folder cannot be listed."""
    sizes: dict[str, int] = {}
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
        sizes.update(matching(system, root, whole.removeprefix(root).lstrip("/")))
    root = path_key(landing).rstrip("/") + "/"
    named = sorted((path.removeprefix(root), path, size) for path, size in _once(sizes).items())
    with ThreadPoolExecutor(_READERS) as readers:
        digests = list(readers.map(lambda entry: _digest(spark, entry[1]), named))
    files = [
        LandedFile(path, name, size, file_id, unreadable)
        for (name, path, size), (file_id, unreadable) in zip(named, digests, strict=True)
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
        stream = _open_remote(spark, file.path)
        try:
            return io.BytesIO(bytes(stream.readNBytes(count)))
        finally:
            stream.close()
    except Py4JJavaError as error:
        raise OSError(error.java_exception.getMessage()) from None


def _once(sizes: dict[str, int]) -> dict[str, int]:
    """Local files that several patterns reach by different links are kept once, by their own path if it is there."""
    by_real: dict[str, str] = {}
    for path in sorted(sizes, key=lambda path: ("://" not in path and os.path.realpath(path) != path, path)):
        by_real.setdefault(path if "://" in path else os.path.realpath(path), path)
    return {path: sizes[path] for path in by_real.values()}


def _digest(spark: SparkSession, path: str) -> tuple[str, str | None]:
    """A file's digest, and why it cannot be read or None."""
    try:
        if "://" in path:
            return _digest_remote(spark, path), None
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), None
    except OSError as error:
        reason = error.strerror or str(error)
    except Py4JJavaError as error:
        reason = str(error.java_exception.getMessage())
    return hashlib.sha256(path.encode()).hexdigest(), f"the file cannot be read: {' '.join(reason.split())}"


def _open_remote(spark: SparkSession, path: str):
    address = spark._jvm.org.apache.hadoop.fs.Path(path)
    return address.getFileSystem(spark._jsc.hadoopConfiguration()).open(address)


def _digest_remote(spark: SparkSession, path: str) -> str:
    stream = _open_remote(spark, path)
    try:
        return spark._jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream)
    finally:
        stream.close()
