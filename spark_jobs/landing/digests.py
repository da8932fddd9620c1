"""Digests of landed files: who computes them, and which are still known from an earlier look.

A year of logs is read for its digests once, not once a cycle: a file whose size and times of change are those of the last look
is taken to be unchanged. The driver computes the digests of local and of large files, executors those of small files on an
object store.

What is kept is a file of its own in the home, and saves work only: without it, or with one that cannot be read, all files
are read again, and where it cannot be written they will be.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from expectations.files import write_atomically
from spark_jobs.landing.folders import LITERAL, Entry, open_remote

_LOG = logging.getLogger(__name__)
TRUSTED_AFTER_SECONDS = 60.0
"""A file that changed less than this before it was read may change again within one tick of its file system's clock, with
the same size: its digest is not kept."""
_FORMAT = 1
_READERS = 4
_LARGEST_PIECE_BYTES = 32 << 20
"""Larger files are streamed through the driver: a task of Spark holds its file in one piece, four times over."""


class Digest(NamedTuple):
    """A file's SHA-256 as hexadecimal text, of its path where the bytes cannot be read; and why they cannot, or None."""

    value: str
    problem: str | None


class KnownDigests:
    """Digests by path, size and times of change, in sections of which each look replaces its own."""

    def __init__(self, path: Path | None) -> None:
        """`path` need not exist; None: nothing is known and nothing is kept."""
        self._path, self._sections = path, _read(path)

    def of(self, path: str, entry: Entry) -> Digest | None:
        """The digest, if the file has not changed since it was read."""
        if not entry.changed:
            return None
        for files in self._sections.values():
            if (known := files.get(path)) and known[:2] == [entry.size_bytes, entry.changed]:
                return Digest(known[2], None)
        return None

    def keep(
        self, section: str, found: Mapping[str, Entry], digests: Mapping[str, Digest], read_at: float
    ) -> None:
        """Replaces a section by what was found; `read_at`: when reading began, seconds since 1970."""
        files = {
            path: [entry.size_bytes, entry.changed, digests[path].value]
            for path, entry in found.items()
            if digests[path].problem is None
            and (self.of(path, entry) or 0 < entry.changed_at < read_at - TRUSTED_AFTER_SECONDS)
        }
        if self._path is None or self._sections.get(section, {}) == files:
            return
        self._sections[section] = files
        try:
            write_atomically(self._path, json.dumps({"format": _FORMAT, "sections": self._sections}))
        except OSError as error:
            _LOG.warning(
                "digests of landed files are not kept, so they will be read again: %s: %s", self._path, error
            )


def _read(path: Path | None) -> dict[str, dict[str, list]]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text())
        sections = content["sections"] if content["format"] == _FORMAT else {}
        # Of another shape it raises here, and not at a file.
        return {
            section: {
                name: [int(size), str(changed), str(digest)]
                for name, (size, changed, digest) in files.items()
            }
            for section, files in sections.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def digests_of(
    spark: SparkSession, found: Mapping[str, Entry], section: str, kept: Path | None = None
) -> dict[str, Digest]:
    """Digests of files by path. `section`: what was looked for; `kept`: the file of digests that are known."""
    known, read_at = KnownDigests(kept), time.time()
    digests = {path: digest for path, entry in found.items() if (digest := known.of(path, entry)) is not None}
    unknown = [path for path in found if path not in digests]
    pieces = [path for path in unknown if "://" in path and found[path].size_bytes <= _LARGEST_PIECE_BYTES]
    digests |= by_executors(spark, pieces)
    rest = [path for path in unknown if path not in digests]
    with ThreadPoolExecutor(_READERS) as readers:
        digests |= zip(rest, readers.map(partial(_by_driver, spark), rest), strict=True)
    known.keep(section, found, digests, read_at)
    return digests


def by_executors(spark: SparkSession, paths: list[str]) -> dict[str, Digest]:
    """Digests by path, or none where one file cannot be read: the driver then finds which."""
    if not paths:
        return {}
    try:
        files = spark.read.format("binaryFile").options(**LITERAL).load(paths)
        rows = files.select("path", F.sha2("content", 256).alias("digest")).collect()
    except (PySparkException, Py4JJavaError):
        return {}
    # Spark names the store in full, which hdfs:///landing does not.
    found = {_within(row["path"]): Digest(row["digest"], None) for row in rows}
    if len(found) < len(paths):  # two stores have files of one path
        found = {row["path"]: Digest(row["digest"], None) for row in rows}
        return {path: found[path] for path in paths if path in found}
    return {path: found[_within(path)] for path in paths if _within(path) in found}


def _within(path: str) -> str:
    """A URI's path within its store."""
    return re.sub(r"^[\w+.-]+:(//[^/]*)?", "", path)


def _by_driver(spark: SparkSession, path: str) -> Digest:
    try:
        if "://" in path:
            return Digest(_streamed(spark, path), None)
        with open(path, "rb") as file:
            return Digest(hashlib.file_digest(file, "sha256").hexdigest(), None)
    except OSError as error:
        reason = error.strerror or str(error)
    except Py4JJavaError as error:
        reason = str(error.java_exception.getMessage())
    of_path = hashlib.sha256(path.encode()).hexdigest()
    return Digest(of_path, f"the file cannot be read: {' '.join(reason.split())}")


def _streamed(spark: SparkSession, path: str) -> str:
    stream = open_remote(spark, path)
    try:
        return spark._jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream)
    finally:
        stream.close()
