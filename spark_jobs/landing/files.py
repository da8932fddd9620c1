"""Landed files: the files that match a pattern, and the digest that identifies each.

The landing folder is a local path or an object-store URI. Python reads local files; paths with a scheme
go through Hadoop's file systems, with Spark's credentials. What lines mean is not known here.
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
    """Files that cannot be listed or read; the message says which and why."""


@dataclass(frozen=True)
class LandedFile:
    """One file of the landing zone."""

    path: str
    """An absolute path or a URI, as Spark takes it."""
    name: str
    """Relative to the landing folder when the file is inside it, else the path."""
    size_bytes: int
    file_id: str
    """SHA-256 of the bytes."""
    unreadable: str | None
    """Why none of its lines can be read; None when they can."""

    @property
    def glob_safe_path(self) -> str:
        """The path with the characters escaped that Hadoop would take for a glob."""
        return re.sub(r"([\\*?\[\]{}])", r"\\\1", self.path)

    @property
    def key(self) -> str:
        """`path_key` of the path."""
        return path_key(self.path)


def path_key(path: str) -> str:
    """One spelling for a plain path and a `file:` URI."""
    return re.sub(r"^file:/+", "/", path)


def metadata_key(metadata_path: str) -> str:
    """`path_key` of Spark's `_metadata.file_path`, which is percent-encoded."""
    return path_key(unquote(metadata_path))


def find(spark: SparkSession, landing: str, patterns: tuple[str, ...]) -> list[LandedFile]:
    """The files that match, each once, sorted by name. File names that start with `.` or `_` are skipped: by
    convention they are unfinished or bookkeeping. Raises LandingError when a file cannot be read."""
    sizes: dict[str, int] = {}
    for pattern in patterns:
        address = pattern if "://" in pattern or pattern.startswith("/") else None
        remote = "://" in (address or landing) and not (address or landing).startswith("file:")
        if remote:
            sizes.update(_glob_remote(spark, address or f"{landing.rstrip('/')}/{pattern}"))
        else:
            folder = glob.escape(path_key(landing))
            for path in glob.glob(
                path_key(address) if address else os.path.join(folder, pattern), recursive=True
            ):
                if os.path.isfile(path):
                    sizes[os.path.abspath(path)] = os.path.getsize(path)
    root = path_key(landing).rstrip("/") + "/"
    named = sorted(
        (path.removeprefix(root), path, size)
        for path, size in sizes.items()
        if not path.rsplit("/", 1)[-1].startswith((".", "_"))
    )
    with ThreadPoolExecutor(_READERS) as readers:
        checked = list(readers.map(lambda entry: _examined(spark, entry[1]), named))
    return [
        LandedFile(path, name, size, file_id, unreadable)
        for (name, path, size), (file_id, unreadable) in zip(named, checked, strict=True)
    ]


def first_line(spark: SparkSession, file: LandedFile) -> str | None:
    """The file's first line without its line end and byte-order mark; None for an empty file."""
    if "://" in file.path:
        row = spark.read.option("lineSep", "\n").text(file.glob_safe_path).first()
        return row[0].rstrip("\r") if row else None
    opener = gzip.open if file.path.endswith(".gz") else open
    with opener(file.path, "rb") as lines:
        line = lines.readline()
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n") if line else None


def _examined(spark: SparkSession, path: str) -> tuple[str, str | None]:
    """A file's digest, and why it cannot be read or None. A gzip file is unpacked once, because Spark would
    return the lines before the damage as if they were all."""
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
