"""Folders of the landing zone: which files a pattern matches.

From a folder and a glob pattern to files with their sizes, by the same rules on local disks and through
Hadoop's file systems. `*`, `?`, `[…]` and `{a,b}` stand for parts of one name, `**` for folders at any depth, none
included. What is in a file is not known here.

A file or folder whose name begins with `_` or `.` is skipped, by the custom of Spark and Hive: it is unfinished or
bookkeeping. A matched folder stands for all files in it, as Spark writes a data set; a bare `*` matches files only.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from py4j.java_gateway import JavaObject
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

LITERAL = {"__globPaths__": "false", "recursiveFileLookup": "true"}
"""Options of a reader of Spark: paths are no patterns, and folders such as date=2026-03-01 become no columns."""
_GLOB = re.compile(r"[*?\[]|\{[^{}]*,[^{}]*\}")
_TABLE_LOGS = {
    "_delta_log": ("Delta", r".*\.(json|parquet)", "name it as table = …, in place of files"),
    ".hoodie": (
        "Hudi",
        r"hoodie\.properties",
        "write its rows to another folder as Parquet and name that one",
    ),
}
"""Folders in which tables keep their log: the kind of table, the files that such a log has, and what to do."""


class LandingError(RuntimeError):
    """Files that cannot be listed or read; the message says which and why."""


class Entry(NamedTuple):
    """One name in a folder."""

    name: str
    is_folder: bool
    size_bytes: int
    changed: str = ""
    """Times of change, and what else tells a file from one that is written in its place, in the file system's words."""
    changed_at: float = 0.0
    """When it last changed by the file system's own clock, seconds since 1970; 0 where that is not known."""


class FileSystem(Protocol):
    """What listing needs of a file system. Paths are absolute."""

    def entries(self, folder: str) -> list[Entry]:
        """The folder's content, sorted by name. Raises LandingError when it cannot be listed."""

    def is_folder(self, path: str) -> bool:
        """Whether the path is a folder."""

    def real(self, path: str) -> str:
        """The path behind symbolic links."""


class LocalFiles:
    """Local disks."""

    def entries(self, folder: str) -> list[Entry]:
        found = []
        try:
            with os.scandir(folder) as scan:
                for entry in scan:
                    # A link to nothing or to itself is kept, as a file that then cannot be opened; pipes and sockets
                    # are not.
                    try:
                        status = os.stat(entry.path)
                    except OSError:
                        found.append(Entry(entry.name, False, 0))
                        continue
                    is_folder = stat.S_ISDIR(status.st_mode)
                    if is_folder or stat.S_ISREG(status.st_mode):
                        found.append(
                            Entry(
                                entry.name,
                                is_folder,
                                0 if is_folder else status.st_size,
                                f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}",
                                status.st_ctime,
                            )
                        )
        except OSError as error:
            raise LandingError(f"folder {folder} cannot be listed: {error.strerror}") from None
        return sorted(found)

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def real(self, path: str) -> str:
        return os.path.realpath(path)


class HadoopFiles:
    """A file system of Hadoop, with Spark's credentials; paths are URIs."""

    def __init__(self, spark: SparkSession, address: str) -> None:
        self._path = spark._jvm.org.apache.hadoop.fs.Path
        try:
            self._system = self._path(address).getFileSystem(spark._jsc.hadoopConfiguration())
        except Py4JJavaError as error:
            raise LandingError(
                f"{address} cannot be opened: {error.java_exception.getMessage()}; Spark needs the jars and the credentials "
                "of this file system"
            ) from None

    def entries(self, folder: str) -> list[Entry]:
        try:
            statuses = self._system.listStatus(self._path(folder))
        except Py4JJavaError as error:
            raise LandingError(
                f"folder {folder} cannot be listed: {error.java_exception.getMessage()}"
            ) from None
        return sorted(
            Entry(
                status.getPath().getName(),
                status.isDirectory(),
                status.getLen(),
                str(status.getModificationTime()),
                status.getModificationTime() / 1000,
            )
            for status in statuses
        )

    def is_folder(self, path: str) -> bool:
        address = self._path(path)
        try:
            return self._system.exists(address) and self._system.getFileStatus(address).isDirectory()
        except Py4JJavaError as error:
            raise LandingError(
                f"folder {path} cannot be listed: {error.java_exception.getMessage()}"
            ) from None

    def real(self, path: str) -> str:
        return path


def open_remote(spark: SparkSession, address: str) -> JavaObject:
    """Hadoop's stream of a file's bytes. Raises Py4JJavaError."""
    path = spark._jvm.org.apache.hadoop.fs.Path(address)
    return path.getFileSystem(spark._jsc.hadoopConfiguration()).open(path)


def matching(system: FileSystem, root: str, pattern: str) -> dict[str, Entry]:
    """The files below `root` that match, by path; each real file once.

    Raises LandingError when a folder that the pattern spells out does not exist, when one cannot be listed, and for the
    folder of a Delta or Hudi table, whose files alone are not its rows.
    """
    parts = [part for part in PurePosixPath(pattern).parts if part != "."]
    spelled = 0
    while spelled < len(parts) - 1 and not _GLOB.search(parts[spelled]):
        spelled += 1
    start = _joined(root, *parts[:spelled])
    if not system.is_folder(start):
        raise LandingError(f"folder {start} does not exist; files that match {pattern} were expected in it")
    above = start
    while (above := above.rpartition("/")[0]) and not above.endswith((":/", ":")):
        logs = [log for log in _TABLE_LOGS if system.is_folder(f"{above}/{log}")]
        _refuse_table(system, above, logs)
    # A pattern that spells out no more than the folder stands for all files in it.
    found = list(_Walk(system).below(start, parts[spelled:] or ["**"], (system.real(start),)))
    # The way without links is the file's own: it wins over links to it.
    found.sort(key=lambda file: (file[0] != file[1], file[0]))
    by_real: dict[str, tuple[str, Entry]] = {}
    for path, real, entry in found:
        by_real.setdefault(real, (path, entry))
    return dict(by_real.values())


def fixed_root(pattern: str) -> str:
    """The folders with which an absolute pattern begins, up to its first glob or its last name."""
    scheme, separator, path = pattern.rpartition("://")
    parts = path.split("/")
    spelled = 1
    while spelled < len(parts) - 1 and not _GLOB.search(parts[spelled]):
        spelled += 1
    return scheme + separator + ("/".join(parts[:spelled]) or "/")


class _Walk:
    """Goes through folders; a folder met again on its own way, through a link, is not entered."""

    def __init__(self, system: FileSystem) -> None:
        self._system = system
        self._listed: dict[str, list[Entry]] = {}

    def below(self, folder: str, parts: list[str], way: tuple[str, ...]) -> Iterator[tuple[str, str, Entry]]:
        """(path, real path, entry) of the files in `folder` that match the pattern's remaining `parts`."""
        part, *rest = parts
        entries = self._entries(folder)
        if part == "**":
            if rest:
                yield from self.below(folder, rest, way)
            for entry in entries:
                path = _joined(folder, entry.name)
                if not entry.is_folder:
                    if not rest:
                        yield path, self._system.real(path), entry
                elif (real := self._system.real(path)) not in way:
                    yield from self.below(path, parts, (*way, real))
            return
        for entry in entries:
            if not any(fnmatch.fnmatchcase(entry.name, form) for form in _alternatives(part)):
                continue
            path = _joined(folder, entry.name)
            real = self._system.real(path)
            if not entry.is_folder:
                if not rest:
                    yield path, real, entry
            elif real not in way and (rest or part != "*"):
                yield from self.below(path, rest or ["**"], (*way, real))

    def _entries(self, folder: str) -> list[Entry]:
        """What a folder holds and is not skipped."""
        if folder not in self._listed:
            entries = self._system.entries(folder)
            _refuse_table(self._system, folder, [entry.name for entry in entries if entry.is_folder])
            self._listed[folder] = [entry for entry in entries if not entry.name.startswith(("_", "."))]
        return self._listed[folder]


def _refuse_table(system: FileSystem, folder: str, names: list[str]) -> None:
    """Raises LandingError when one of the folders `names` in `folder` is the log of a table."""
    for name, (kind, entry_of_log, remedy) in _TABLE_LOGS.items():
        if name in names and any(
            re.fullmatch(entry_of_log, entry.name) for entry in system.entries(_joined(folder, name))
        ):
            raise LandingError(
                f"{folder} is the folder of a {kind} table: read as loose files, deleted and replaced rows would "
                f"come back; {remedy}"
            )


def _alternatives(part: str) -> list[str]:
    """The pattern of one name without `{a,b}`."""
    braces = re.search(r"\{([^{}]*,[^{}]*)\}", part)
    if not braces:
        return [part]
    options = [part[: braces.start()] + option + part[braces.end() :] for option in braces[1].split(",")]
    return [form for option in options for form in _alternatives(option)]


def _joined(folder: str, *names: str) -> str:
    return "/".join((folder.rstrip("/"), *names)) if names else folder
