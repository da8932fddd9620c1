"""Instants and microseconds: exact both ways, also before 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.instants import (
    DAY_US,
    HOUR_US,
    aware,
    column_microseconds,
    day_of,
    from_microseconds,
    iso,
    microseconds,
    parse_microseconds,
    timestamp_sql,
)

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# A day off either end of the calendar, so that an offset leads to no year 0 or 10000.
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=OFFSETS)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 0, 0, 1), 1_000_000),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), -62_135_600_400_000_000),
        (datetime(1969, 12, 31, 23, 59, 58, 250_000, tzinfo=UTC), -1_750_000),
    ],
)
def test_microseconds_are_exact_and_a_naive_instant_is_utc(instant, expected):
    assert microseconds(instant) == expected


@given(INSTANTS)
def test_an_instant_survives_the_way_to_microseconds_and_back(instant):
    assert from_microseconds(microseconds(instant)) == instant


@given(INSTANTS)
def test_microseconds_are_whole_days_seconds_and_a_fraction(instant):
    # The same by another way: proleptic days, then the time of the day.
    at = instant.astimezone(UTC)
    days = at.toordinal() - date(1970, 1, 1).toordinal()
    seconds = days * 86_400 + at.hour * 3600 + at.minute * 60 + at.second
    assert microseconds(instant) == seconds * 1_000_000 + at.microsecond


@given(INSTANTS)
def test_a_day_ends_before_the_next_one_begins(instant):
    assert day_of(microseconds(instant)) == instant.astimezone(UTC).date()


@given(INSTANTS, INSTANTS)
def test_order_is_kept(first, second):
    assert (microseconds(first) < microseconds(second)) == (first < second)


def test_iso_is_the_number_itself_where_the_calendar_ends():
    assert iso(1_000_001) == "1970-01-01T00:00:01.000001+00:00"
    assert iso(-1) == "1969-12-31T23:59:59.999999+00:00"
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


def test_a_naive_instant_is_utc_and_another_zone_stays():
    noon = datetime(2026, 3, 1, 12)
    assert aware(noon).isoformat() == "2026-03-01T12:00:00+00:00"
    elsewhere = noon.replace(tzinfo=timezone(timedelta(hours=2)))
    assert aware(elsewhere) is elsewhere


@pytest.mark.parametrize(
    "instant",
    [
        datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        datetime(1800, 1, 1, tzinfo=UTC),
    ],
)
def test_spark_reads_the_sql_text_as_the_same_instant(spark, instant):
    row = spark.sql(f"SELECT unix_micros({timestamp_sql(instant)}) AS at_us").first()
    assert row["at_us"] == microseconds(instant)
