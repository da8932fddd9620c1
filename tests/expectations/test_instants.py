"""Instants as microseconds, and back for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from expectations.instants import iso, microseconds


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 1), 1_000_000),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
    ],
)
def test_microseconds_are_exact_and_a_naive_instant_is_utc(instant, expected):
    assert microseconds(instant) == expected


def test_iso_says_when_it_was_or_the_number_itself():
    assert iso(1_000_001) == "1970-01-01T00:00:01.000001+00:00"
    assert iso(10**18) == "1000000000000000000"
