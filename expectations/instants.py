"""Instants: Python datetimes and the tables' microseconds since 1970-01-01 UTC, exact both ways.

The only module that does this arithmetic; all of it is on whole numbers, so that instants before
1970 keep their fractions of a second. How sources write times is another matter: see
`spark_jobs.landing.instants`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def aware(instant: datetime) -> datetime:
    """The instant with a time zone: UTC where it has none."""
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; an instant without a time zone is UTC."""
    return (aware(instant) - EPOCH) // _MICROSECOND


def from_microseconds(microseconds_utc: int) -> datetime:
    """The instant in UTC. Raises OverflowError outside the years 1 to 9999."""
    return EPOCH + microseconds_utc * _MICROSECOND


def day_of(microseconds_utc: int) -> date:
    """The UTC day of an instant. Raises OverflowError outside the years 1 to 9999."""
    return from_microseconds(microseconds_utc).date()


def iso(microseconds_utc: int) -> str:
    """The instant in ISO form; outside the years 1 to 9999 the number itself."""
    try:
        return from_microseconds(microseconds_utc).isoformat()
    except OverflowError:
        return str(microseconds_utc)


def timestamp_sql(instant: datetime) -> str:
    """The instant as a Spark SQL expression of type timestamp, whatever the session's time zone."""
    return f"timestamp_micros({microseconds(instant)})"


def parse_microseconds(value: str | float) -> int:
    """Microseconds since 1970-01-01 UTC of ISO 8601 text (UTC where it has no zone) or of seconds since then.

    Exact for text; a number is rounded to whole microseconds. Raises ValueError for anything else.
    """
    if isinstance(value, str):
        return microseconds(datetime.fromisoformat(value))
    try:
        return round(float(value) * SECOND_US)
    except (TypeError, OverflowError):
        raise ValueError(f"{value!r} is no number of seconds") from None


def column_microseconds(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """An Arrow column of timestamps as int64 microseconds since 1970-01-01 UTC; nulls stay null."""
    import pyarrow as pa  # most readers of this module need no Arrow

    return column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
