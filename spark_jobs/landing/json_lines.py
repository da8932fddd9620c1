"""JSON lines: one object a line, of which only the fields that a mapping names are parsed."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.layouts import META, PROBLEM, RAW, Group
from spark_jobs.landing.text_lines import escaped, numbered_lines, text_problem

NOT_JSON = "not valid JSON"
_SAMPLED_LINES = 2000
_OPTIONS = (
    "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '__corrupt', 'allowSingleQuotes', 'false', "
    "'allowNonNumericNumbers', 'false')"
)


def json_lines(spark: SparkSession, files: list[LandedFile]) -> Group:
    """Opens the files as one group; its columns are the keys of the first lines."""
    lines, counts = numbered_lines(spark, files)
    sample = lines.limit(_SAMPLED_LINES).select(F.explode(F.json_object_keys(RAW)).alias("key"))
    keys = sorted(row["key"] for row in sample.distinct().collect()) if counts else []
    return Group(lines, tuple(keys), counts)


def parsed_json(lines: DataFrame, paths: set[tuple[str, ...]], keys: tuple[str, ...]) -> DataFrame:
    """META and one column per top-level field of `paths`: text, or a struct where a field of it is named.

    `paths` are the dotted names that a mapping uses, each as its parts; `keys` the keys of the files.
    """
    tree: dict[str, dict] = {}
    for parts in sorted(paths):
        node = tree
        for depth, part in enumerate(parts):
            node = node.setdefault(_spelled(part, keys) if depth == 0 else part, {})
    schema = ", ".join(f"{quoted(name)} {_json_type(children)}" for name, children in tree.items())
    schema = f"{schema}, __corrupt string" if schema else "__corrupt string"
    parsed = lines.withColumn("__line", F.expr(f'from_json({RAW}, "{escaped(schema)}", {_OPTIONS})'))
    shaped = F.expr(f"trim({RAW}) LIKE '{{%}}'")
    # The parser stops after the first object; anything after it shows only as braces within the line.
    nested = F.expr(f"substring(trim({RAW}), 2, length(trim({RAW})) - 2) RLIKE '[{{}}]'")
    single = F.expr(f"try_parse_json(concat('[', {RAW}, ']')) IS NOT NULL") & F.expr(
        f"try_variant_get(try_parse_json(concat('[', {RAW}, ']')), '$[1]', 'variant') IS NULL"
    )
    valid = F.expr(f"try_parse_json({RAW}) IS NOT NULL")
    problem = (
        F.when(text_problem().isNotNull(), text_problem())
        .when(~shaped, F.when(valid, "not a JSON object").otherwise(NOT_JSON))
        .when(
            F.col("__line.__corrupt").isNotNull(),
            F.when(valid & single, "a nested field is not an object").otherwise(NOT_JSON),
        )
        .when(nested & ~single, NOT_JSON)
    )
    fields = [F.col(f"__line.{quoted(name)}").alias(name) for name in tree]
    return parsed.withColumn(PROBLEM, problem).select(*META, *fields)


def _json_type(children: dict[str, dict]) -> str:
    if not children:
        return "string"
    return f"struct<{', '.join(f'{quoted(name)}: {_json_type(below)}' for name, below in children.items())}>"


def _spelled(name: str, keys: tuple[str, ...]) -> str:
    """The key as the file spells it, where the mapping differs in case only."""
    if name in keys:
        return name
    alike = [key for key in keys if key.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else name
