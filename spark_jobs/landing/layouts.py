"""What every layout of landed files is opened into: numbered lines with the files' own columns.

`json_lines`, `delimited` (CSV, TSV) and `parquet` each open files of their format as `Group`s.

- A line's number is 1-based and physical: a CSV file's first record is line 2 and its header is not counted as a
  line; a record over several lines has the number of its first. In a JSON array, or where JSON objects go over
  several lines, it is the value's place in the file; in Parquet, the row's index plus one.
- A line ends with a line feed, and a carriage return before it is dropped; in a file without line feeds, with a
  carriage return.
- JSON and CSV values are text. A JSON object or array is given as its JSON text unless a mapping names a
  field of it (`context.page`).
- CSV is RFC 4180 with the mapping's delimiter, quote and escape; TSV has no quoting unless the mapping gives it.
- A column of Parquet that no mapping names is not read, whatever its type. Parquet times in nanoseconds are rounded
  down to microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pyspark.sql import DataFrame

from spark_jobs.landing.files import LandedFile

FILE_ID, LINE_NUMBER, RAW, PROBLEM = "__file_id", "__line_number", "__raw", "__problem"
"""Columns added to the files' own. `__raw` is the line as it landed; `__problem` is why it cannot be read."""
META = [FILE_ID, LINE_NUMBER, RAW, PROBLEM]

Paths = set[tuple[str, ...]]
"""Names that a mapping uses, each as its dotted parts."""


@dataclass(frozen=True)
class Group:
    """Opened files that share a layout and a set of columns."""

    files: list[LandedFile]
    columns: tuple[str, ...]
    """The files' columns; for JSON lines the keys of a sample."""
    counts: dict[str, int]
    """Lines by file_id."""
    opened: Callable[[Paths], DataFrame] = field(repr=False)
    """The META columns and one column per top-level name of the paths, spelled as there, where the files have it."""
    keys_among: Callable[[list[str]], set[str]] | None = field(default=None, repr=False)
    """Which of these names are keys of any line, where `columns` is a sample only."""
    first_keys: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """Keys of the first lines by file_id, where lines of one group may have different ones."""


def spelled(name: str, columns: tuple[str, ...]) -> str | None:
    """The column that a mapping's name means: the one of exactly this name, else the only one that differs
    in case alone; None when there is none."""
    if name in columns:
        return name
    alike = [column for column in columns if column.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None
