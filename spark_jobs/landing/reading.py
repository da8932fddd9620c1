"""Landed files as numbered lines with mapped columns, for every format.

From `LandedFile`s, their mapping (`spark_jobs.config.FileMapping`) and SQL expressions over their columns
to one row per line, with the expressions' values or the reason why the line cannot be read. What the
expressions mean, events or items, is not known here.

Only the columns that a mapping names are parsed. The type of a Parquet column may differ from file to
file, so rows come in parts, one per schema. A folder named `key=value` gives its files a column, unless they have one
of that name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, NullType, NumericType, StringType

from spark_jobs.config import FileMapping
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.lake.session import setting
from spark_jobs.landing.avro import avro_groups
from spark_jobs.landing.delimited import delimited_groups, dialect_of
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
from spark_jobs.landing.json_lines import NOT_AN_OBJECT, json_groups
from spark_jobs.landing.kinds import KIND_LETTERS, NO_COLUMNS, Measured, kind_letters, measured_columns
from spark_jobs.landing.layouts import FILE_ID, META, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.orc import orc_groups
from spark_jobs.landing.parquet import parquet_groups
from spark_jobs.landing.table_rows import table_groups

EXCLUDED = "excluded by the mapping's where"
WHERE = "__where"
"""Name of the mapping's `where` among its expressions."""

NEEDED = frozenset(("user", "item", "time", "event_id", "action", "tag", "entity", WHERE))
"""Expressions without which a line is nothing."""

TYPED = {None: table_groups, "parquet": parquet_groups, "orc": orc_groups, "avro": avro_groups}
"""What opens lines whose columns have types, by format; a table has none."""

Named = dict[str, list[tuple[str, ...]]]
"""The columns that each expression names, as dotted parts."""
_LISTED_COLUMNS, _LISTED_CHARACTERS = 50, 60
"""Names in a message: at most this many, each cut to this length."""


@dataclass(frozen=True)
class Mapped:
    """Files after their mapping."""

    parts: list[DataFrame]
    """Frames of the META columns, KIND_LETTERS, FAILED and one column per expression, one frame per schema; empty
    without lines."""
    line_counts: dict[str, int]
    """Lines by file_id: 0 for an empty file, 1 for an unreadable one."""
    unreadable: dict[str, str]
    """The reason by file_id, for files that cannot be read at all."""
    columns: tuple[str, ...] = ()
    """Columns of the files."""
    absent: tuple[str, ...] = ()
    """Columns that the mapping names and no file has, sorted; they are read as null."""
    measured: Measured = NO_COLUMNS
    """Columns that the parts' KIND_LETTERS are of."""

    def through(self, transform: Callable[[DataFrame], DataFrame]) -> DataFrame:
        """All lines after `transform`, which must give every part the same types. Needs at least one part."""
        return reduce(DataFrame.unionByName, [transform(part) for part in self.parts])

    def empty(self, files: Iterable[LandedFile]) -> tuple[str, ...]:
        """Names of the files without a line, sorted."""
        return tuple(sorted({file.name for file in files if not self.line_counts[file.file_id]}))


def read_mapped(
    spark: SparkSession,
    files: list[LandedFile],
    mapping: FileMapping,
    expressions: dict[str, str],
    label: str,
    may_be_absent: frozenset[str] = frozenset(),
) -> Mapped:
    """Reads `files`, which have `mapping`'s format, each content once, and evaluates `expressions` on every line.

    `label` names the mapping in messages (`events`). Expressions in `may_be_absent` may name columns that no
    file has. Raises MappingError when another expression does, or when one is not SQL.
    """
    files = list({file.file_id: file for file in reversed(files)}.values())[::-1]
    wanted = dict(expressions) | ({WHERE: mapping.where} if mapping.where else {})
    labels = {name: f"{label}.{'where' if name == WHERE else name}" for name in wanted}
    unreadable = {file.file_id: file.unreadable for file in files if file.unreadable}
    readable = [file for file in files if not file.unreadable]
    if mapping.format in TYPED:
        # Which columns are read depends on the names alone; they are resolved again below, file by file.
        names = {parts for name, sql in wanted.items() for parts in _names(spark, sql, labels[name])}
        groups = TYPED[mapping.format](spark, readable, names, unreadable)
    elif mapping.format == "jsonl":
        groups = json_groups(spark, readable, unreadable)
    else:
        groups = delimited_groups(spark, readable, dialect_of(mapping), unreadable)
    counts = {file.file_id: int(file.file_id in unreadable) for file in files}
    for group in groups:
        counts.update(group.counts)
    own = tuple(dict.fromkeys(name for group in groups for name in group.columns))
    columns = tuple(dict.fromkeys((*own, *(key for group in groups for key in _folder_keys(group)))))
    if not any(group.counts[file.file_id] for group in groups for file in group.files):
        return Mapped([], counts, unreadable, columns)
    texts, wanted = wanted, {name: _whole_name(sql, columns) for name, sql in wanted.items()}
    named = {name: named_columns(spark, sql, labels[name]) for name, sql in wanted.items()}
    absent = _absent(groups, named, columns)
    _refuse_absent(absent, groups, named, labels, texts, columns, may_be_absent)
    file_names = {file.file_id: file.name for file in files}
    with _exact_names(spark, named):
        lacking = _lacking(spark, groups, wanted, named, labels, texts)
        unreadable |= lacking
        counts.update(dict.fromkeys(lacking, 1))
        groups = [kept for group in groups if (kept := _without(group, lacking)).files]
        measured = measured_columns(named)
        parts = [
            _mapped_group(spark, group, mapping, wanted, named, labels, file_names, measured)
            for group in groups
        ]
    return Mapped(parts, counts, unreadable, columns, tuple(sorted(absent)), measured)


def _mapped_group(
    spark: SparkSession,
    group: Group,
    mapping: FileMapping,
    wanted: dict[str, str],
    named: Named,
    labels: dict[str, str],
    file_names: dict[str, str],
    measured: Measured,
) -> DataFrame:
    """The group's lines with every expression evaluated. `labels` are the expressions' names in messages,
    `file_names` the files' by file_id."""
    lines = _lines(spark, group, named)
    refuse_failing(lines, wanted, labels, file_names)
    paths = [path for paths in named.values() for path in paths]
    letters = kind_letters(lines, measured, paths, group.keys_among is not None, told=(NOT_AN_OBJECT,))
    lines = lines.withColumn(KIND_LETTERS, letters)
    rows = evaluate(lines, wanted, [*META, KIND_LETTERS], labels)
    if not mapping.where:
        return rows
    kind = rows.schema[WHERE].dataType
    if not isinstance(kind, BooleanType | NumericType | StringType | NullType):
        raise MappingError(
            f"{labels[WHERE]} = {wanted[WHERE]!r} is no condition: its value is {kind.simpleString()}"
        )
    kept = F.coalesce(F.expr(f"try_cast({WHERE} AS boolean)"), F.lit(False))
    failed = F.when(F.array_contains(FAILED, WHERE), f"where {FAILS}")
    excluded = F.when(F.col(PROBLEM).isNull() & ~kept, F.coalesce(failed, F.lit(EXCLUDED)))
    return rows.withColumn(PROBLEM, F.coalesce(PROBLEM, excluded)).drop(WHERE)


def _lines(spark: SparkSession, group: Group, named: Named) -> DataFrame:
    """The group's lines with every column that an expression names, null where neither file nor folder has it."""
    paths = {parts for columns in named.values() for parts in columns}
    names = sorted({parts[0] for parts in paths})
    lines = _with_folders(spark, group.opened(paths), group, names)
    missing = [F.lit(None).cast("string").alias(name) for name in names if name not in lines.columns]
    return lines.select(*(quoted(name) for name in lines.columns), *missing)


# --- folders --------------------------------------------------------------------------------------


def _folder_keys(group: Group) -> tuple[str, ...]:
    """Keys of `key=value` folders above the group's files that are no column of these. Of JSON only a sample of
    the keys is known, so all are given."""
    keys = dict.fromkeys(key for file in group.files for key in file.partition)
    return tuple(key for key in keys if group.keys_among or spelled(key, group.columns) is None)


def _with_folders(spark: SparkSession, lines: DataFrame, group: Group, names: list[str]) -> DataFrame:
    """The lines with the columns of `names` that folders give."""
    keys = _folder_keys(group)
    key_of = {name: key for name in names if (key := spelled(name, keys)) is not None}
    if not group.keys_among:
        key_of = {name: key for name, key in key_of.items() if spelled(name, group.columns) is None}
    if not key_of:
        return lines
    places = {name: f"__folder_{place}" for place, name in enumerate(key_of)}
    rows = [(file.file_id, *(file.partition.get(key) for key in key_of.values())) for file in group.files]
    schema = ", ".join([f"{FILE_ID} string", *(f"{place} string" for place in places.values())])
    joined = lines.join(F.broadcast(local_rows(spark, rows, schema)), on=FILE_ID, how="left")
    # Of JSON: where a line has the key, its own value counts.
    own = {name: F.col(quoted(name)) for name in key_of if name in lines.columns}
    values = [
        (F.coalesce(own[name].cast("string"), place) if name in own else F.col(place)).alias(name)
        for name, place in places.items()
    ]
    kept = [quoted(name) for name in lines.columns if name not in own]
    return joined.select(*kept, *values)


# --- names ----------------------------------------------------------------------------------------


def _exact_names(spark: SparkSession, named: Named) -> AbstractContextManager[None]:
    """Where a mapping names columns that differ in case alone, expressions analysed inside tell them apart."""
    names = {parts[0] for columns in named.values() for parts in columns}
    if len({name.lower() for name in names}) == len(names):
        return nullcontext()
    return setting(spark, "spark.sql.caseSensitive", "true")


def _names(spark: SparkSession, sql: str, label: str) -> list[tuple[str, ...]]:
    """The columns of files not yet opened that an expression may mean: as a whole it may be a column's name."""
    whole = [(sql,)]
    try:
        return whole + named_columns(spark, sql, label)
    except MappingError:
        return whole


def _whole_name(sql: str, columns: tuple[str, ...]) -> str:
    """An expression that equals a column's name means that column, whatever characters the name has."""
    return quoted(sql) if sql in columns else sql


def _absent(groups: list[Group], named: Named, columns: tuple[str, ...]) -> set[str]:
    """Columns that expressions name and no file has."""
    names = {parts[0] for paths in named.values() for parts in paths}
    absent = {name for name in names if spelled(name, columns) is None}
    for group in groups:
        if absent and group.keys_among:
            absent -= group.keys_among(sorted(absent))
    return absent


def _lacking(
    spark: SparkSession,
    groups: list[Group],
    wanted: dict[str, str],
    named: Named,
    labels: dict[str, str],
    texts: dict[str, str],
) -> dict[str, str]:
    """Why a file cannot be read, by file_id, for files without any of the columns of an expression that every
    line needs, which other files have: a column was renamed or has vanished."""
    needed = {
        name: sorted({parts[0] for parts in paths})
        for name, paths in named.items()
        if name in NEEDED and paths
    }
    found: dict[str, str] = {}
    for group in groups:
        lost: dict[str, list[str]] = {}
        for file in group.files:
            own = group.first_keys.get(file.file_id, group.columns)
            folders = tuple(file.partition)
            if not own:  # no line of its beginning can be read; each is refused with its reason
                continue
            lost[file.file_id] = [
                name
                for name, columns in needed.items()
                if not any(_means(column, group) in own or spelled(column, folders) for column in columns)
            ]
        if group.keys_among and any(lost.values()):
            lost = _without_values(spark, group, lost, wanted, named, labels)
        for file_id, names in lost.items():
            if names:
                own = sorted(group.first_keys.get(file_id, ())) or group.columns
                found[file_id] = (
                    f"{labels[names[0]]} = {texts[names[0]]!r} names column {', '.join(needed[names[0]])}, which this file "
                    f"does not have; its columns are: {_listed(own)}; name what it is called by now too "
                    "(coalesce), or land the file again"
                )
    return found


def _means(column: str, group: Group) -> str:
    """The group's column that a name means."""
    return spelled(column, group.columns) or column


def _without_values(
    spark: SparkSession,
    group: Group,
    lost: dict[str, list[str]],
    wanted: dict[str, str],
    named: Named,
    labels: dict[str, str],
) -> dict[str, list[str]]:
    """Of files whose first lines of JSON lack the columns of expressions, the expressions that have no value on any
    line: later lines may have the columns, and an expression may provide for those that do not."""
    names = sorted({name for of_file in lost.values() for name in of_file})
    suspects = [file_id for file_id, of_file in lost.items() if of_file]
    lines = _lines(spark, group, named).where(F.col(FILE_ID).isin(*suspects))
    rows = evaluate(lines, {name: wanted[name] for name in names}, [FILE_ID, RAW], labels)
    keys, measures = F.json_object_keys(RAW), []
    for name in names:
        is_key = [F.array_contains(keys, _means(parts[0], group)) for parts in named[name]]
        value = f"try_cast({name} AS boolean)" if name == WHERE else f"{quoted(name)} IS NOT NULL"
        used = reduce(lambda one, other: one | other, [F.coalesce(has, F.lit(False)) for has in is_key])
        measures.append(F.max(used | F.coalesce(F.expr(value), F.lit(False))).alias(name))
    used = {row[FILE_ID]: row for row in rows.groupBy(FILE_ID).agg(*measures).collect()}
    return {
        file_id: [name for name in lost[file_id] if file_id in used and not used[file_id][name]]
        for file_id in suspects
    }


def _without(group: Group, lacking: Collection[str]) -> Group:
    """The group without some of its files."""
    kept = [file for file in group.files if file.file_id not in lacking]
    if len(kept) == len(group.files):
        return group
    counts = {file.file_id: group.counts[file.file_id] for file in kept}
    file_ids = sorted(counts)

    def opened(paths: Paths) -> DataFrame:
        return group.opened(paths).where(F.col(FILE_ID).isin(*file_ids))

    return replace(group, files=kept, counts=counts, opened=opened)


def _refuse_absent(
    absent: set[str],
    groups: list[Group],
    named: Named,
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
                f"{labels[name]} = {texts[name]!r} names column {', '.join(lost)}, which the files do not have "
                f"({_shown_files(groups)}); their columns are: {_listed(columns)}; correct the expression, or land files "
                "with that column"
            )


def _shown_files(groups: list[Group]) -> str:
    names = sorted(file.name for group in groups for file in group.files)
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


def _listed(columns: Sequence[str]) -> str:
    shown = [name if len(name) <= _LISTED_CHARACTERS else name[:_LISTED_CHARACTERS] + "…" for name in columns]
    more = len(shown) - _LISTED_COLUMNS
    return ", ".join(shown[:_LISTED_COLUMNS]) + (f" and {more} more" if more > 0 else "")
