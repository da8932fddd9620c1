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


MISSING = ("nan", "none", "null", "\\N")
LARGEST = 2**53 - 1


def judged(spark, sql, missing=MISSING):
    """The id and why it is refused, of the SQL value as a user."""
    frame = spark.sql(f"SELECT {sql} AS x")
    frame = frame.withColumn("x_text", text_id(frame, "x"))
    return tuple(frame.select("x_text", id_problem(frame, "x", "x_text", "user", missing)).first())


@pytest.mark.parametrize(
    "sql",
    [
        "7", "7L", "7.0D", "float(7)", "7.00BD", "cast(7 AS decimal(38, 10))", "'7'", "'7.0'", "' 7'", "'7\\t'",
        "'7.00'", "'\\u00a07.0\\u3000'", "'\\u200b7\\u2060'", "'7.0E0'", "'7e+0'",
    ],
)  # fmt: skip
def test_one_number_is_one_id_whatever_its_type(spark, sql):
    assert judged(spark, sql) == ("7", None)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("'0108775008'", "0108775008"),
        ("'007'", "007"),
        ("'007.0'", "007.0"),
        ("'1e3'", "1e3"),
        ("'12e45678'", "12e45678"),
        ("'+7'", "+7"),
        ("'7.50'", "7.50"),
        ("7.50BD", "7.50"),
        ("7.5D", "7.5"),
        ("'1.10'", "1.10"),
        ("'-0'", "0"),
        ("'-0.0'", "0"),
        ("-0.0D", "0"),
        ("'-7.0'", "-7"),
        ("'1.0E10'", "10000000000"),
        ("'1541815603606036481'", "1541815603606036481"),
        ("'1541815603606036481.0'", "1541815603606036481"),
        ("1541815603606036481", "1541815603606036481"),
        ("18446744073709551615BD", "18446744073709551615"),
        (f"double({LARGEST})", str(LARGEST)),
        ("float(16777215)", "16777215"),
        ("X'7E64FF'", "7e64ff"),
        ("'a b.c+d'", "a b.c+d"),
        ("'[draft] one'", "[draft] one"),
        (f"repeat('x', {MAX_ID_CHARACTERS})", "x" * MAX_ID_CHARACTERS),
    ],
)
def test_an_id_is_text_in_one_form(spark, sql, text):
    assert judged(spark, sql) == (text, None)


_LOST = "user is a float too large to have kept its last digits"
_WORD = "user is a word for a missing value"


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("cast(null AS string)", "missing user"),
        ("'  '", "missing user"),
        ("double('NaN')", "missing user"),
        ("X''", "missing user"),
        ("' NaN'", _WORD),
        ("'None'", _WORD),
        ("'NULL'", _WORD),
        ("'\\\\N'", _WORD),
        ("double('Infinity')", _LOST),
        ("1e300D", _LOST),
        (f"double({LARGEST + 1})", _LOST),
        ("float(16777216)", _LOST),
        ("'1.0E300'", _LOST),
        ("'\"Infinity\"'", _LOST),
        ("'1.2345678901234568e+18'", _LOST),
        (f"repeat('x', {MAX_ID_CHARACTERS + 1})", "user is longer than 256 characters"),
        ("'a\\tb'", "user contains control characters"),
        ("cast(X'7bff' AS string)", "user is not valid UTF-8"),
        ("'{\"id\": 1}'", "user is not a single value"),
        ("'[1, 2]'", "user is not a single value"),
        ("array(1)", "user is not a single value"),
        ("struct(1)", "user is not a single value"),
        ("map('a', 1)", "user is not a single value"),
        ("cast(null AS array<int>)", "missing user"),
    ],
)
def test_an_id_is_refused_with_its_reason(spark, sql, problem):
    assert judged(spark, sql)[1] == problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (r'{"u": "\ud83d"}', "user is not valid UTF-8"),
        (r'{"u": "a\uDC00b"}', "user is not valid UTF-8"),
        (r'{"u": "?", "title": "\ud83d\ude00"}', None),
    ],
)
def test_half_a_character_is_no_id(spark, line, problem):
    frame = spark.createDataFrame([(line,)], "__raw string").selectExpr(
        "__raw", "from_json(__raw, 'u string').u AS x"
    )
    frame = frame.withColumn("x_text", text_id(frame, "x"))
    assert frame.select(id_problem(frame, "x", "x_text", "user", ())).first()[0] == problem


def test_a_source_says_what_stands_for_a_missing_id(spark):
    assert judged(spark, "'None'", missing=()) == ("None", None)
    assert judged(spark, "'-1.0'", missing=("-1",))[1] == _WORD


@pytest.mark.parametrize(
    ("sql", "text", "as_number", "as_whole"),
    [
        ("' '", None, None, None),
        ("'home'", "home", None, None),
        ("'2.5'", "2.5", 2.5, None),
        ("'2.0'", "2.0", 2.0, 2),
        ("3000000000", "3000000000", 3e9, None),
        ("cast(null AS string)", None, None, None),
        ("array(2)", "[2]", None, None),
        ("DATE'2026-03-01'", "2026-03-01", None, None),
        ("X'32'", "2", None, None),
    ],
)
def test_optional_values_are_null_where_they_are_of_another_type(spark, sql, text, as_number, as_whole):
    assert value(spark, sql, present_text) == text
    assert value(spark, sql, number) == as_number
    assert value(spark, sql, whole_number) == as_whole


def test_text_is_made_valid(spark):
    assert value(spark, "cast(X'41ff' AS string)", present_text) == "A\ufffd"


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
