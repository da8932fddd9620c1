"""Kinds of values by column, the same for text and for typed columns."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq

from spark_jobs.landing.kinds import FIRST_LINES, KIND_LETTERS, ONE_OF, measured_columns
from spark_jobs.landing.layouts import LINE_NUMBER
from tests.spark_jobs.landed import jsonl, mapped, mapped_lines, source


def letters(spark, landing, source):
    """The letters of each line, by the columns that they are of."""
    files = mapped(spark, landing, source)
    lines = mapped_lines(files)
    return files.measured.names, [row[KIND_LETTERS] for row in lines if row[LINE_NUMBER] <= 20]


# A value in JSON, its kind in a column that item names, and in one that time names.
VALUES = [
    ("7", "n", "s"),
    ('"007"', "n", "s"),
    ("-1.5e3", "n", "s"),
    ("1767225600", "n", "s"),
    ("1767225600123", "n", "m"),
    ('"1767225600123456"', "n", "u"),
    ("1767225600123456789", "n", "z"),
    ('"2026-01-01T00:00:00Z"', "d", "d"),
    ('"2026-1-1"', "d", "d"),
    ('"01/03/2026"', "t", "t"),
    ('"12ab"', "t", "t"),
    ("true", "b", "b"),
    ("null", "-", "-"),
    ('" "', "-", "-"),
    ('{"a": 1}', "o", "o"),
    ("[1, 2]", "a", "a"),
]


def test_text_has_the_kind_that_it_reads_as(spark, landing):
    jsonl(
        landing / "a.jsonl",
        *[f'{{"u": "x", "i": {value}, "t": {value}}}' for value, _, _ in VALUES],
        "no JSON",
    )
    names, found = letters(spark, landing, source())
    assert names == ("i", "t", "u")
    assert found == [*(f"{as_item}{as_time}t" for _, as_item, as_time in VALUES), None]


def test_a_column_with_named_fields_is_told_beside_its_fields(spark, landing):
    mapping = source(events={"country": "place.country"})
    jsonl(
        landing / "a.jsonl",
        {"u": 1, "i": 1, "t": 1, "place": {"country": "NL"}},
        {"u": 1, "i": 1, "t": 1, "place": "NL"},
        {"u": 1, "i": 1, "t": 1, "place": ["NL"]},
        {"u": 1, "i": 1, "t": 1},
    )
    names, found = letters(spark, landing, mapping)
    assert names == ("i", "place", "place.country", "t", "u")
    assert found == ["notsn", "nt-sn", "na-sn", "n--sn"]


def test_typed_columns_have_the_kinds_of_text(spark, landing):
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    table = {
        "u": pa.array([7, None], pa.int64()),
        "i": pa.array([b"\x01", None], pa.binary()),
        "t": pa.array([at, None], pa.timestamp("us", "UTC")),
        "c": pa.array([[1], None], pa.list_(pa.int64())),
        "d": pa.array([{"x": True}, None], pa.struct([("x", pa.bool_())])),
        "w": pa.array([float("nan"), None], pa.float64()),
    }
    landing.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), landing / "a.parquet")
    events = {"files": ("*.parquet",), "format": "parquet"}
    mapping = source(events=events | {"country": "cast(c as string)", "device": "d.x", "watch_seconds": "w"})
    assert letters(spark, landing, mapping) == (("c", "d", "d.x", "i", "t", "u", "w"), ["aobxdn-", "-------"])


def test_a_sample_of_a_long_file_is_measured(spark, landing):
    jsonl(landing / "a.jsonl", *[{"u": 1, "i": 1, "t": 1}] * (FIRST_LINES + 2 * ONE_OF))
    lines = mapped_lines(mapped(spark, landing, source()))
    measured = [row[LINE_NUMBER] for row in lines if row[KIND_LETTERS] is not None]
    assert measured == [*range(1, FIRST_LINES + 1), FIRST_LINES + ONE_OF, FIRST_LINES + 2 * ONE_OF]


def test_columns_are_those_that_expressions_name():
    named = {"user": [("u",)], "time": [("t",), ("meta", "at")], "where": [("u",)]}
    assert measured_columns(named) == (("meta", "meta.at", "t", "u"), {"t", "meta.at"})
