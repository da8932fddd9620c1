"""CSV and TSV files, whose first record names the columns.

Files without a quote are cut at the delimiter in parallel blocks. A file with quotes is read in one piece, because
only all lines before a line break say whether it is inside quotes.
"""

from __future__ import annotations

import re
from functools import partial, reduce
from itertools import islice

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.config import DELIMITED, FileMapping
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.records import Dialect, delimited_records
from spark_jobs.landing.text_lines import files_with, numbered_lines, text_problem
from spark_jobs.landing.unpacking import HEAD_BYTES, DamagedFile, Head
from spark_jobs.landing.whole_files import FIELDS, heads_of, whole_files

_LIKELY_DELIMITERS = {
    ",": "a comma",
    ";": "a semicolon",
    "\t": "a tab",
    "|": "a bar",
    "^": "a caret",
    "~": "a tilde",
    "\x01": "the character 1, as Hive writes it,",
    ":": "a colon",
}


def dialect_of(mapping: FileMapping) -> Dialect:
    """How a mapping's files are cut into fields."""
    delimiter, quote = DELIMITED[mapping.format]
    quote = quote if mapping.quote is None else mapping.quote
    return Dialect(mapping.delimiter or delimiter, quote or None, mapping.escape)


def delimited_groups(
    spark: SparkSession, files: list[LandedFile], dialect: Dialect, unreadable: dict[str, str]
) -> list[Group]:
    """One group per header. Files that cannot be read are added to `unreadable`, by file_id with the reason;
    an empty file is in no group."""
    heads = heads_of(spark, files, unreadable)
    by_header: dict[tuple[str, ...], list[LandedFile]] = {}
    for file in files:
        head = heads.get(file.file_id)
        if head is None or not head.text:
            continue
        try:
            by_header.setdefault(header_names(head, dialect), []).append(file)
        except DamagedFile as reason:
            unreadable[file.file_id] = str(reason)
    readable = [file for members in by_header.values() for file in members]
    whole = {file.file_id for file in readable if not heads[file.file_id].is_plain}
    marks = tuple(mark for mark in (dialect.quote, dialect.escape) if mark)
    if marks:
        whole |= files_with(spark, [file for file in readable if file.file_id not in whole], marks)
    groups = []
    for names, members in by_header.items():
        frames, counts = [], {}
        plain = [file for file in members if file.file_id not in whole]
        if plain:
            lines, counts = numbered_lines(spark, plain)
            frames.append(_cut(lines, dialect))
        in_one_piece = [file for file in members if file.file_id in whole]
        if in_one_piece:
            records, whole_counts, _ = whole_files(spark, in_one_piece, dialect, unreadable)
            frames.append(records)
            counts |= whole_counts
        members = [file for file in members if file.file_id in counts]
        if members:
            lines = reduce(DataFrame.unionByName, frames).where(F.col(LINE_NUMBER) > 1)
            counts = {file_id: max(count - 1, 0) for file_id, count in counts.items()}
            groups.append(Group(members, names, counts, opened=partial(_opened, lines, names)))
    return groups


def header_names(head: Head, dialect: Dialect) -> tuple[str, ...]:
    """Column names of a file's first record; an empty or repeated name becomes its position, `_3`.

    Raises DamagedFile when it is blank or no header, or when another delimiter is likely.
    """
    lines = head.text.split(head.line_end)
    if len(lines) == 1 and len(head.text) >= HEAD_BYTES:
        raise DamagedFile("the first line, which should name the columns, is longer than 1 MiB")
    if not lines[0].strip():
        raise DamagedFile("the first line, which should name the columns, is blank")
    if re.fullmatch(rb"(?i)sep=.\r?", lines[0]):
        raise DamagedFile(
            f"the first line is {lines[0].decode(errors='replace').strip()}, as Excel writes it, and names no columns; remove "
            "it, and give the mapping this delimiter"
        )
    # The head may end within a line; the first record is never that one.
    complete = (line.rstrip(b"\r") for line in (lines if len(head.text) < HEAD_BYTES else lines[:-1]))
    record = next(delimited_records(islice(complete, 10_000), dialect))
    first = record.raw.decode("utf-8", errors="replace")
    if record.fields is None or len(record.fields) == 1:
        _refuse_other_delimiter(first, dialect)
    if record.fields is None:
        raise DamagedFile(
            f"the first record, which should name the columns, is not readable: {record.problem}"
        )
    cells = [cell.decode("utf-8", errors="replace") for cell in record.fields]
    if any(character < " " and character not in "\t\n" for cell in cells for character in cell):
        raise DamagedFile(
            "the first line, which should name the columns, has control characters (NUL or others); land the file as "
            "plain text"
        )
    names: dict[str, None] = {}
    for position, cell in enumerate(cells, start=1):
        name = cell.strip()
        names[name if name and name not in names else f"_{position}"] = None
    return tuple(names)


def _refuse_other_delimiter(first: str, dialect: Dialect) -> None:
    """Raises DamagedFile when a first line that is no header by the mapping's delimiter is one by another."""
    for other, called in _LIKELY_DELIMITERS.items():
        if other != dialect.delimiter and len([part for part in first.split(other) if part.strip()]) > 1:
            shown = {"\t": "\\t", "\x01": "\\u0001"}.get(other, other)
            raise DamagedFile(
                f"the first line is one column by the mapping's delimiter, and {called} seems to be the delimiter: "
                f'give the mapping delimiter = "{shown}"'
            )


def _cut(lines: DataFrame, dialect: Dialect) -> DataFrame:
    """Lines without quotes as records with fields."""
    return lines.select(
        *lines.columns,
        F.lit(None).cast("string").alias(PROBLEM),
        F.split(RAW, rf"\Q{dialect.delimiter}\E", -1).alias(FIELDS),
    )


def _opened(lines: DataFrame, names: tuple[str, ...], paths: Paths) -> DataFrame:
    problem = F.coalesce(
        PROBLEM,
        text_problem(),
        F.when(F.size(FIELDS) != len(names), "wrong number of fields"),
    )
    columns = {
        name: F.nullif(F.get(FIELDS, F.lit(names.index(column))), F.lit(""))
        for name in sorted({parts[0] for parts in paths})
        if (column := spelled(name, names)) is not None
    }
    meta = [FILE_ID, LINE_NUMBER, RAW, problem.alias(PROBLEM)]
    return lines.select(*meta, *(value.alias(name) for name, value in columns.items()))
