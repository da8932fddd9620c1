"""Instants and microseconds: exact both ways, also before 1970."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.instants import aware, day_of, from_microseconds, iso, microseconds, timestamp_sql

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
