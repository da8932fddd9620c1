"""Avro: schemas that differ, damage, odd types, times, and numbers of rows over blocks."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from spark_jobs.landing import scanning
from spark_jobs.landing.event_lines import checked_lines
from spark_jobs.landing.files import find
from tests.spark_jobs.landed import checked, mapped, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
AVRO = source(events={"files": ("*.avro",), "format": "avro"})


@pytest.fixture
def avro(spark, landing):
    """A function (name, fields, rows of values in Avro's JSON form) → an Avro file."""
    jvm = spark._jvm.org.apache.avro

    def written(name: str, fields: list[dict], *rows: dict, codec: str = "null") -> None:
        schema = jvm.Schema.Parser().parse(json.dumps({"type": "record", "name": "r", "fields": fields}))
        writer = jvm.file.DataFileWriter(jvm.generic.GenericDatumWriter(schema))
        writer.setCodec(jvm.file.CodecFactory.fromString(codec))
        writer.create(schema, spark._jvm.java.io.File(str(landing / name)))
        reader = jvm.generic.GenericDatumReader(schema)
        for row in rows:
            decoder = jvm.io.DecoderFactory.get().jsonDecoder(schema, json.dumps(row))
            writer.append(reader.read(None, decoder))
        writer.close()

    return written


def fields(**kinds: object) -> list[dict]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


PLAIN = fields(u="string", i="string", t="long")
TIME_OF_DAY = {"type": "int", "logicalType": "time-millis"}


def test_good_files_are_read_whatever_their_types_and_the_others_are_named(spark, landing, avro):
    good = {"u": "a", "i": "x", "t": T}
    avro("a.avro", PLAIN, good, good | {"u": ""}, codec="deflate")
    kind = {"type": "enum", "name": "k", "symbols": ["p", "q"]}
    fixed = {"type": "fixed", "name": "f", "size": 2}
    avro(
        "b.avro",
        fields(t=["null", "double"], u=kind, i=fixed),
        {"t": {"double": T}, "u": "p", "i": "\u0001ÿ"},
    )
    avro("c.avro", [*PLAIN, *fields(n=TIME_OF_DAY)], good | {"u": "c", "n": 5})
    avro("d.avro", [*PLAIN[1:], *fields(u=TIME_OF_DAY)], good | {"u": 5})
    avro("e.avro", PLAIN[1:], {"i": "x", "t": T})
    avro("f.avro", PLAIN)
    avro("g.avro", PLAIN, *[good] * 2000)
    torn = (landing / "g.avro").read_bytes()
    (landing / "g.avro").write_bytes(torn[:-30])
    (landing / "h.avro").write_bytes(torn[:20])
    (landing / "i.avro").write_bytes(b"")
    (landing / "j.avro").write_bytes(b"u,i,t\n1,2,3\n")
    files = mapped(spark, landing, AVRO)
    names = {file.file_id: file.name for file in find(spark, str(landing), ("*.avro",))}
    why = {names[file_id]: reason for file_id, reason in files.unreadable.items()}
    assert sorted(why) == [f"{name}.avro" for name in "deghij"]
    assert "column u, which the mapping reads, has a type that cannot be read: " in why["d.avro"]
    assert "names column u, which this file does not have" in why["e.avro"]
    assert why["g.avro"].startswith("damaged Avro file: ")
    assert all(why[f"{name}.avro"].startswith("not a readable Avro file: ") for name in "hij")
    counts = {names[file_id]: count for file_id, count in files.line_counts.items()}
    assert counts == {f"{name}.avro": {"a": 2, "f": 0}.get(name, 1) for name in "abcdefghij"}
    rows = files.through(lambda rows: checked_lines(rows, AVRO)).collect()
    assert {(row["line_number"], row["user_id"], row["item_id"], row["problem"]) for row in rows} == {
        (1, "a", "x", None),
        (2, "", "x", "missing user"),
        (1, "p", "01ff", None),
        (1, "c", "x", None),
    }


def test_rows_are_numbered_over_blocks_and_files(spark, landing, avro, monkeypatch):
    monkeypatch.setattr(scanning, "_SMALLEST_BLOCK", 16_000)
    monkeypatch.setattr(scanning, "_BLOCKS", 8)
    for name in "ab":
        rows = [{"u": f"{name}{number}", "i": "x" * 200, "t": T} for number in range(1000)]
        avro(f"{name}.avro", PLAIN, *rows)
    found = checked(spark, landing, AVRO)
    assert len(found) == 2000
    assert all(row["user_id"][1:] == str(row["line_number"] - 1) for row in found)


def test_times_are_rounded_down_to_microseconds_in_structures_too(spark, landing, avro):
    nanos = {"type": "long", "logicalType": "timestamp-nanos"}
    event = {"type": "record", "name": "e", "fields": fields(u="string", t=nanos)}
    avro(
        "a.avro",
        fields(e=["null", event], i="string", m={"type": "long", "logicalType": "local-timestamp-millis"}),
        {"e": {"e": {"u": "a", "t": T * 10**9 + 1_999}}, "i": "x", "m": T * 1000 + 2},
        {"e": None, "i": "y", "m": T * 1000},
    )
    nested = {"files": ("*.avro",), "format": "avro", "user": "e.u", "time": "e.t", "time_unit": "iso"}
    event, refused = checked(spark, landing, source(events=nested))
    assert (event["user_id"], event["event_at"]) == ("a", datetime(2026, 1, 1, 0, 0, 0, 1))
    assert refused["problem"] == "missing user"
    event, _ = checked(spark, landing, source(events=nested | {"time": "m", "user": "i"}))
    assert event["event_at"] == datetime(2026, 1, 1, 0, 0, 0, 2000)


@pytest.mark.parametrize("names", [{"user": "U"}, {"user": "u", "page": "U"}])
def test_columns_that_differ_in_case_are_told_apart(spark, landing, avro, names):
    avro("a.avro", [*PLAIN, *fields(U="string")], {"u": "small", "U": "large", "i": "x", "t": 5})
    told = {"files": ("*.avro",), "format": "avro", **names}
    ((row,),) = [part.collect() for part in mapped(spark, landing, source(events=told)).parts]
    assert [row[name] for name in names] == [{"u": "small", "U": "large"}[name] for name in names.values()]
