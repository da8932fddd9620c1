"""What kind of value each column has that a mapping names: numbers, text, dates, objects.

A column that changes its kind from one file to the next was retyped; `expectations.losses_of_columns` judges that. A
line's kinds are a text of one letter a column (`expectations.kinds.KINDS`), measured on a sample of the lines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    MapType,
    NullType,
    NumericType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from spark_jobs.landing.expressions import quoted
from spark_jobs.landing.layouts import LINE_NUMBER, PROBLEM, RAW

KIND_LETTERS = "__kinds"
"""Column of mapped lines: a letter for every column, null on lines that are not sampled or cannot be read."""
FIRST_LINES, ONE_OF = 1000, 20
"""The sample: the first lines of a file, and one of so many others."""

_NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"
_DATE = r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([T ]|$)"
_UNITS = (("s", 1e11), ("m", 1e14), ("u", 1e17))
"""Letter of a time in a unit, and the size that it stays below until the year 5138."""


class Measured(NamedTuple):
    """Columns whose kinds are measured, in the order of the letters."""

    names: tuple[str, ...]
    """As a mapping spells them, with dots where it names a field of one."""
    times: frozenset[str]
    """Those that the mapping's time names."""


NO_COLUMNS = Measured((), frozenset())


def measured_columns(named: dict[str, list[tuple[str, ...]]]) -> Measured:
    """The columns that expressions name, and those of which they name a field."""
    paths = {path for paths in named.values() for path in paths}
    paths |= {path[:1] for path in paths}
    times = frozenset(".".join(path) for path in named.get("time", ()))
    return Measured(tuple(sorted(".".join(path) for path in paths)), times)


def kind_letters(
    lines: DataFrame,
    columns: Measured,
    paths: Iterable[tuple[str, ...]],
    is_json: bool,
    told: Collection[str],
) -> Column:
    """KIND_LETTERS of opened lines. `paths` are the columns that the mapping names, as dotted parts; of JSON a column
    with named fields is read from the line itself. Lines that cannot be read have kinds for the problems in `told` alone."""
    path_of = {".".join(path): path for path in paths}
    letters = []
    for name in columns.names:
        path = path_of.get(name, (name,))
        kind = _type_at(lines.schema, path)
        value = F.col(".".join(quoted(part) for part in path))
        if kind is None:
            value, kind = F.lit(None), NullType()
        elif is_json and isinstance(kind, StructType):
            # A value that is no object is null where its fields are read.
            value, kind = F.get_json_object(RAW, f"$['{name}']"), StringType()
        letters.append(_letter(value, kind, name in columns.times))
    is_sampled = (F.col(LINE_NUMBER) <= FIRST_LINES) | (F.col(LINE_NUMBER) % ONE_OF == 0)
    is_read = F.col(PROBLEM).isNull() | F.col(PROBLEM).isin(*told)
    return F.when(is_sampled & is_read, F.concat(*letters)) if letters else F.lit(None).cast("string")


def _type_at(schema: StructType, path: Sequence[str]) -> DataType | None:
    """The type at a path, None where there is none."""
    kind: DataType = schema
    for part in path:
        fields = kind.fields if isinstance(kind, StructType) else ()
        exact = [field for field in fields if field.name == part]
        alike = exact or [field for field in fields if field.name.lower() == part.lower()]
        if len(alike) != 1:
            return None
        kind = alike[0].dataType
    return kind


def _letter(value: Column, kind: DataType, is_time: bool) -> Column:
    """The letter of a value; every value has one."""
    fixed = {
        BooleanType: "b", DateType: "d", TimestampType: "d", TimestampNTZType: "d", ArrayType: "a",
        StructType: "o", MapType: "o", BinaryType: "x", NullType: "-",
    }  # fmt: skip
    for of, letter in fixed.items():
        if isinstance(kind, of):
            return F.when(value.isNull(), "-").otherwise(letter)
    if isinstance(kind, NumericType):
        return F.when(value.isNull() | F.isnan(value.cast("double")), "-").otherwise(_size(value, is_time))
    text = F.trim(value.cast("string"))
    return (
        F.when(text.isNull() | (text == ""), "-")
        .when(text.rlike(_NUMBER), _size(text, is_time))
        .when(text.startswith("{") & text.endswith("}"), "o")
        .when(text.startswith("[") & text.endswith("]"), "a")
        .when(F.lower(text).isin("true", "false"), "b")
        .when(text.rlike(_DATE), "d")
        .otherwise("t")
    )


def _size(value: Column, is_time: bool) -> Column:
    if not is_time:
        return F.lit("n")
    size = F.abs(value.try_cast("double"))
    letter = F.when(size < _UNITS[0][1], _UNITS[0][0])
    for unit, largest in _UNITS[1:]:
        letter = letter.when(size < largest, unit)
    return letter.otherwise("z")
