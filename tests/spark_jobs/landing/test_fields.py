"""Fields of events and items: ids, optional text and numbers, and stored refused lines."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from spark_jobs.landing.fields import (
    MAX_ID_CHARACTERS,
    RAW_CHARACTERS,
    id_problem,
    kept_raw,
    number,
    present_text,
    text_id,
    whole_number,
)


def value(spark, sql, column):
    """Applies `column` (frame, name) to a row whose column `x` is the SQL value."""
    frame = spark.sql(f"SELECT {sql} AS x")
    return frame.select(column(frame, "x")).first()[0]


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("7", "7"),
        ("7.0D", "7"),
        ("7.5D", "7.5"),
        ("double('NaN')", None),
        ("'007'", "007"),
        ("cast(null AS string)", None),
    ],
)
def test_an_id_is_text_and_a_whole_float_loses_its_fraction(spark, sql, text):
    assert value(spark, sql, text_id) == text


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("'ann'", None),
        ("'[draft] one'", None),
        ("cast(null AS string)", "missing user"),
        ("'  '", "missing user"),
        (f"repeat('x', {MAX_ID_CHARACTERS})", None),
        (f"repeat('x', {MAX_ID_CHARACTERS + 1})", "user is longer than 256 characters"),
        ("'a\\tb'", "user contains control characters"),
        ("'{\"id\": 1}'", "user is not a single value"),
        ("'[1, 2]'", "user is not a single value"),
    ],
)
def test_an_id_is_refused_with_its_reason(spark, sql, problem):
    assert value(spark, sql, lambda frame, name: id_problem(name, "user")) == problem


@pytest.mark.parametrize(
    ("sql", "text", "as_number", "as_whole"),
    [
        ("' '", None, None, None),
        ("'home'", "home", None, None),
        ("'2.5'", "2.5", 2.5, None),
        ("'2.0'", "2.0", 2.0, 2),
        ("3000000000", "3000000000", 3e9, None),
        ("cast(null AS string)", None, None, None),
    ],
)
def test_optional_values_are_null_where_they_are_of_another_type(spark, sql, text, as_number, as_whole):
    assert value(spark, sql, present_text) == text
    assert value(spark, sql, number) == as_number
    assert value(spark, sql, whole_number) == as_whole


def test_a_field_that_the_mapping_lacks_is_null(spark):
    frame = spark.range(1)
    row = frame.select(*(make(frame, "rating") for make in (present_text, number, whole_number))).first()
    assert tuple(row) == (None, None, None)


def test_a_refused_line_is_kept_as_valid_text_up_to_a_length(spark):
    frame = spark.sql(f"SELECT cast(X'7bff' AS string) AS bad, repeat('é', {RAW_CHARACTERS + 5}) AS long")
    bad, long, missing = frame.withColumn("none", F.lit(None).cast("string")).select(
        kept_raw("bad"), kept_raw("long"), kept_raw("none")
    ).first()  # fmt: skip
    assert (bad, long, missing) == ("{\ufffd", "é" * RAW_CHARACTERS, "")
