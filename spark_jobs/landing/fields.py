"""Fields that events and item metadata share: identifiers, optional text and numbers, refused lines.

Columns of `reading.read_mapped` have the type that their file gave. The columns made here have one type,
null where the value is missing or of another type, and come with the reasons for refusing a line.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType

MAX_ID_CHARACTERS = 256
RAW_CHARACTERS = 10_000
"""Length to which a refused line is cut."""
_CONTROL = r"[\\x00-\\x1f\\x7f]"


def text_id(rows: DataFrame, name: str) -> Column:
    """An id as text; a whole number stored as a float (pandas does that beside nulls) loses its `.0`."""
    if not isinstance(rows.schema[name].dataType, DoubleType | FloatType):
        return F.col(name).cast("string")
    whole = F.expr(f"try_cast({name} AS bigint)")
    return (
        F.when(F.isnan(name), None)
        .when(whole == F.col(name), whole.cast("string"))
        .otherwise(F.col(name).cast("string"))
    )


def id_problem(column: str, label: str) -> Column:
    """Why the text in `column` is not an id; null when it is. `label` names the field in the reason."""
    value = F.col(column)
    json_text = F.expr(f"{column} RLIKE '^[\\\\[{{]' AND try_parse_json({column}) IS NOT NULL")
    return (
        F.when(value.isNull() | (F.trim(value) == ""), f"missing {label}")
        .when(F.length(value) > MAX_ID_CHARACTERS, f"{label} is longer than {MAX_ID_CHARACTERS} characters")
        .when(F.expr(f"{column} RLIKE '{_CONTROL}'"), f"{label} contains control characters")
        .when(json_text, f"{label} is not a single value")
    )


def present_text(rows: DataFrame, name: str) -> Column:
    """An optional text; null when the mapping does not give it or the value is blank."""
    if name not in rows.columns:
        return F.lit(None).cast("string")
    return F.when(F.trim(F.col(name).cast("string")) != "", F.col(name).cast("string"))


def number(rows: DataFrame, name: str) -> Column:
    """An optional number as a double; null when the value is not one."""
    return F.expr(f"try_cast({name} AS double)") if name in rows.columns else F.lit(None).cast("double")


def whole_number(rows: DataFrame, name: str) -> Column:
    """An optional whole number as an int; null when the value is not one."""
    if name not in rows.columns:
        return F.lit(None).cast("int")
    value = F.expr(f"try_cast({name} AS double)")
    return F.when(value == F.floor(value), F.expr(f"try_cast(try_cast({name} AS double) AS int)"))


def truth(rows: DataFrame, name: str) -> Column:
    """An optional boolean; null when the value is none. Text and numbers count as Spark's cast takes them."""
    return F.expr(f"try_cast({name} AS boolean)") if name in rows.columns else F.lit(None).cast("boolean")


def kept_raw(column: str) -> Column:
    """A refused line as it is stored: valid UTF-8, cut to RAW_CHARACTERS."""
    return F.substring(F.make_valid_utf8(F.coalesce(F.col(column), F.lit(""))), 1, RAW_CHARACTERS)
