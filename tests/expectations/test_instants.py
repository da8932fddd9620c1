"""Instants as microseconds, and back for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from expectations.instants import DAY_US, HOUR_US, column_microseconds, iso, microseconds, parse_microseconds


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


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-01T00:00:01.000001", 1_000_001),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.25", -750_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00.000001", -62_135_596_799_999_999),  # a float of seconds is 8 µs off here
        ("1950-06-01", -618_105_600_000_000),
        (1.5, 1_500_000),
        (-0.25, -250_000),
        (-631_151_999, -631_151_999_000_000),
    ],
)
def test_text_and_seconds_become_whole_microseconds_on_both_sides_of_1970(value, expected):
    assert parse_microseconds(value) == expected


@pytest.mark.parametrize("value", ["yesterday", "", float("nan"), float("inf"), [3]])
def test_what_is_no_instant_is_refused(value):
    with pytest.raises(ValueError):
        parse_microseconds(value)


def test_a_column_of_timestamps_keeps_microseconds_and_nulls():
    column = pa.array([0, None, -1], pa.timestamp("us"))
    assert column_microseconds(column).to_pylist() == [0, None, -1]
    nanoseconds = pa.chunked_array([pa.array([5_000], pa.timestamp("ns", tz="Europe/Paris"))])
    assert column_microseconds(nanoseconds).to_pylist() == [5]


def test_a_day_and_an_hour_in_microseconds():
    assert (HOUR_US, DAY_US) == (3_600_000_000, 24 * 3_600_000_000)
