"""Typed values of a row: times in nanoseconds, and the text in which a row is stored when it is refused."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from spark_jobs.landing.instants import from_nanoseconds

_AS_JSON = {
    "boolean", "byte", "short", "integer", "long", "float", "double", "decimal", "string", "binary", "date",
    "timestamp", "timestamp_ntz", "struct", "array", "map",
}  # fmt: skip


def shown(value: Column, kind: DataType) -> Column:
    """The value as JSON can show it."""
    return value if kind.typeName() in _AS_JSON else value.cast("string")


def microseconds(
    value: Column, kind: DataType, path: tuple[str, ...], nanoseconds: frozenset[tuple[str, ...]]
) -> Column:
    """The value with times in nanoseconds as timestamps, in structures too."""
    if path in nanoseconds:
        return from_nanoseconds(value)
    if not isinstance(kind, StructType) or not any(other[: len(path)] == path for other in nanoseconds):
        return value
    fields = [
        microseconds(value.getField(field.name), field.dataType, (*path, field.name), nanoseconds).alias(
            field.name
        )
        for field in kind
    ]
    return F.when(value.isNotNull(), F.struct(*fields))
