"""What is said of a source's first files, which no earlier ones can be compared with: losses that a healthy log may have
and that a mistake in the mapping looks like.

Words only. What no healthy log has is judged in `expectations.losses_of_files`.
"""

from __future__ import annotations

from collections.abc import Sequence

from expectations.figures import FileLines
from expectations.losses import FEW_LINES, LEAST_LINES, share_words

MANY_NULLS, MANY_EXCLUDED, MANY_DUPLICATES = 0.95, 0.9, 0.3
"""Shares from which a loss is worth a word."""


def null_share(files: Sequence[FileLines], column: str) -> float:
    """Share of all events of these files without a value; 0 where fewer than FEW_LINES say."""
    told = [file for file in files if column in file.nulls]
    events = sum(file.accepted for file in told)
    return sum(file.nulls[column] for file in told) / events if events >= FEW_LINES else 0.0


def excluded_share(files: Sequence[FileLines]) -> float:
    """Share of all lines of these files that `where` excludes; 0 for fewer than LEAST_LINES."""
    return _share(files, [file.excluded for file in files])


def first_cautions(files: Sequence[FileLines], columns: Sequence[str]) -> tuple[str, ...]:
    """A sentence for every large loss of files without a past. `columns` are those that the source maps and that may be
    null."""
    readable = [file for file in files if file.readable]
    lines = sum(file.lines for file in readable)
    found = []
    excluded = excluded_share(readable)
    if excluded >= MANY_EXCLUDED:
        found.append(
            f"events.where excludes {share_words(excluded)} of {lines:,} lines: is it what it should be, and are the columns "
            "that it names as it expects?"
        )
    for column in columns:
        share = null_share(readable, column)
        if share >= MANY_NULLS:
            found.append(
                f"{share_words(share)} of the events have no {column}: compare what events.{column} names with the files' "
                "columns, and its values with a number or text"
            )
    duplicates = _share(readable, [file.duplicates for file in readable])
    if duplicates >= MANY_DUPLICATES:
        found.append(
            f"{share_words(duplicates)} of {lines:,} lines repeat an event of these files: were they delivered twice, or is "
            "events.event_id no event's own?"
        )
    return tuple(found)


def _share(files: Sequence[FileLines], counts: Sequence[int]) -> float:
    lines = sum(file.lines for file in files)
    return sum(counts) / lines if lines >= LEAST_LINES else 0.0
