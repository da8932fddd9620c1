"""JSON: one object a line, or an array of objects, of which only the fields that a mapping names are parsed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial, reduce
from itertools import islice

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.layouts import FILE_ID, LINE_NUMBER, META, PROBLEM, RAW, Group, Paths, spelled
from spark_jobs.landing.records import holds_json_values, json_values
from spark_jobs.landing.text_lines import escaped, numbered_lines, text_problem
from spark_jobs.landing.unpacking import DamagedFile, Head
from spark_jobs.landing.whole_files import heads_of, whole_files

NOT_JSON = "not valid JSON"
NOT_AN_OBJECT = "a nested field is not an object"
REPEATED_KEY = "a key occurs twice in one JSON object"
TOO_LONG = "a JSON object with more than 20 MB of text"
_LARGEST_BYTES = 20_000_000
"""A longer text has no variant, by which repeated keys are found."""
_SAMPLED_LINES, _FIRST_LINES = 2000, 50
_OPTIONS = (
    "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '__corrupt', 'allowSingleQuotes', 'false', "
    "'allowNonNumericNumbers', 'false')"
)


def json_groups(spark: SparkSession, files: list[LandedFile], unreadable: dict[str, str]) -> list[Group]:
    """The files as one group, whose columns are the keys of the first lines; none without a readable file.
    Unreadable files are added to `unreadable`, by file_id with the reason."""
    heads = heads_of(spark, files, unreadable)
    plain, whole = [], []
    for file in files:
        if head := heads.get(file.file_id):
            (plain if head.is_plain and not holds_json_values(head.text) else whole).append(file)
    frames, counts, keys = [], {}, set()
    if plain:
        lines, counts = numbered_lines(spark, plain)
        frames.append(lines)
        sample = lines.limit(_SAMPLED_LINES).select(F.explode(F.json_object_keys(RAW)).alias("key"))
        keys |= {row["key"] for row in sample.distinct().collect()}
    if whole:
        seen = F.collect_set(F.when(F.col(LINE_NUMBER) <= _SAMPLED_LINES, F.json_object_keys(RAW)))
        records, whole_counts, sampled = whole_files(spark, whole, None, unreadable, seen)
        frames.append(records.select(FILE_ID, LINE_NUMBER, RAW))
        counts |= whole_counts
        keys |= {key for sets in sampled.values() for some in sets for key in some}
    readable = [file for file in files if file.file_id in counts]
    if not readable:
        return []
    first = {file.file_id: first_keys(heads[file.file_id]) for file in readable}
    keys = keys.union(*first.values())
    lines, keys = reduce(DataFrame.unionByName, frames), tuple(sorted(keys))
    return [
        Group(
            readable,
            keys,
            counts,
            opened=partial(parsed_json, lines, keys=keys),
            keys_among=partial(_keys_among, lines),
            first_keys=first,
        )
    ]


def first_keys(head: Head) -> frozenset[str]:
    """Keys of the first objects of a file."""
    found: set[str] = set()
    for text in islice(_first_values(head), _FIRST_LINES):
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
            found |= value.keys() if isinstance(value, dict) else set()
    return frozenset(found)


def _first_values(head: Head) -> Iterator[bytes]:
    """JSON texts of the beginning of a file; the last one may be cut."""
    if not holds_json_values(head.text):
        yield from head.text.split(head.line_end)
        return
    with suppress(DamagedFile):  # the beginning ends within a value
        for record in json_values([head.text]):
            yield record.raw


def parsed_json(lines: DataFrame, paths: Paths, keys: tuple[str, ...]) -> DataFrame:
    """META and one column per top-level field of `paths`: text, or a struct where a field of it is named.

    `paths` are the dotted names that a mapping uses, each as its parts; `keys` the keys of the files.
    """
    tree: dict[str, dict] = {}
    key_of = {parts[0]: spelled(parts[0], keys) or parts[0] for parts in sorted(paths)}
    for parts in sorted(paths):
        node = tree.setdefault(key_of[parts[0]], {})
        for part in parts[1:]:
            node = node.setdefault(part, {})
    schema = ", ".join(f"{quoted(name)} {_json_type(children)}" for name, children in tree.items())
    schema = f"{schema}, __corrupt string" if schema else "__corrupt string"
    parsed = lines.withColumn("__line", F.expr(f'from_json({RAW}, "{escaped(schema)}", {_OPTIONS})'))
    shaped = F.expr(f"trim(BOTH ' \\t\\n\\r' FROM {RAW}) LIKE '{{%}}'")
    # The parser stops after the first object; anything after it shows only as braces within the line.
    nested = F.expr(f"substring(trim({RAW}), 2, length(trim({RAW})) - 2) RLIKE '[{{}}]'")
    single = F.expr(f"try_parse_json(concat('[', {RAW}, ']')) IS NOT NULL") & F.expr(
        f"try_variant_get(try_parse_json(concat('[', {RAW}, ']')), '$[1]', 'variant') IS NULL"
    )
    # Variants know no repeated keys, at any depth.
    valid = F.expr(f"try_parse_json({RAW}) IS NOT NULL")
    repeated = F.when(F.octet_length(RAW) > _LARGEST_BYTES, TOO_LONG).otherwise(REPEATED_KEY)
    problem = (
        F.when(text_problem().isNotNull(), text_problem())
        .when(~shaped, F.when(valid, "not a JSON object").otherwise(NOT_JSON))
        .when(
            F.col("__line.__corrupt").isNotNull(),
            F.when(valid & single, NOT_AN_OBJECT).otherwise(NOT_JSON),
        )
        .when(nested, F.when(~single, F.when(valid, NOT_JSON).otherwise(repeated)))
        .when(~valid, repeated)
    )
    fields = [F.col(f"__line.{quoted(key)}").alias(name) for name, key in key_of.items()]
    return parsed.withColumn(PROBLEM, problem).select(*META, *fields)


def _json_type(children: dict[str, dict]) -> str:
    if not children:
        return "string"
    return f"struct<{', '.join(f'{quoted(name)}: {_json_type(below)}' for name, below in children.items())}>"


def _keys_among(lines: DataFrame, names: list[str]) -> set[str]:
    """Which of the names are keys of any line."""
    keys = F.json_object_keys(RAW)
    has_key = lines.select(*[F.max(F.array_contains(keys, name)).alias(name) for name in names]).first()
    return {name for name in names if has_key[name]}
