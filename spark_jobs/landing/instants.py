"""Times as sources write them, read as microseconds since 1970-01-01 UTC.

From a column of text, numbers, dates or timestamps and its unit to a bigint column, null where the value
is not a valid time. Exact: whole microseconds survive in every unit. Arithmetic on Python datetimes is in
`expectations.instants`.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DateType,
    NullType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from spark_jobs.config import TimeUnit

NOT_AN_INSTANT = "is not an instant"
"""Reason for refusing a value that is present but not a time; it follows the column's name."""

_FACTORS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
# A whole date must come first: Spark reads '2013' as a year and '12:30' as a time of the current day.
_ISO_START = r"^\\s*\\d{4}-\\d{1,2}-\\d{1,2}([T ]|\\s*$)"


def parsed_microseconds(rows: DataFrame, name: str, unit: TimeUnit) -> Column:
    """Column `name` of `rows` in microseconds, rounded down. The unit does not apply to dates and timestamps;
    a value without a time zone is UTC, and one of another type (a list, a boolean) no time."""
    kind = rows.schema[name].dataType
    if isinstance(kind, DateType | TimestampType | TimestampNTZType):
        return F.unix_micros(F.col(name).cast("timestamp"))
    if unit == "iso":
        text = F.col(name).cast("string")
        parsed = F.expr(f"try_cast(trim(cast({name} AS string)) AS timestamp)")
        return F.when(
            F.expr(f"cast({name} AS string) RLIKE '{_ISO_START}'") & text.isNotNull(), F.unix_micros(parsed)
        )
    if not isinstance(kind, NumericType | StringType | NullType):
        return F.lit(None).cast("bigint")
    return F.expr(f"try_cast(floor(try_cast({name} AS decimal(28, 6)) * {_FACTORS[unit]}) AS bigint)")


def from_nanoseconds(value: Column) -> Column:
    """A bigint column of nanoseconds as a timestamp, rounded down to microseconds."""
    return F.timestamp_micros(F.call_function("div", value - F.pmod(value, F.lit(1000)), F.lit(1000)))
