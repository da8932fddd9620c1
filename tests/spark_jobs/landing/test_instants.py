"""Times as sources write them, in microseconds: exact, and rounded down also before 1970."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pyspark.sql import functions as F

from expectations.instants import microseconds
from spark_jobs.landing.instants import from_nanoseconds, parsed_microseconds

NOON = microseconds(datetime(2026, 3, 1, 12, tzinfo=UTC))


def parsed(spark, sql, unit):
    frame = spark.sql(f"SELECT {sql} AS at")
    return frame.select(parsed_microseconds(frame, "at", unit)).first()[0]


@pytest.mark.parametrize(
    ("sql", "unit", "expected"),
    [
        ("1772366400", "seconds", NOON),
        ("'1772366400.25'", "seconds", NOON + 250_000),
        ("1772366400123", "milliseconds", NOON + 123_000),
        ("'1772366400123456'", "microseconds", NOON + 123_456),
        ("'1772366400000000.9'", "microseconds", NOON),
        ("-0.25", "seconds", -250_000),
        ("'-1.5'", "milliseconds", -1_500),
        ("-0.5", "microseconds", -1),
        ("'yesterday'", "seconds", None),
        ("'NaN'", "seconds", None),
        ("'true'", "seconds", None),
        ("cast(1e30 AS double)", "seconds", None),
        ("cast(null AS string)", "seconds", None),
    ],
)
def test_numbers_are_exact_in_every_unit(spark, sql, unit, expected):
    assert parsed(spark, sql, unit) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("'2026-03-01T12:00:00Z'", NOON),
        ("' 2026-03-01 14:00:00+02:00 '", NOON),
        ("'2026-03-01T12:00:00'", NOON),
        ("'2026-03-01T12:00:00.000001'", NOON + 1),
        ("'1969-12-31T23:59:59.999999Z'", -1),
        ("'1969-12-31'", -86_400_000_000),
        ("'2026'", None),
        ("'12:30'", None),
        ("'2026-02-30'", None),
        ("''", None),
        ("20260301", None),
    ],
)
def test_iso_text_needs_a_whole_date_and_is_utc_without_a_zone(spark, sql, expected):
    assert parsed(spark, sql, "iso") == expected


@pytest.mark.parametrize("sql", ["timestamp'2026-03-01 12:00:00Z'", "timestamp_ntz'2026-03-01 12:00:00'"])
def test_a_timestamp_is_taken_as_it_is_in_every_unit(spark, sql):
    assert {parsed(spark, sql, unit) for unit in ("seconds", "microseconds", "iso")} == {NOON}


def test_a_date_is_its_first_instant(spark):
    assert parsed(spark, "date'2026-03-01'", "seconds") == NOON - 12 * 3600 * 1_000_000


@pytest.mark.parametrize(
    ("nanoseconds", "expected"), [(0, 0), (1_999, 1), (-1, -1), (-1_000, -1), (-1_001, -2)]
)
def test_nanoseconds_are_rounded_down(spark, nanoseconds, expected):
    frame = spark.sql(f"SELECT {nanoseconds}L AS `at ns`")
    assert frame.select(F.unix_micros(from_nanoseconds(F.col("at ns")))).first()[0] == expected
