"""The layouts of landed files: numbered lines of text, JSON lines, CSV, TSV and Parquet.

In: `LandedFile`s of one layout. Out: `Group`s: one row per line with its file, number, raw text, the
reason why it cannot be read, and the file's columns. Knows nothing of mappings, events or items.

- A line ends with a line feed (a carriage return before it is dropped). Its number is 1-based and
  physical, so a CSV file's first record is line 2 and its header is not counted; in Parquet it is
  the row's index plus one; instants in nanoseconds come in microseconds.
- A text file is read in parallel blocks; a first pass counts the lines of each block, from which
  every line knows its number, so that it is the same however the file is cut.
- JSON and CSV values are text. An object or array comes as its JSON text unless a field of it is
  asked for (`context.page`).
- CSV is RFC 4180 without line breaks inside quotes; TSV has no quoting.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType

from spark_jobs.lake.local_rows import local_rows
from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile, first_line, metadata_key

FILE_ID, LINE_NUMBER, RAW, PROBLEM = "__file_id", "__line_number", "__raw", "__problem"
"""Columns beside the files' own. `__raw` is the line as it came; `__problem` why it is unreadable."""
META = [FILE_ID, LINE_NUMBER, RAW, PROBLEM]

_SAMPLED_LINES = 2000
_DELIMITERS = {"csv": ("','", "'\"'"), "tsv": ("'\\t'", "''")}
_JSON_OPTIONS = (
    "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '__corrupt', 'allowSingleQuotes', 'false', "
    "'allowNonNumericNumbers', 'false')"
)


@dataclass(frozen=True)
class Group:
    """Files of one layout and one set of columns, opened."""

    lines: DataFrame
    """The META columns and the files' columns; of JSON lines `__file_id`, `__line_number` and `__raw`."""
    columns: tuple[str, ...]
    """The files' columns; of JSON lines those of a sample."""
    counts: dict[str, int] = field(default_factory=dict)
    """Lines by file_id."""
    text: bool = True
    """Whether the columns are text."""


# --- numbered lines of text -----------------------------------------------------------------------


def _numbered_lines(spark: SparkSession, files: list[LandedFile]) -> tuple[DataFrame, dict[str, int]]:
    """(`__file_id`, `__line_number`, `__raw`) of text files, and the number of lines of each file."""
    by_key = {file.key: file.file_id for file in files}
    scan = (
        spark.read.option("lineSep", "\n")
        .option("recursiveFileLookup", "true")  # else folders like date=2026-03-01 would become columns
        .text([file.glob_safe_path for file in files])
        .select(
            F.col("value"),
            F.col("_metadata.file_path").alias("path"),
            F.col("_metadata.file_block_start").alias("block"),
            F.spark_partition_id().alias("task"),
            F.monotonically_increasing_id().alias("row"),
        )
    )
    blocks = scan.groupBy("path", "block", "task").agg(
        F.count(F.lit(1)).alias("n"), F.min("row").alias("first")
    )
    counts: dict[str, int] = {}
    starts = []
    for block in sorted(blocks.collect(), key=lambda row: (row["path"], row["block"])):
        file_id = by_key[metadata_key(block["path"])]
        before = counts.get(file_id, 0)
        starts.append((block["path"], block["block"], file_id, before + 1 - block["first"]))
        counts[file_id] = before + block["n"]
    if not starts:
        return scan.select(
            F.lit("").alias(FILE_ID), F.lit(0).alias(LINE_NUMBER), F.col("value").alias(RAW)
        ), counts
    offsets = local_rows(spark, starts, f"path string, block bigint, {FILE_ID} string, shift bigint")
    numbered = scan.join(F.broadcast(offsets), on=["path", "block"], how="inner").select(
        FILE_ID,
        (F.col("row") + F.col("shift")).alias(LINE_NUMBER),
        F.expr(r"trim(TRAILING '\r' FROM value)").alias(RAW),
    )
    return numbered, counts


def _text_problem() -> Column:
    return F.when(~F.expr(f"is_valid_utf8({RAW})"), "not valid UTF-8").when(F.trim(RAW) == "", "empty line")


# --- JSON lines -----------------------------------------------------------------------------------


def json_lines(spark: SparkSession, files: list[LandedFile]) -> Group:
    lines, counts = _numbered_lines(spark, files)
    sample = lines.limit(_SAMPLED_LINES).select(F.explode(F.json_object_keys(RAW)).alias("key"))
    keys = sorted(row["key"] for row in sample.distinct().collect()) if counts else []
    return Group(lines, tuple(keys), counts)


def parsed_json(
    lines: DataFrame, paths: set[tuple[str, ...]], keys: tuple[str, ...]
) -> tuple[DataFrame, set[str]]:
    """META and one column per top-level field that a mapping names; also which of them are text."""
    tree: dict[str, dict] = {}
    for parts in sorted(paths):
        node = tree
        for depth, part in enumerate(parts):
            node = node.setdefault(_spelled(part, keys) if depth == 0 else part, {})
    schema = ", ".join(f"{quoted(name)} {_json_type(children)}" for name, children in tree.items())
    schema = f"{schema}, __corrupt string" if schema else "__corrupt string"
    parsed = lines.withColumn("__line", F.expr(f'from_json({RAW}, "{_escaped(schema)}", {_JSON_OPTIONS})'))
    shaped = F.expr(f"trim({RAW}) LIKE '{{%}}'")
    # The parser stops after the first object; what may follow it shows only as braces inside the line.
    nested = F.expr(f"substring(trim({RAW}), 2, length(trim({RAW})) - 2) RLIKE '[{{}}]'")
    single = F.expr(f"try_parse_json(concat('[', {RAW}, ']')) IS NOT NULL") & F.expr(
        f"try_variant_get(try_parse_json(concat('[', {RAW}, ']')), '$[1]', 'variant') IS NULL"
    )
    valid = F.expr(f"try_parse_json({RAW}) IS NOT NULL")
    problem = (
        F.when(_text_problem().isNotNull(), _text_problem())
        .when(~shaped, F.when(valid, "not a JSON object").otherwise("not valid JSON"))
        .when(
            F.col("__line.__corrupt").isNotNull(),
            F.when(valid & single, "a nested field is not an object").otherwise("not valid JSON"),
        )
        .when(nested & ~single, "not valid JSON")
    )
    fields = [F.col(f"__line.{quoted(name)}").alias(name) for name in tree]
    text_columns = {name for name, children in tree.items() if not children}
    return parsed.withColumn(PROBLEM, problem).select(*META, *fields), text_columns


def _json_type(children: dict[str, dict]) -> str:
    if not children:
        return "string"
    return f"struct<{', '.join(f'{quoted(name)}: {_json_type(below)}' for name, below in children.items())}>"


# --- CSV and TSV ----------------------------------------------------------------------------------


def delimited_groups(
    spark: SparkSession, files: list[LandedFile], kind: str, unreadable: dict[str, str]
) -> list[Group]:
    """One group per header. Files whose first line is blank are added to `unreadable`; one that unpacks to
    nothing has no line and is in no group."""
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
        lines, counts = _numbered_lines(spark, members)
        schema = ", ".join(f"{quoted(name)} string" for name in names) + ", __corrupt string"
        strict = f"{options}, 'mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '__corrupt')"
        parsed = lines.where(F.col(LINE_NUMBER) > 1).withColumn(
            "__line", F.expr(f'from_csv({RAW}, "{_escaped(schema)}", {strict})')
        )
        problem = F.when(_text_problem().isNotNull(), _text_problem()).when(
            F.col("__line.__corrupt").isNotNull(), "wrong number of fields"
        )
        fields = [F.col(f"__line.{quoted(name)}").alias(name) for name in names]
        rows = parsed.withColumn(PROBLEM, problem).select(*META, *fields)
        groups.append(Group(rows, names, {file_id: count - 1 for file_id, count in counts.items()}))
    return groups


def _header_names(header: str, kind: str) -> tuple[str, ...]:
    """Column names of a header line; an empty or repeated one is called by its position, `_3`."""
    style = {"delimiter": ","} if kind == "csv" else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    names: list[str] = []
    for position, cell in enumerate(next(csv.reader([header], **style)), start=1):
        name = cell.strip()
        taken = {other.lower() for other in names}
        names.append(name if name and name.lower() not in taken else f"_{position}")
    return tuple(names)


# --- Parquet --------------------------------------------------------------------------------------


def parquet_groups(spark: SparkSession, files: list[LandedFile], unreadable: dict[str, str]) -> list[Group]:
    """One group per schema. Files whose footer or pages are damaged are added to `unreadable`."""
    by_schema: dict[tuple[str, tuple[str, ...]], list[LandedFile]] = {}
    for file in files:
        try:
            schema = spark.read.parquet(file.glob_safe_path).schema
            may_be = any(field.dataType == LongType() for field in schema)
            nanoseconds = _nanosecond_columns(spark, file) if may_be else ()
        except (PySparkException, Py4JJavaError) as error:
            unreadable[file.file_id] = f"not a readable Parquet file: {_cause(error)}"
            continue
        by_schema.setdefault((schema.json(), nanoseconds), []).append(file)
    groups = []
    for (_, nanoseconds), members in by_schema.items():
        group = _parquet_group(spark, members, nanoseconds)
        damaged = _damaged(spark, members, group.counts)
        if damaged:
            unreadable.update(damaged)
            members = [file for file in members if file.file_id not in damaged]
            if not members:
                continue
            group = _parquet_group(spark, members, nanoseconds)
        groups.append(group)
    return groups


def _nanosecond_columns(spark: SparkSession, file: LandedFile) -> tuple[str, ...]:
    """Instants in nanoseconds, which the session reads as plain numbers (`nanosAsLong`): only the file's
    own schema tells them apart. Columns of the first level alone."""
    parquet = spark._jvm.org.apache.parquet.hadoop
    path = spark._jvm.org.apache.hadoop.fs.Path(file.path)
    opened = parquet.util.HadoopInputFile.fromPath(path, spark._jsc.hadoopConfiguration())
    reader = parquet.ParquetFileReader.open(opened)
    try:
        fields = list(reader.getFooter().getFileMetaData().getSchema().getFields())
        kinds = {field.getName(): field.getLogicalTypeAnnotation() for field in fields}
        return tuple(sorted(name for name, kind in kinds.items() if kind and "NANOS" in kind.toString()))
    finally:
        reader.close()


def _parquet_scan(spark: SparkSession, files: list[LandedFile], skip_damage: bool) -> DataFrame:
    return (
        spark.read.option("recursiveFileLookup", "true")
        .option("ignoreCorruptFiles", str(skip_damage).lower())
        .parquet(*[file.glob_safe_path for file in files])
    )


def _parquet_group(spark: SparkSession, files: list[LandedFile], nanoseconds: tuple[str, ...]) -> Group:
    by_key = {file.key: file.file_id for file in files}
    scan = _parquet_scan(spark, files, skip_damage=False)
    names = tuple(scan.columns)
    # Without columns the row counts come from the footers alone.
    footers = (
        scan.groupBy(F.col("_metadata.file_path").alias("path")).agg(F.count(F.lit(1)).alias("n")).collect()
    )
    counts = {by_key[metadata_key(row["path"])]: row["n"] for row in footers}
    paths = [(row["path"], by_key[metadata_key(row["path"])]) for row in footers]
    known = local_rows(spark, paths, f"__path string, {FILE_ID} string")
    whole = {
        name: f"timestamp_micros(({quoted(name)} - pmod({quoted(name)}, 1000)) div 1000)"
        for name in nanoseconds
    }
    columns = [F.expr(whole.get(name, quoted(name))).alias(name) for name in names]
    rows = scan.select(
        F.col("_metadata.file_path").alias("__path"),
        (F.col("_metadata.row_index") + 1).alias(LINE_NUMBER),
        F.to_json(F.struct(*columns)).alias(RAW),
        F.lit(None).cast("string").alias(PROBLEM),
        *columns,
    ).join(F.broadcast(known), on="__path", how="inner")
    return Group(rows.drop("__path"), names, counts, text=False)


def _damaged(spark: SparkSession, files: list[LandedFile], counts: dict[str, int]) -> dict[str, str]:
    """Files of which fewer rows can be decoded than the footer promises. Reads every page once."""
    by_key = {file.key: file.file_id for file in files}
    scan = _parquet_scan(spark, files, skip_damage=True)
    whole_rows = F.to_json(F.struct(*[F.col(quoted(name)) for name in scan.columns]))
    digest = F.xxhash64(whole_rows)
    decoded = (
        scan.select(F.col("_metadata.file_path").alias("path"), digest.alias("digest"))
        .groupBy("path")
        .agg(F.count(F.lit(1)).alias("n"), F.max("digest"))  # the digest makes Spark decode the columns
        .collect()
    )
    whole = {by_key[metadata_key(row["path"])]: row["n"] for row in decoded}
    return {
        file.file_id: f"damaged Parquet file: {whole.get(file.file_id, 0)} of {counts[file.file_id]} rows can be read"
        for file in files
        if whole.get(file.file_id, 0) < counts.get(file.file_id, 0)
    }


def _cause(error: Exception) -> str:
    found = re.search(r"(is not a Parquet file[^\n]*|is too small[^\n]*|Unable to infer[^\n]*)", str(error))
    return (found[1] if found else str(error).strip().splitlines()[0])[:200]


# --- names ----------------------------------------------------------------------------------------


def _spelled(name: str, keys: tuple[str, ...]) -> str:
    """The key as the file spells it, where the mapping differs in case only."""
    if name in keys:
        return name
    alike = [key for key in keys if key.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else name


def _escaped(schema: str) -> str:
    return schema.replace("\\", "\\\\").replace('"', '\\"')
