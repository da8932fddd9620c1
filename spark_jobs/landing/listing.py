"""What is landed, by name, size and times of change: enough to see that something changed, read from no file.

A listing may hold more than an ingestion reads (hidden files, for instance); it never holds less. Local
paths need no Spark; for a path with a scheme the session is asked for, and Hadoop's file systems answer.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spark_jobs.landing.files import path_key

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Entry = tuple[str, int, int, int]
"""A file's path, its size in bytes, and when its content and its entry in the folder last changed, in the
file system's own units."""


def listing(landing: str, patterns: Iterable[str], session: Callable[[], SparkSession]) -> list[Entry]:
    """Every file that one of the patterns matches, sorted; of a folder that matches, every file below it."""
    found: set[Entry] = set()
    for address in addresses(landing, patterns):
        found.update(_remote(session(), address) if "://" in address else _local(address))
    return sorted(found)


def addresses(landing: str, patterns: Iterable[str]) -> list[str]:
    """The patterns as absolute paths or URIs, sorted; a `file:` URI is a plain path."""
    root = path_key(landing).rstrip("/")
    keys = (path_key(pattern) for pattern in patterns)
    whole = {key if "://" in key or key.startswith("/") else f"{root}/{key}" for key in keys}
    return sorted(path if "://" in path else os.path.abspath(path) for path in whole)


def is_path(table: str) -> bool:
    """Whether a mapping's table is a folder; else it is the name of a table in a catalog."""
    return "/" in table


def vanished_folders(landing: str, patterns: Iterable[str], ingested: Iterable[str]) -> list[str]:
    """Local folders that patterns start in, that are not there, and that files were ingested from before.
    `ingested`: their names, relative to the landing folder or absolute."""
    root = path_key(landing).rstrip("/")
    known = [name if "://" in name or name.startswith("/") else f"{root}/{name}" for name in ingested]
    folders = {
        os.path.dirname(re.split(r"[*?\[{]", address)[0])
        for address in addresses(landing, patterns)
        if "://" not in address
    }
    return sorted(
        folder
        for folder in folders
        if not os.path.isdir(folder) and any(name.startswith(f"{folder}/") for name in known)
    )


def _local(pattern: str) -> Iterator[Entry]:
    # Files first: a pattern that names one file need not be read as a glob (`a[1].csv`).
    matches = (
        [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True, include_hidden=True)
    )
    for match in matches:
        path = Path(match)
        for file in path.rglob("*") if path.is_dir() else (path,):
            try:
                status = file.stat()
            except OSError:  # it left meanwhile, or a link leads nowhere
                continue
            if not file.is_dir():
                yield str(file), status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _remote(spark: SparkSession, pattern: str) -> Iterator[Entry]:
    path = spark._jvm.org.apache.hadoop.fs.Path(pattern)
    system = path.getFileSystem(spark._jsc.hadoopConfiguration())
    for match in system.globStatus(path) or []:
        below = system.listFiles(match.getPath(), True)
        while below.hasNext():
            status = below.next()
            yield status.getPath().toString(), status.getLen(), status.getModificationTime(), 0
