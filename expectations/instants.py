"""Instants as the tables hold them: microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta


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
