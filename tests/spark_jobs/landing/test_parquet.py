"""Parquet: schemas that differ, damage, and times in nanoseconds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime

import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError
from pyarrow.parquet import read_metadata, write_table

from spark_jobs.landing import parquet
from spark_jobs.landing.event_lines import checked_lines
from spark_jobs.landing.files import LandedFile, find
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


def test_odd_names_and_types_are_read_and_what_cannot_be_is_named(spark, landing, by_name):
    at, plain = [datetime(2026, 1, 1)] * 300, {"i": ["x"] * 300}

    def written(name, users, **columns):
        write_table(pa.table({"u": users, **plain, "t": at, **columns}), landing / f"{name}.parquet")

    written("12:30", ["a"] * 300, **{"odd `name`; {}": at})
    (landing / ".12:30.parquet.crc").write_bytes(b"crc\0 of another file")
    written("uuid", pa.array([number.to_bytes(16) for number in range(300)], pa.uuid()))
    written("time", pa.array(range(300), pa.time64("us")))
    twice = pa.table([at, *2 * [["b"] * 300]], names=["t", "u", "u"]).append_column("i", [plain["i"]])
    write_table(twice, landing / "twice.parquet")
    few = {"u": ["a", "b", "c"], "i": ["x"] * 3, "t": at[:3]}
    write_table(pa.table(few), landing / "torn.parquet")
    torn = bytearray((landing / "torn.parquet").read_bytes())
    torn[30] ^= 0xFF  # in a dictionary, which Spark decodes where it passes over no damage
    (landing / "torn.parquet").write_bytes(torn)
    files = mapped(spark, landing, PARQUET)
    assert by_name(files.line_counts) == {
        name: 300 if name in ("12:30.parquet", "uuid.parquet") else 1
        for name in ("12:30.parquet", "time.parquet", "torn.parquet", "twice.parquet", "uuid.parquet")
    }
    why = by_name(files.unreadable)
    assert why["torn.parquet"].startswith("damaged Parquet file: ")
    assert "column u, which the mapping reads, occurs 2 times" in why["twice.parquet"]
    assert "type that cannot be read: optional int64 u (TIME" in why["time.parquet"]
    users = {row["user_id"] for row in checked(spark, landing, PARQUET)}
    assert {"a", f"{5:032x}"} < users and len(users) == 301


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


def test_columns_that_no_mapping_names_may_be_of_any_type(spark, landing, by_name):
    at, unread = ["2026-01-01"], pa.array([1], pa.time64("ns"))
    uuid = pa.array([b"0123456789abcdef"], pa.uuid().storage_type)
    write_table(pa.table({"u": ["a"], "i": ["x"], "t": at, "n": unread}), landing / "a.parquet")
    odd = {"n": pa.ExtensionArray.from_storage(pa.uuid(), uuid), "m": pa.nulls(1)}
    write_table(pa.table({"u": ["b"], "i": ["x"], "t": at, **odd}), landing / "b.parquet")
    named = pa.table({"u": pa.array([1], pa.time64("ns")), "i": ["x"], "t": at})
    write_table(named, landing / "c.parquet")
    write_table(pa.table({"u": pa.nulls(1), "i": ["x"], "t": at}), landing / "d.parquet")
    none = pa.array([], pa.string())
    write_table(pa.table({"u": none, "i": none, "t": none}), landing / "e.parquet")
    (landing / "f.parquet").write_bytes(b"")
    files = mapped(spark, landing, PARQUET)
    assert by_name(files.unreadable) == {
        "c.parquet": "Parquet file: column u, which the mapping reads, has a type that cannot be read: "
        "optional int64 u (TIME(NANOS,false)); write it as text, a number or a timestamp",
        "f.parquet": "not a readable Parquet file: it has no bytes",
    }
    assert by_name(files.line_counts) == {f"{name}.parquet": int(name != "e") for name in "abcdef"}
    rows = files.through(lambda rows: checked_lines(rows, PARQUET)).collect()
    assert {(row["user_id"], row["problem"]) for row in rows} == {
        ("a", None),
        ("b", None),
        (None, "missing user"),
    }


@pytest.mark.parametrize("names", [{"user": "U"}, {"user": "u", "page": "U"}])
def test_columns_that_differ_in_case_are_told_apart(spark, landing, names):
    write_table(pa.table({"u": ["small"], "U": ["large"], "i": ["x"], "t": [5]}), landing / "a.parquet")
    told = {"files": ("*.parquet",), "format": "parquet", **names}
    ((row,),) = [part.collect() for part in mapped(spark, landing, source(events=told)).parts]
    assert [row[name] for name in names] == [{"u": "small", "U": "large"}[name] for name in names.values()]


def test_fields_of_a_structure_are_read_alone_and_times_in_it_in_nanoseconds(spark, landing):
    kind = pa.struct([("u", pa.string()), ("t", pa.timestamp("ns")), ("odd", pa.time64("ns"))])
    event = pa.array([{"u": "a", "t": T * 10**9 + 1_999, "odd": 5}, None], kind)
    write_table(pa.table({"e": event, "i": ["x", "y"]}), landing / "a.parquet")
    nested = {"files": ("*.parquet",), "format": "parquet", "user": "e.u", "time": "e.t"}
    event, refused = checked(spark, landing, source(events=nested))
    assert (event["user_id"], event["event_at"]) == ("a", datetime(2026, 1, 1, 0, 0, 0, 1))
    assert refused["problem"] == "missing user"


def test_the_number_of_queries_does_not_grow_with_the_number_of_files(spark, landing):
    for number in range(40):
        write_table(pa.table({"u": [f"u{number}"], "i": ["x"], "t": [5]}), landing / f"{number}.parquet")
    many = source(events={"files": ("*.parquet",), "format": "parquet"})
    spark.sparkContext.setJobGroup("many-files", "")
    try:
        (part,) = mapped(spark, landing, many).parts
        assert {row["user"] for row in part.collect()} == {f"u{number}" for number in range(40)}
        jobs = spark.sparkContext.statusTracker().getJobIdsForGroup("many-files")
        assert 0 < len(jobs) < 10
    finally:
        spark.sparkContext.setLocalProperty("spark.jobGroup.id", None)


def test_the_jvm_is_asked_once_a_schema_and_gives_the_same_footers(spark, landing, monkeypatch):
    for number in range(12):
        users = (
            pa.array([f"u{number}", "v"], pa.string()) if number % 2 else pa.array([number, 2], pa.int64())
        )
        table = pa.table({"u": users, "i": ["x", "y"], "t": [5, 6], "odd name": [number, 0]})
        write_table(table, landing / f"{number}.parquet")
    asked, opened = [], parquet._opened_footer

    def counted(spark, configuration, file, ask):
        asked.append(file.name)
        return opened(spark, configuration, file, ask)

    monkeypatch.setattr(parquet, "_opened_footer", counted)
    many = source(events={"files": ("*.parquet",), "format": "parquet"})
    by_arrow = mapped(spark, landing, many)
    assert len(asked) == 2
    # As for files on an object store, which Arrow is not asked about.
    monkeypatch.setattr(LandedFile, "is_local", False)
    configuration = parquet.hadoop_configuration(spark)
    footers = [
        parquet._footer(spark, configuration, file) for file in find(spark, str(landing), ("*.parquet",))
    ]
    assert len(by_arrow.parts) == len({footer.schema for footer in footers}) == 2
    assert set(by_arrow.line_counts.values()) == {footer.rows for footer in footers} == {2}


def flipped(whole: bytes) -> Iterator[bytes]:
    """Versions of a file with one byte of its footer changed."""
    length = int.from_bytes(whole[-8:-4], "little")
    for place in range(len(whole) - 8 - length, len(whole) - 8):
        for mask in (0x01, 0x02, 0x10, 0x80):
            yield whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :]


def by_arrow(content: bytes) -> tuple[str, int, int] | None:
    """Schema, rows that the footer says, and rows of its row groups; None where Arrow refuses it."""
    try:
        metadata = read_metadata(io.BytesIO(content))
        groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        return str(metadata.schema).partition("\n")[2], metadata.num_rows, sum(groups)
    except (pa.ArrowException, OSError, ValueError):
        return None


@pytest.mark.parametrize("rows", [2, 0])
def test_a_footer_that_arrow_reads_and_spark_refuses_stops_no_other_file(spark, landing, by_name, rows):
    table = pa.table({"u": ["a", "b"], "i": ["x", "y"], "t": [5, 6]}).slice(0, rows)
    for name in ("a", "b", "c"):
        write_table(table, landing / f"{name}.parquet")
    (found,) = find(spark, str(landing), ("b.parquet",))
    configuration = parquet.hadoop_configuration(spark)
    whole = (landing / "b.parquet").read_bytes()
    for content in flipped(whole):
        if by_arrow(content) != by_arrow(whole):
            continue
        (landing / "b.parquet").write_bytes(content)
        try:
            parquet._opened_footer(spark, configuration, found, parquet._message)
        except Py4JJavaError:
            break
    else:
        pytest.fail("Spark opens every file that Arrow opens")
    for name in ("a", "b", "c"):
        (landing / f"{name}.parquet").write_bytes(whole)
    for name in ("a", "b", "c"):
        (landing / f"{name}.parquet").write_bytes(content)
        files = mapped(spark, landing, source(events={"files": ("*.parquet",), "format": "parquet"}))
        unreadable = by_name(files.unreadable)
        assert list(unreadable) == [f"{name}.parquet"] and "Parquet file: " in unreadable[f"{name}.parquet"]
        assert sum(part.count() for part in files.parts) == rows  # the others are copies of one file
        (landing / f"{name}.parquet").write_bytes(whole)


def test_rows_are_counted_as_spark_counts_them(spark, landing, by_name):
    table = pa.table({"u": ["a", "b"], "i": ["x", "y"], "t": [5, 6]})
    write_table(table, landing / "a.parquet")
    whole = (landing / "a.parquet").read_bytes()
    schema, _, rows = by_arrow(whole)
    content = next(
        content
        for content in flipped(whole)
        if (read := by_arrow(content)) and read[0] == schema and read[2] == rows and read[1] != rows
    )
    (landing / "a.parquet").write_bytes(content)
    files = mapped(spark, landing, source(events={"files": ("*.parquet",), "format": "parquet"}))
    assert by_name(files.line_counts) == {"a.parquet": 2} and not files.unreadable
