"""CSV and TSV files, whose first line names the columns."""

from __future__ import annotations

import csv

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile, first_line
from spark_jobs.landing.layouts import LINE_NUMBER, META, PROBLEM, RAW, Group
from spark_jobs.landing.text_lines import escaped, numbered_lines, text_problem

_DELIMITERS = {"csv": ("','", "'\"'"), "tsv": ("'\\t'", "''")}
"""Separator and quote of a format, as SQL literals."""


def delimited_groups(
    spark: SparkSession, files: list[LandedFile], kind: str, unreadable: dict[str, str]
) -> list[Group]:
    """One group per header; `kind` is csv or tsv. A file whose first line is blank is added to `unreadable`,
    by file_id with the reason; an empty file is in no group."""
    by_header: dict[str, list[LandedFile]] = {}
    for file in files:
        header = first_line(spark, file)
        if header is not None and not header.strip():
            unreadable[file.file_id] = "the first line, which should name the columns, is blank"
        elif header is not None:
            by_header.setdefault(header, []).append(file)
    separator, quote = _DELIMITERS[kind]
    options = f"map('sep', {separator}, 'quote', {quote}, 'escape', {quote}, 'maxCharsPerColumn', '-1'"
    groups = []
    for header, members in by_header.items():
        names = _header_names(header, kind)
        lines, counts = numbered_lines(spark, members)
        schema = ", ".join(f"{quoted(name)} string" for name in names) + ", __corrupt string"
        strict = f"{options}, 'mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '__corrupt')"
        parsed = lines.where(F.col(LINE_NUMBER) > 1).withColumn(
            "__line", F.expr(f'from_csv({RAW}, "{escaped(schema)}", {strict})')
        )
        problem = F.when(text_problem().isNotNull(), text_problem()).when(
            F.col("__line.__corrupt").isNotNull(), "wrong number of fields"
        )
        fields = [F.col(f"__line.{quoted(name)}").alias(name) for name in names]
        rows = parsed.withColumn(PROBLEM, problem).select(*META, *fields)
        groups.append(Group(rows, names, {file_id: count - 1 for file_id, count in counts.items()}))
    return groups


def _header_names(header: str, kind: str) -> tuple[str, ...]:
    """Column names of a header line; an empty or repeated name becomes its position, `_3`."""
    style = {"delimiter": ","} if kind == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    names: list[str] = []
    for position, cell in enumerate(next(csv.reader([header], **style)), start=1):
        name = cell.strip()
        taken = {earlier.lower() for earlier in names}
        names.append(name if name and name.lower() not in taken else f"_{position}")
    return tuple(names)
