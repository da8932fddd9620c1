"""Instants as sources write them, as microseconds since 1970-01-01 UTC.

In: a column of text, a number, a date or a timestamp, and its unit. Out: a bigint column, null where
the value is no instant. Exact: whole microseconds survive, whatever the unit.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DateType, TimestampNTZType, TimestampType

from spark_jobs.config import TimeUnit

_FACTORS = {"seconds": 1_000_000, "milliseconds": 1_000, "microseconds": 1}
# A whole date must lead: Spark takes '2013' for a year and '12:30' for a time of the day it runs.
_ISO_START = r"^\\s*\\d{4}-\\d{1,2}-\\d{1,2}([T ]|\\s*$)"


def microseconds(rows: DataFrame, name: str, unit: TimeUnit) -> Column:
    """Column `name` of `rows` in microseconds. A date or timestamp is taken as it is, whatever the
    unit; one without a zone is UTC."""
    kind = rows.schema[name].dataType
    if isinstance(kind, DateType | TimestampType | TimestampNTZType):
        return F.unix_micros(F.col(name).cast("timestamp"))
    if unit == "iso":
        text = F.col(name).cast("string")
        parsed = F.expr(f"try_cast(trim(cast({name} AS string)) AS timestamp)")
        return F.when(
            F.expr(f"cast({name} AS string) RLIKE '{_ISO_START}'") & text.isNotNull(), F.unix_micros(parsed)
        )
    return F.expr(f"try_cast(floor(try_cast({name} AS decimal(28, 6)) * {_FACTORS[unit]}) AS bigint)")
