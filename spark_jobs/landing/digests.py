"""Digests of landed files: who computes them, and which are still known from an earlier look.

A year of logs is read for its digests once, not once a cycle: a file whose size and times of change are those of the last look
is the same file. Local digests are computed by the driver, those of an object store by the executors, where the bytes go
through the cluster and not through one machine.

What is kept is a file of its own in the home, and saves work only: without it, or with one that cannot be read, all files
are read again.
"""

from __future__ import annotations

import hashlib
import json
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
from spark_jobs.landing.folders import Entry

TRUSTED_AFTER_SECONDS = 60.0
"""A file that changed less than this before it was read may change again within one tick of its file system's clock, with
the same size: its digest is not kept."""
_FORMAT = 1
_READERS = 4
_LARGEST_PIECE_BYTES = 256 << 20
"""Spark holds a file in one piece; larger ones are streamed through the driver."""


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
            and (self.of(path, entry) or entry.changed_at < read_at - TRUSTED_AFTER_SECONDS)
        }
        if self._path is None or self._sections.get(section, {}) == files:
            return
        self._sections[section] = files
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps({"format": _FORMAT, "sections": self._sections}))


def _read(path: Path | None) -> dict[str, dict[str, list]]:
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text())
        return content["sections"] if content["format"] == _FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
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
    # Paths are no patterns.
    options = {"__globPaths__": "false", "recursiveFileLookup": "true"}
    try:
        files = spark.read.format("binaryFile").options(**options).load(paths)
        rows = files.select("path", F.sha2("content", 256).alias("digest")).collect()
    except (PySparkException, Py4JJavaError):
        return {}
    found = {row["path"]: Digest(row["digest"], None) for row in rows}
    return {path: found[path] for path in paths if path in found}


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
    address = spark._jvm.org.apache.hadoop.fs.Path(path)
    stream = address.getFileSystem(spark._jsc.hadoopConfiguration()).open(address)
    try:
        return spark._jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream)
    finally:
        stream.close()
