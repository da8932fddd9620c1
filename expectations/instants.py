"""Instants as the tables hold them: microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def microseconds(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC; an instant without a zone is UTC."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def day_of(microseconds_utc: int) -> date:
    """The day, in UTC, on which an instant lies."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds_utc)).date()


def iso(microseconds_utc: int) -> str:
    """The instant in ISO form; the number itself where it is no year that a calendar has."""
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds_utc)).isoformat()
    except OverflowError:
        return str(microseconds_utc)


SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US


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
