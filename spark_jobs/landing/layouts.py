"""What every layout of landed files is opened into: numbered lines with the files' own columns.

`json_lines`, `delimited` (CSV, TSV) and `parquet` each open files of their format as `Group`s.

- A line ends with a line feed; a carriage return before it is dropped. Its number is 1-based and
  physical: a CSV file's first record is line 2 and its header is not counted as a line. In Parquet it is
  the row's index plus one.
- JSON and CSV values are text. A JSON object or array is given as its JSON text unless a mapping names a
  field of it (`context.page`).
- CSV is RFC 4180 without line breaks inside quotes; TSV has no quoting.
- Parquet times in nanoseconds are rounded down to microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import DataFrame

FILE_ID, LINE_NUMBER, RAW, PROBLEM = "__file_id", "__line_number", "__raw", "__problem"
"""Columns added to the files' own. `__raw` is the line as it landed; `__problem` is why it cannot be read."""
META = [FILE_ID, LINE_NUMBER, RAW, PROBLEM]


@dataclass(frozen=True)
class Group:
    """Opened files that share a layout and a set of columns."""

    lines: DataFrame
    """The META columns and the files' columns; for JSON lines only `__file_id`, `__line_number`, `__raw`."""
    columns: tuple[str, ...]
    """The files' columns; for JSON lines the keys of a sample."""
    counts: dict[str, int] = field(default_factory=dict)
    """Lines by file_id."""
