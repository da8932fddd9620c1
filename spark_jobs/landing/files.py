"""Landed files: which there are, and the digest that names each.

In: the landing folder (a local path or an object-store URI) and glob patterns. Out: `LandedFile`s
in the order of their names. Local files are read by Python; anything with a scheme goes through
Hadoop's file systems, with the credentials that Spark has. Knows nothing of what lines mean.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import os
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

_READERS = 4
_CHUNK_BYTES = 1 << 20


class LandingError(RuntimeError):
    """Files that cannot be listed or read at all; the message says which and why."""


@dataclass(frozen=True)
class LandedFile:
    """One file as it lies in the landing zone."""

    path: str
    """What Spark reads: an absolute path or a URI."""
    name: str
    """Relative to the landing folder where it lies under it, else the path."""
    size_bytes: int
    file_id: str
    """SHA-256 of the bytes."""
    unreadable: str | None
    """Why no line of it can be read; None when it can."""

    @property
    def glob_safe_path(self) -> str:
        """The path with the characters that Hadoop's globs would expand escaped."""
        return re.sub(r"([\\*?\[\]{}])", r"\\\1", self.path)

    @property
    def key(self) -> str:
        """The path as `path_key` gives it."""
        return path_key(self.path)


def path_key(path: str) -> str:
    """One spelling for a plain path and a `file:` URI."""
    return re.sub(r"^file:/+", "/", path)


def metadata_key(metadata_path: str) -> str:
    """`path_key` of Spark's `_metadata.file_path`, which is percent-encoded."""
    return path_key(unquote(metadata_path))


def find(spark: SparkSession, landing: str, patterns: tuple[str, ...]) -> list[LandedFile]:
    """The files that match, each once, by name. Names starting with `.` or `_` are skipped: they are
    by custom unfinished or bookkeeping. Raises LandingError where a file cannot be read."""
    found: dict[str, int] = {}
    for pattern in patterns:
        address = pattern if "://" in pattern or pattern.startswith("/") else None
        remote = "://" in (address or landing) and not (address or landing).startswith("file:")
        if remote:
            found.update(_glob_remote(spark, address or f"{landing.rstrip('/')}/{pattern}"))
        else:
            folder = glob.escape(path_key(landing))
            for path in glob.glob(
                path_key(address) if address else os.path.join(folder, pattern), recursive=True
            ):
                if os.path.isfile(path):
                    found[os.path.abspath(path)] = os.path.getsize(path)
    root = path_key(landing).rstrip("/") + "/"
    named = sorted(
        (path.removeprefix(root), path, size)
        for path, size in found.items()
        if not path.rsplit("/", 1)[-1].startswith((".", "_"))
    )
    with ThreadPoolExecutor(_READERS) as readers:
        checked = list(readers.map(lambda entry: _examined(spark, entry[1]), named))
    return [
        LandedFile(path, name, size, file_id, unreadable)
        for (name, path, size), (file_id, unreadable) in zip(named, checked, strict=True)
    ]


def first_line(spark: SparkSession, file: LandedFile) -> str | None:
    """The file's first line without its end; None for an empty file."""
    if "://" in file.path:
        row = spark.read.option("lineSep", "\n").text(file.glob_safe_path).first()
        return row[0].rstrip("\r") if row else None
    opener = gzip.open if file.path.endswith(".gz") else open
    with opener(file.path, "rb") as lines:
        line = lines.readline()
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n") if line else None


def _examined(spark: SparkSession, path: str) -> tuple[str, str | None]:
    """Digest of a file, and why it is unreadable: a gzip file is unpacked once, since Spark would
    hand out the lines before the damage as if they were all."""
    zipped = path.endswith(".gz")
    if "://" in path:
        return _digest_remote(spark, path), (_gzip_problem_remote(spark, path) if zipped else None)
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, (_gzip_problem(path) if zipped else None)
    except OSError as error:
        raise LandingError(f"{path} cannot be read: {error.strerror}") from None


def _gzip_problem(path: str) -> str | None:
    try:
        with gzip.open(path, "rb") as content:
            while content.read(_CHUNK_BYTES):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return f"damaged gzip file: {error}"
    return None


def _glob_remote(spark: SparkSession, pattern: str) -> dict[str, int]:
    path = spark._jvm.org.apache.hadoop.fs.Path(pattern)
    statuses = path.getFileSystem(spark._jsc.hadoopConfiguration()).globStatus(path) or []
    return {str(status.getPath().toString()): status.getLen() for status in statuses if status.isFile()}


def _open_remote(spark: SparkSession, path: str):
    address = spark._jvm.org.apache.hadoop.fs.Path(path)
    return address.getFileSystem(spark._jsc.hadoopConfiguration()).open(address)


def _digest_remote(spark: SparkSession, path: str) -> str:
    stream = _open_remote(spark, path)
    try:
        return spark._jvm.org.apache.commons.codec.digest.DigestUtils.sha256Hex(stream)
    finally:
        stream.close()


def _gzip_problem_remote(spark: SparkSession, path: str) -> str | None:
    stream = _open_remote(spark, path)
    try:
        unpacked = spark._jvm.java.util.zip.GZIPInputStream(stream)
        unpacked.transferTo(spark._jvm.java.io.OutputStream.nullOutputStream())
    except Py4JJavaError as error:
        return f"damaged gzip file: {error.java_exception.getMessage()}"
    finally:
        stream.close()
    return None
