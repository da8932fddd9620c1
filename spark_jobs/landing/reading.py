"""Landed files as numbered lines with mapped columns, for every format.

From `LandedFile`s, their mapping (`spark_jobs.config.FileMapping`) and SQL expressions over their columns
to one row per line, with the expressions' values or the reason why the line cannot be read. What the
expressions mean, events or items, is not known here.

Only the columns that a mapping names are parsed. The type of a Parquet column may differ from file to
file, so rows come in parts, one per schema.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.config import FileMapping
from spark_jobs.landing.delimited import delimited_groups
from spark_jobs.landing.expressions import (
    FAILED,
    FAILS,
    MappingError,
    evaluate,
    named_columns,
    quoted,
    refuse_failing,
)
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.json_lines import json_lines, parsed_json
from spark_jobs.landing.layouts import META, PROBLEM, RAW, Group
from spark_jobs.landing.parquet import parquet_groups

EXCLUDED = "excluded by the mapping's where"
WHERE = "__where"
"""Name of the mapping's `where` among its expressions."""

Paths = dict[str, list[tuple[str, ...]]]
"""The columns that each expression names, as dotted parts."""


@dataclass(frozen=True)
class Mapped:
    """Files after their mapping."""

    parts: list[DataFrame]
    """Frames of the META columns, FAILED and one column per expression, one frame per schema; empty without
    lines."""
    line_counts: dict[str, int]
    """Lines by file_id: 0 for an empty file, 1 for an unreadable one."""
    unreadable: dict[str, str]
    """The reason by file_id, for files that cannot be read at all."""
    columns: tuple[str, ...] = ()
    """Columns of the files."""
    absent: tuple[str, ...] = ()
    """Columns that the mapping names and no file has, sorted; they are read as null."""

    def through(self, transform: Callable[[DataFrame], DataFrame]) -> DataFrame:
        """All lines after `transform`, which must give every part the same types. Needs at least one part."""
        return reduce(DataFrame.unionByName, [transform(part) for part in self.parts])


def read_mapped(
    spark: SparkSession,
    files: list[LandedFile],
    mapping: FileMapping,
    expressions: dict[str, str],
    label: str,
    may_be_absent: frozenset[str] = frozenset(),
) -> Mapped:
    """Reads `files`, which have `mapping`'s format, and evaluates `expressions` on every line.

    `label` names the mapping in messages (`events`). Expressions in `may_be_absent` may name columns that no
    file has. Raises MappingError when another expression does, or when one is not SQL.
    """
    wanted = dict(expressions) | ({WHERE: mapping.where} if mapping.where else {})
    labels = {name: f"{label}.{'where' if name == WHERE else name}" for name in wanted}
    unreadable = {file.file_id: file.unreadable for file in files if file.unreadable}
    readable = [file for file in files if not file.unreadable and file.size_bytes]
    counts = {file.file_id: int(file.file_id in unreadable) for file in files}
    if mapping.format == "parquet":
        groups = parquet_groups(spark, readable, unreadable)
    elif mapping.format == "jsonl":
        groups = [json_lines(spark, readable)] if readable else []
    else:
        groups = delimited_groups(spark, readable, mapping.format, unreadable)
    counts.update(dict.fromkeys(unreadable, 1))
    for group in groups:
        counts.update(group.counts)
    columns = tuple(dict.fromkeys(name for group in groups for name in group.columns))
    if not groups or not any(counts[file.file_id] for file in readable if file.file_id not in unreadable):
        return Mapped([], counts, unreadable, columns)
    texts, wanted = wanted, {name: _whole_name(sql, columns) for name, sql in wanted.items()}
    named = {name: named_columns(spark, sql, labels[name]) for name, sql in wanted.items()}
    absent = _absent(groups, named, columns, mapping.format == "jsonl")
    _refuse_absent(absent, named, labels, texts, columns, may_be_absent)
    file_names = {file.file_id: file.name for file in files}
    parts = [_mapped_group(group, mapping, wanted, named, labels, file_names) for group in groups]
    return Mapped(parts, counts, unreadable, columns, tuple(sorted(absent)))


def _mapped_group(
    group: Group,
    mapping: FileMapping,
    wanted: dict[str, str],
    named: Paths,
    labels: dict[str, str],
    file_names: dict[str, str],
) -> DataFrame:
    """The group's lines with every expression evaluated. `labels` are the expressions' names in messages,
    `file_names` the files' by file_id."""
    lines = group.lines
    if mapping.format == "jsonl":
        paths = {parts for columns in named.values() for parts in columns}
        lines = parsed_json(lines, paths, group.columns)
    there = {name.lower() for name in lines.columns}
    for name in sorted({parts[0] for columns in named.values() for parts in columns}):
        if name.lower() not in there:
            lines = lines.withColumn(name, F.lit(None).cast("string"))
            there.add(name.lower())
    refuse_failing(lines, wanted, labels, file_names)
    rows = evaluate(lines, wanted, META, labels)
    if not mapping.where:
        return rows
    kept = F.coalesce(F.expr(f"try_cast({WHERE} AS boolean)"), F.lit(False))
    failed = F.when(F.array_contains(FAILED, WHERE), f"where {FAILS}")
    excluded = F.when(F.col(PROBLEM).isNull() & ~kept, F.coalesce(failed, F.lit(EXCLUDED)))
    return rows.withColumn(PROBLEM, F.coalesce(PROBLEM, excluded)).drop(WHERE)


# --- names ----------------------------------------------------------------------------------------


def _whole_name(sql: str, columns: tuple[str, ...]) -> str:
    """An expression that equals a column's name means that column, whatever characters the name has."""
    return quoted(sql) if sql in columns else sql


def _absent(groups: list[Group], named: Paths, columns: tuple[str, ...], is_json: bool) -> set[str]:
    """Columns that expressions name and no file has."""
    there = {name.lower() for name in columns}
    absent = {parts[0] for paths in named.values() for parts in paths if parts[0].lower() not in there}
    if not (is_json and absent):
        return absent
    # The keys are those of a sample: look at every line before calling a column absent.
    has_key = (
        groups[0]
        .lines.select(
            *[F.max(F.array_contains(F.json_object_keys(RAW), name)).alias(name) for name in sorted(absent)]
        )
        .first()
    )
    return {name for name in absent if not has_key[name]}


def _refuse_absent(
    absent: set[str],
    named: Paths,
    labels: dict[str, str],
    texts: dict[str, str],
    columns: tuple[str, ...],
    may_be_absent: frozenset[str],
) -> None:
    """Raises MappingError for the first expression that needs an absent column and may not lack it."""
    for name, paths in named.items():
        lost = sorted({parts[0] for parts in paths} & absent)
        if lost and name not in may_be_absent and columns:
            raise MappingError(
                f"{labels[name]} = {texts[name]!r} names column {', '.join(lost)}, which the files do not have; "
                f"their columns are: {', '.join(columns)}"
            )
