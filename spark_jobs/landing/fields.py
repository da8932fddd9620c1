"""Fields that events and item metadata share: identifiers, optional text and numbers, refused lines.

Columns of `reading.read_mapped` have the type that their file gave. The columns made here have one type,
null where the value is missing or of another type, and come with the reasons for refusing a line.

An id is one text whatever the format that brings it. Blanks around it are dropped. A number is written in
its digits: without a fraction of zeros, without an exponent, zero without a sign. Text that is not such a
number stays as it is, so that leading zeros do (`007`), and `1e3`, `+7` and `7.50`. Bytes are hexadecimal.
Nothing that may already have lost digits is an id: floats beyond the whole numbers they hold exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DoubleType,
    FloatType,
    MapType,
    NullType,
    NumericType,
    StringType,
    StructType,
    VariantType,
)

from spark_jobs.landing.layouts import RAW

RULES_NUMBER = 3
"""Number of the rules by which a mapped line becomes an event; to be raised with a change of them, so that
landed files are read again."""
MAX_ID_CHARACTERS = 256
RAW_CHARACTERS = 10_000
"""Length to which a refused line is cut."""
LARGEST_WHOLE = {FloatType: 2**24 - 1, DoubleType: 2**53 - 1}
"""Whole numbers up to this are the only ones that a float rounds to themselves."""

_CONTROL = r"[\\x00-\\x1f\\x7f]"
_BLANKS = "".join(
    chr(code)
    for code in (
        9,
        32,
        0xA0,
        0x1680,
        *range(0x2000, 0x200C),
        0x2028,
        0x2029,
        0x202F,
        0x205F,
        0x2060,
        0x3000,
        0xFEFF,
    )
)
# Half of a pair of UTF-16, as JSON escapes it: the parser makes "?" of it, so that two ids may become one.
_HALF_PAIR = r"(?i)\\u(?:d[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2}\\u)d[c-f][0-9a-f]{2})"
_INFINITE = ('"Infinity"', '"-Infinity"')
"""What the JSON parser makes of a number beyond the largest float."""
_WHOLE = "^-?(0|[1-9][0-9]*)[.]0+$"
# As Java, Python and JavaScript write large floats. Without a point or a plus, as in 12e5, it may be a digest.
_EXPONENT = "^-?[1-9]([.][0-9]+[eE][+]?|[eE][+])[0-9]{1,3}$"


def text_id(rows: DataFrame, name: str) -> Column:
    """An id as text by the rule above; null where the column cannot hold one. `id_problem` says what is wrong
    with it."""
    kind, value = rows.schema[name].dataType, F.col(name)
    if isinstance(kind, ArrayType | MapType | StructType | VariantType):
        return F.lit(None).cast("string")
    if isinstance(kind, BinaryType):
        return F.lower(F.hex(value))
    if isinstance(kind, DoubleType | FloatType):
        is_whole = (value == F.floor(value)) & (F.abs(value) <= LARGEST_WHOLE[type(kind)])
        return (
            F.when(F.isnan(name), None)
            .when(is_whole, F.expr(f"try_cast({name} AS bigint)").cast("string"))
            .otherwise(value.cast("string"))
        )
    text = F.btrim(value.cast("string"), F.lit(_BLANKS))
    number = text.try_cast("double")
    # Most ids have neither a point nor a plus, and are not matched with a pattern at all.
    return (
        F.when(text == "-0", "0")
        .when(~F.contains(text, F.lit(".")) & ~F.contains(text, F.lit("+")), text)
        .when(text.rlike(_WHOLE), F.regexp_replace(F.regexp_replace(text, "[.]0+$", ""), "^-0$", "0"))
        .when(
            text.rlike(_EXPONENT)
            & (F.abs(number) <= LARGEST_WHOLE[DoubleType])
            & (number == F.floor(number)),
            number.try_cast("bigint").cast("string"),
        )
        .otherwise(text)
    )


def id_problem(rows: DataFrame, name: str, text: str, label: str, missing: Sequence[str]) -> Column:
    """Why column `name` of `rows` is not an id; null when it is. `text` is the column of `rows` with its
    `text_id`, `label` names the field in the reason, `missing` are texts that stand for a missing value."""
    kind, value = rows.schema[name].dataType, F.col(text)
    if isinstance(kind, ArrayType | MapType | StructType | VariantType):
        return F.when(F.col(name).isNull(), f"missing {label}").otherwise(f"{label} is not a single value")
    json_text = F.expr(f"{text} RLIKE '^[\\\\[{{]' AND try_parse_json({text}) IS NOT NULL")
    problem = F.when(value.isNull() | (value == ""), f"missing {label}")
    if missing:
        words = sorted({word.lower() for word in missing})
        problem = problem.when(F.lower(value).isin(*words), f"{label} is a word for a missing value")
    if isinstance(kind, DoubleType | FloatType):
        lost = F.abs(name) > LARGEST_WHOLE[type(kind)]
    else:
        lost = F.when(
            F.contains(value, F.lit(".")) | F.contains(value, F.lit("+")), value.rlike(_EXPONENT)
        ) & (F.abs(value.try_cast("double")) > LARGEST_WHOLE[DoubleType])
        lost = value.isin(*_INFINITE) | F.coalesce(lost, F.lit(False))
    halved = F.lit(False)
    if RAW in rows.columns:
        halved = F.contains(value, F.lit("?")) & F.coalesce(F.col(RAW).rlike(_HALF_PAIR), F.lit(False))
    return (
        problem.when(~F.is_valid_utf8(value) | halved, f"{label} is not valid UTF-8")
        .when(F.length(value) > MAX_ID_CHARACTERS, f"{label} is longer than {MAX_ID_CHARACTERS} characters")
        .when(F.expr(f"{text} RLIKE '{_CONTROL}'"), f"{label} contains control characters")
        .when(json_text, f"{label} is not a single value")
        .when(lost, f"{label} is a float too large to have kept its last digits")
    )


def present_text(rows: DataFrame, name: str) -> Column:
    """An optional text, valid UTF-8; null when the mapping does not give it or the value is blank."""
    if name not in rows.columns:
        return F.lit(None).cast("string")
    text = F.make_valid_utf8(F.col(name).cast("string"))
    return F.when(F.trim(text) != "", text)


def number(rows: DataFrame, name: str) -> Column:
    """An optional number as a double; null when the value is not one."""
    return _cast(rows, name, "double")


def whole_number(rows: DataFrame, name: str) -> Column:
    """An optional whole number as an int; null when the value is not one."""
    value = _cast(rows, name, "double")
    return F.when(value == F.floor(value), value.try_cast("int"))


def truth(rows: DataFrame, name: str) -> Column:
    """An optional boolean; null when the value is none. Text and numbers count as Spark's cast takes them."""
    return _cast(rows, name, "boolean")


def _cast(rows: DataFrame, name: str, kind: str) -> Column:
    """A value as a number or boolean; null where it is none, and for types that have none (lists, dates, bytes)."""
    if name in rows.columns and isinstance(
        rows.schema[name].dataType, NumericType | StringType | BooleanType | NullType
    ):
        return F.col(name).try_cast(kind)
    return F.lit(None).cast(kind)


def kept_raw(column: str) -> Column:
    """A refused line as it is stored: valid UTF-8, cut to RAW_CHARACTERS."""
    return F.substring(F.make_valid_utf8(F.coalesce(F.col(column), F.lit(""))), 1, RAW_CHARACTERS)
