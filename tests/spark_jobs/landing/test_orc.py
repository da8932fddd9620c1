"""ORC: schemas that differ, damage, odd names and types, and times."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest
from pyarrow.orc import ORCFile, write_table

from spark_jobs.landing.event_lines import checked_lines
from spark_jobs.landing.files import find
from tests.spark_jobs.landed import checked, mapped, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
ORC = source(events={"files": ("*.orc",), "format": "orc", "time_unit": "iso"})


def test_good_files_are_read_whatever_their_types_and_the_others_are_named(spark, landing):
    at = [datetime(2026, 1, 1)] * 3
    plain = {"u": ["a", "b", ""], "i": ["x"] * 3, "t": at}
    write_table(pa.table(plain), landing / "a.orc")
    retyped = {
        "t": ["2026-01-01"],
        "u": [3.0],
        "i": [7],
        "odd `name`": pa.array([[1]]),
        "w": [datetime(2026, 1, 1)],
    }
    write_table(
        pa.table(retyped | {"w": pa.array(retyped["w"], pa.timestamp("us", "UTC"))}), landing / "b.orc"
    )
    (landing / "c.orc").write_bytes((landing / "a.orc").read_bytes()[:-20])
    (landing / "d.orc").write_bytes(b"")
    (landing / "e.orc").write_bytes(b"u,i,t\n1,2,3\n" * 100)
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    write_table(pa.table({"u": union, "i": ["x"], "t": ["2026-01-01"]}), landing / "f.orc")
    write_table(pa.table({"u": ["f"], "i": ["x"], "t": ["2026-01-01"], "n": union}), landing / "g.orc")
    write_table(pa.table({"i": ["x"], "t": ["2026-01-01"]}), landing / "h.orc")
    none = pa.array([], pa.string())
    write_table(pa.table({"u": none, "i": none, "t": none}), landing / "i.orc")
    files = mapped(spark, landing, ORC)
    names = {file.file_id: file.name for file in find(spark, str(landing), ("*.orc",))}
    why = {names[file_id]: reason for file_id, reason in files.unreadable.items()}
    assert sorted(why) == ["c.orc", "d.orc", "e.orc", "f.orc", "h.orc"]
    assert all(why[name].startswith("not a readable ORC file: ") for name in ("c.orc", "d.orc", "e.orc"))
    assert "column u, which the mapping reads, has a type that cannot be read: sparse_union" in why["f.orc"]
    assert "names column u, which this file does not have" in why["h.orc"]
    counts = {names[file_id]: count for file_id, count in files.line_counts.items()}
    assert counts == {f"{name}.orc": {"a": 3, "i": 0}.get(name, 1) for name in "abcdefghi"}
    rows = files.through(lambda rows: checked_lines(rows, ORC)).collect()
    assert {(row["line_number"], row["user_id"], row["item_id"], row["problem"]) for row in rows} == {
        (1, "a", "x", None),
        (2, "b", "x", None),
        (3, "", "x", "missing user"),
        (1, "3", "7", None),
        (1, "f", "x", None),
    }


def test_a_damaged_stripe_makes_the_file_unreadable(spark, landing):
    many = {"u": [f"user {n}" for n in range(30_000)], "i": ["x"] * 30_000, "t": [T] * 30_000}
    write_table(pa.table(many), landing / "a.orc", compression="zlib", stripe_size=1 << 16)
    write_table(pa.table({"u": ["a"], "i": ["x"], "t": [T]}), landing / "b.orc")
    damaged = bytearray((landing / "a.orc").read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 400] = b"\xa5" * 400
    (landing / "a.orc").write_bytes(damaged)
    files = mapped(spark, landing, source(events={"files": ("*.orc",), "format": "orc"}))
    (reason,) = files.unreadable.values()
    assert reason.startswith("damaged ORC file: ")
    assert sorted(files.line_counts.values()) == [1, 1]


def test_rows_are_numbered_over_stripes(spark, landing):
    many = {"u": [f"u{n}" for n in range(30_000)], "i": ["x"] * 30_000, "t": [T] * 30_000}
    write_table(pa.table(many), landing / "a.orc", stripe_size=1 << 16, batch_size=1024)
    assert ORCFile(landing / "a.orc").nstripes > 2
    rows = checked(spark, landing, source(events={"files": ("*.orc",), "format": "orc"}))
    assert all(row["user_id"] == f"u{row['line_number'] - 1}" for row in rows) and len(rows) == 30_000


def test_times_are_utc_and_rounded_down_in_structures_too(spark, landing):
    kind = pa.struct([("u", pa.string()), ("t", pa.timestamp("ns"))])
    event = pa.array([{"u": "a", "t": T * 10**9 + 1_999}, None], kind)
    zoned = pa.array([T * 10**9 + 2_999] * 2, pa.timestamp("ns", "UTC"))
    write_table(pa.table({"e": event, "i": ["x", "y"], "z": zoned}), landing / "a.orc")
    nested = {"files": ("*.orc",), "format": "orc", "user": "e.u", "time": "e.t"}
    event, refused = checked(spark, landing, source(events=nested))
    assert (event["user_id"], event["event_at"]) == ("a", datetime(2026, 1, 1, 0, 0, 0, 1))
    assert refused["problem"] == "missing user"
    (event, _) = checked(spark, landing, source(events=nested | {"time": "z", "user": "i"}))
    assert event["event_at"] == datetime(2026, 1, 1, 0, 0, 0, 2)


@pytest.mark.parametrize("names", [{"user": "U"}, {"user": "u", "page": "U"}])
def test_columns_that_differ_in_case_are_told_apart(spark, landing, names):
    write_table(pa.table({"u": ["small"], "U": ["large"], "i": ["x"], "t": [5]}), landing / "a.orc")
    told = {"files": ("*.orc",), "format": "orc", **names}
    ((row,),) = [part.collect() for part in mapped(spark, landing, source(events=told)).parts]
    assert [row[name] for name in names] == [{"u": "small", "U": "large"}[name] for name in names.values()]
