"""Which ingested files must be read again or leave, and why: a pure rule over the log of ingested files.

The landing folder is the truth about a file until a cycle has passed it, and the lake afterwards: a file
that leaves the folder later keeps its events. A file's name stands for one content at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from spark_jobs.landing.files import LandedFile

UNREADABLE = "could not be read"
MAPPING = "read by another mapping"
LOST = "fewer or more rows than it gave"
WITHDRAWN = "withdrawn"
REPLACED = "landed again under its name with other content"
GONE = "left the landing folder before a cycle passed it"
SHADOWED = "holds repeats of what left"


def split_digest(digest: str) -> tuple[str, str]:
    """The two halves of a mapping's digest: of the mapping itself, and of the source's bounds and actions. An
    earlier release wrote one half."""
    mapping, _, rules = digest.partition(".")
    return mapping, rules


def admitted(files: list[LandedFile], kept_out: Collection[str]) -> list[LandedFile]:
    """The files that are not withdrawn, by name or content."""
    return [file for file in files if file.name not in kept_out and file.file_id not in kept_out]


def outdated(
    files: list[LandedFile],
    ingested: Mapping[str, Any],
    digest: str,
    kept_out: Collection[str],
    passed: int | None,
    touched: Collection[str] = (),
    lost: Collection[str] = (),
) -> dict[str, str]:
    """The reason by file_id for every ingested file whose rows may not stay as they are.

    Args:
        files: the landed files that may be ingested.
        ingested: rows of `ingested_files` by file_id.
        digest: today's mapping digest.
        kept_out: names and file_ids of withdrawn files.
        passed: newest version of `ingested_files` that a cycle has passed.
        touched: file_ids of files of which changed bounds or actions change a line.
        lost: file_ids of files whose stored rows are not as many as they gave.
    """
    landed, names = {file.file_id for file in files}, {file.name for file in files}
    mapping, _ = split_digest(digest)
    found: dict[str, str] = {}
    for file_id, row in ingested.items():
        if file_id in kept_out or row["file_path"] in kept_out:
            found[file_id] = WITHDRAWN
        elif not row["mapping_digest"]:
            found[file_id] = UNREADABLE
        elif file_id in landed:
            if split_digest(row["mapping_digest"])[0] != mapping or file_id in touched:
                found[file_id] = MAPPING
            elif file_id in lost:
                found[file_id] = LOST
        elif row["file_path"] in names:
            found[file_id] = REPLACED
        elif passed is None or (row["ingestion"] or 0) > passed:
            found[file_id] = GONE
    return found


def renamed(files: list[LandedFile], ingested: Mapping[str, Any]) -> dict[str, str]:
    """Today's name by file_id, of ingested files that are landed under another name only."""
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(file.file_id, []).append(file.name)
    return {
        file_id: names[file_id][0]
        for file_id, row in ingested.items()
        if file_id in names and row["file_path"] not in names[file_id]
    }
