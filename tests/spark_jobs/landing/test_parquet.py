"""Parquet: schemas that differ, damage, and times in nanoseconds."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from spark_jobs.landing.files import find
from tests.spark_jobs.landed import checked, mapped, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
PARQUET = source(events={"files": ("*.parquet",), "format": "parquet", "time_unit": "iso"})


@pytest.fixture
def by_name(spark, landing):
    """A function that renames the keys of a dictionary from file_ids to file names."""

    def renamed(values):
        names = {file.file_id: file.name for file in find(spark, str(landing), ("*.parquet",))}
        return {names[file_id]: value for file_id, value in values.items()}

    return renamed


def test_files_with_several_schemas_are_read_and_damaged_ones_are_named(spark, landing, by_name):
    at = datetime(2026, 1, 1)
    write_table(pa.table({"u": [1, 2], "i": ["x", None], "t": [at, at]}), landing / "a.parquet")
    write_table(pa.table({"t": ["2026-01-01"], "u": [3.0], "i": ["x"], "more": [[1]]}), landing / "b.parquet")
    (landing / "c.parquet").write_bytes(b"PAR1 not really")
    many = {"u": ["x"] * 5000, "i": [str(n) for n in range(5000)], "t": [at] * 5000}
    write_table(pa.table(many), landing / "d.parquet")
    damaged = bytearray((landing / "d.parquet").read_bytes())
    damaged[40:4000] = bytes(3960)
    (landing / "d.parquet").write_bytes(damaged)
    files = mapped(spark, landing, PARQUET)
    assert by_name(files.line_counts) == {"a.parquet": 2, "b.parquet": 1, "c.parquet": 1, "d.parquet": 1}
    unreadable = by_name(files.unreadable)
    assert sorted(unreadable) == ["c.parquet", "d.parquet"]
    assert "Parquet" in unreadable["c.parquet"] and "of 5000 rows" in unreadable["d.parquet"]
    rows = checked(spark, landing, PARQUET)
    assert [(row["line_number"], row["user_id"], row["problem"]) for row in rows] == [
        (1, "1", None),
        (1, "3", None),
        (2, "2", "missing item"),
    ]
    assert rows[2]["raw"] == '{"u":2,"t":"2026-01-01T00:00:00.000"}'


def test_columns_may_change_their_type_from_file_to_file(spark, landing):
    write_table(pa.table({"u": [1], "i": ["x"], "t": [datetime(2026, 1, 1)]}), landing / "a.parquet")
    write_table(pa.table({"u": ["ann"], "i": [2.0], "t": ["someday"]}), landing / "b.parquet")
    write_table(pa.table({"u": ["ann"], "i": [2.0], "t": ["2026-01-02T00:00:00"]}), landing / "c.parquet")
    rows = checked(spark, landing, PARQUET)
    assert {(row["user_id"], row["item_id"], row["problem"]) for row in rows} == {
        ("1", "x", None),
        ("ann", "2", None),
        ("ann", "2", "time is not an instant"),
    }
    assert len(rows) == 3


def test_times_in_nanoseconds_are_rounded_down_to_microseconds(spark, landing):
    at = pa.array([T * 10**9 + 250_000_999, -1], pa.timestamp("ns", tz="UTC"))
    table = pa.table({"u": ["a", "b"], "i": ["x", "x"], "t": at, "r": [1, 2]})
    write_table(table, landing / "a.parquet", version="2.6")
    rated = source(events={"files": ("*.parquet",), "format": "parquet", "time_unit": "iso", "rating": "r"})
    event, refused = checked(spark, landing, rated)
    assert (event["event_at"], event["rating"]) == (datetime(2026, 1, 1, 0, 0, 0, 250_000), 1.0)
    assert refused["problem"] == "time is before the earliest allowed"
    assert "1969-12-31T23:59:59.999" in refused["raw"]
