"""What records that a caller gives have in common: their times, and the error that refuses one."""

from __future__ import annotations

from expectations.instants import parse_microseconds


class HistoryError(ValueError):
    """A record or argument that cannot be read; the message says which, and what is allowed."""


def instant(value: str | float, where: str) -> int:
    """Microseconds since 1970-01-01 UTC of a record's time; raises HistoryError, naming `where`."""
    try:
        return parse_microseconds(value)
    except ValueError:
        allowed = "ISO 8601 text or seconds since 1970"
        raise HistoryError(f"{where} has the time {value!r}; allowed is {allowed}") from None
