"""Table `events`: every landed line becomes an event or a refused line with its reason."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import datetime

import pyarrow
import pyarrow.parquet
import pytest

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from spark_jobs.lake import delta
from spark_jobs.landing.expressions import MappingError
from spark_jobs.landing.files import LandingError, find
from spark_jobs.landing.reading import read_mapped
from tests.spark_jobs.landed import content, job, jsonl, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
FULL = source(
    actions=("view", "like"),
    events={
        "action": "a",
        "watch_seconds": "w / 1000",
        "rating": "r",
        "page": "ctx.page",
        "position": "p",
        "where": "kind IS NULL OR kind <> 'test'",
    },
)

OPTIONAL = frozenset(events.OPTIONAL)


@pytest.fixture
def landing(tmp_path):
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder


def reasons(spark, job):
    return [(row["line_number"], row["reason"]) for row in content(spark, job, REJECTED_EVENTS)]


def test_a_line_becomes_a_typed_event(spark, landing):
    jsonl(
        landing / "a.jsonl",
        {
            "u": 7,
            "i": "film 1",
            "t": T + 0.25,
            "a": "like",
            "w": 1500,
            "r": "4.5",
            "ctx": {"page": "home"},
            "p": 2,
            "kind": "",
        },
    )
    result = events.main(spark, job(landing, FULL))
    (event,) = content(spark, job(landing, FULL), EVENTS)
    assert (event["user_id"], event["item_id"], event["action"]) == ("7", "film 1", "like")
    assert event["event_at"] == datetime(2026, 1, 1, 0, 0, 0, 250_000)
    assert (event["watch_seconds"], event["rating"], event["page"], event["position"]) == (
        1.5,
        4.5,
        "home",
        2,
    )
    assert (event["completion_fraction"], event["country"], event["line_number"]) == (None, None, 1)
    assert str(event["event_date"]) == "2026-01-01"
    assert result.figures.accepted == result.figures.lines == 1


def test_no_line_passes_through_python(spark, landing, plan_of):
    jsonl(landing / "a.jsonl", {"u": "x", "i": "1", "t": T, "a": "view", "kind": "", "ctx": {"page": "home"}})
    files = find(spark, str(landing), FULL.events.files)
    mapped = read_mapped(spark, files, FULL.events, events.mapped_expressions(FULL), "events", OPTIONAL)
    plan = plan_of(mapped.through(lambda rows: events.checked_lines(rows, FULL)))
    # A table made from a Python list would be read from Python workers too: a scan of an existing RDD.
    assert "FileScan text" in plan and "Python" not in plan and "ExistingRDD" not in plan


BAD_LINES = [
    ('{"u": "x", "i": "1", "t": 1767225600, "a": "view"', "not valid JSON"),
    ("garbage", "not valid JSON"),
    ('{"u": "x", "i": "1", "t": 1767225600, "a": "view"} {"u": "y"}', "not valid JSON"),
    ('{"u": "x", "i": "1", "t": 1767225600, "a": "view"}, {}', "not valid JSON"),
    ("[1, 2]", "not a JSON object"),
    ("17", "not a JSON object"),
    ("null", "not a JSON object"),
    ("", "empty line"),
    ("   ", "empty line"),
    (b'{"u": "\xff\xfe", "i": "1", "t": 1767225600, "a": "view"}', "not valid UTF-8"),
    ("{}", "missing user"),
    ({"u": None, "i": "1", "t": T, "a": "view"}, "missing user"),
    ({"u": " ", "i": "1", "t": T, "a": "view"}, "missing user"),
    ({"u": "x", "t": T, "a": "view"}, "missing item"),
    ({"u": "x", "i": "1", "a": "view"}, "missing time"),
    ({"u": {"id": 1}, "i": "1", "t": T, "a": "view"}, "user is not a single value"),
    ({"u": "x", "i": [1, 2], "t": T, "a": "view"}, "item is not a single value"),
    ({"u": "x" * 257, "i": "1", "t": T, "a": "view"}, "user is longer than 256 characters"),
    ({"u": "x", "i": "y" * 100_000, "t": T, "a": "view"}, "item is longer than 256 characters"),
    ({"u": "x\u0000", "i": "1", "t": T, "a": "view"}, "user holds control characters"),
    ({"u": "x", "i": "1\n", "t": T, "a": "view"}, "item holds control characters"),
    ({"u": "x", "i": "1", "t": "yesterday", "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": True, "a": "view"}, "time is not an instant"),
    ('{"u": "x", "i": "1", "t": 1e400, "a": "view"}', "time is not an instant"),
    ({"u": "x", "i": "1", "t": "NaN", "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": "Infinity", "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": 10**30, "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": 0, "a": "view"}, "time before the earliest possible"),
    ({"u": "x", "i": "1", "t": -(10**10), "a": "view"}, "time before the earliest possible"),
    ({"u": "x", "i": "1", "t": T * 1000, "a": "view"}, "time after the latest possible"),
    ({"u": "x", "i": "1", "t": T, "a": "buy"}, "unknown action"),
    ({"u": "x", "i": "1", "t": T, "a": None}, "missing action"),
    ({"u": "x", "i": "1", "t": T, "a": "view", "w": -1}, "watch_seconds is negative"),
    ({"u": "x", "i": "1", "t": T, "a": "view", "r": "good"}, "rating is not a number"),
    ({"u": "x", "i": "1", "t": T, "a": "view", "r": "NaN"}, "rating is not finite"),
    ({"u": "x", "i": "1", "t": T, "a": "view", "p": 1.5}, "position is not a whole number"),
    ({"u": "x", "i": "1", "t": T, "a": "view", "p": -1}, "position is negative"),
    (
        {"u": "x", "i": "1", "t": T, "a": "view", "ctx": {"page": "z" * 300}},
        "page is longer than 256 characters",
    ),
    ({"u": "x", "i": "1", "t": T, "a": "view", "ctx": 5}, "a nested field is not an object"),
    ({"u": "x", "i": "1", "t": T, "a": "view", "kind": "test"}, "excluded by the mapping's where"),
]


def test_a_thousand_malformed_lines_are_each_refused_with_their_reason(spark, landing):
    good = [{"u": f"u{n}", "i": "1", "t": T + n, "a": "view"} for n in range(50)]
    copies = [{"u": "u0", "i": "1", "t": T, "a": "view", "id": "same"}] * 40
    mapped = FULL.model_copy(
        update={"events": FULL.events.model_copy(update={"event_id": "coalesce(id, u || t)"})}
    )
    bad = (BAD_LINES * 25)[:960]
    jsonl(landing / "bad.jsonl", *good[:25], *(line for line, _ in bad), *good[25:], copies[0], *copies)
    jsonl(landing / "good.jsonl", {"u": "z", "i": "1", "t": T, "a": "view"})
    result = events.main(spark, job(landing, mapped))
    refused = reasons(spark, job(landing, mapped))
    expected = [(26 + n, reason) for n, (_, reason) in enumerate(bad)]
    assert [entry for entry in refused if entry[1] != events.DUPLICATE] == expected
    assert sum(reason == events.DUPLICATE for _, reason in refused) == 40
    assert len(refused) == 1000
    assert len(content(spark, job(landing, mapped), EVENTS)) == 50 + 1 + 1
    assert result.figures.lines == 50 + 960 + 41 + 1 == 1000 + 52
    counted = Counter(reason for _, reason in bad)
    assert all(result.figures.rejected_by_reason[reason] == count for reason, count in counted.items())
    for row in content(spark, job(landing, mapped), INGESTED_FILES):
        assert row["accepted_count"] + row["rejected_count"] == row["line_count"]


def test_the_refused_line_is_kept_readable_and_cut(spark, landing):
    jsonl(landing / "a.jsonl", b'{"u": "\xff"}', '{"u": "' + "x" * 20_000, {"u": "1", "i": "1", "t": T})
    events.main(spark, job(landing, source()))
    kept = [row["raw"] for row in content(spark, job(landing, source()), REJECTED_EVENTS)]
    assert kept == ['{"u": "\ufffd"}', '{"u": "' + "x" * 9_993]


def test_exact_repeats_in_a_file_are_events_and_a_file_in_another_form_is_not(spark, landing):
    line = {"u": "a", "i": "1", "t": T}
    jsonl(landing / "1.jsonl", line, line, {"u": "b", "i": "1", "t": T})
    jsonl(landing / "2.jsonl", {"t": T, "u": "a", "i": "1"}, line, line)
    result = events.main(spark, job(landing, source()))
    assert result.figures.accepted == 4
    assert result.figures.rejected_by_reason["duplicate event_id"] == 2
    found = content(spark, job(landing, source()), EVENTS)
    assert Counter(row["user_id"] for row in found) == {"a": 3, "b": 1}
    raw = [row["raw"] for row in content(spark, job(landing, source()), REJECTED_EVENTS)]
    assert all(json.loads(text) == line for text in raw)


def test_a_second_run_writes_nothing_and_a_copy_of_a_file_is_skipped(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T})
    first = events.main(spark, job(landing, source()))
    (landing / "copy.jsonl").write_bytes((landing / "1.jsonl").read_bytes())
    again = events.main(spark, job(landing, source(), cycle="2026-03-29"))
    assert again.versions == first.versions
    assert (
        again.figures.files_new,
        again.figures.files_skipped,
        again.figures.files_landed_again,
    ) == (0, 2, 1)


def test_a_late_file_adds_its_events_and_refuses_those_that_are_there(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T}, {"u": "a", "i": "2", "t": T})
    first = events.main(spark, job(landing, source()))
    jsonl(landing / "2.jsonl", {"u": "a", "i": "2", "t": T}, {"u": "a", "i": "3", "t": T - 99})
    second = events.main(spark, job(landing, source(), cycle="2026-03-29"))
    late = job(landing, source())
    assert [row["item_id"] for row in content(spark, late, EVENTS, first.versions["events"])] != []
    assert sorted(row["item_id"] for row in content(spark, late, EVENTS)) == ["1", "2", "3"]
    assert second.figures.rejected_by_reason["duplicate event_id"] == 1
    assert [row["cycle"] for row in content(spark, late, INGESTED_FILES)].count("2026-03-29") == 1


def killed_run(spark, whole, monkeypatch, survives):
    """A run that dies at its first write of a table that is not in `survives`."""
    append_once = delta.append_once

    def killed(session, rows, table, *rest):
        if table.name not in survives:
            raise KeyboardInterrupt
        return append_once(session, rows, table, *rest)

    monkeypatch.setattr(delta, "append_once", killed)
    with pytest.raises(KeyboardInterrupt):
        events.main(spark, whole)
    monkeypatch.undo()


@pytest.mark.parametrize("survives", [(), ("rejected_events",), ("rejected_events", "events")])
def test_a_run_killed_between_two_writes_is_made_good(spark, landing, monkeypatch, survives):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T}, "bad")
    whole = job(landing, source())
    events.main(spark, whole)
    jsonl(landing / "2.jsonl", {"u": "b", "i": "1", "t": T}, "worse")
    killed_run(spark, whole, monkeypatch, survives)
    jsonl(landing / "3.jsonl", {"u": "c", "i": "1", "t": T}, "worst")
    result = events.main(spark, whole)
    assert result.figures.rejected_by_reason["not valid JSON"] == 2
    assert sorted(row["user_id"] for row in content(spark, whole, EVENTS)) == ["a", "b", "c"]
    assert sorted(row["raw"] for row in content(spark, whole, REJECTED_EVENTS)) == ["bad", "worse", "worst"]
    assert len(content(spark, whole, INGESTED_FILES)) == 3


def test_a_changed_mapping_reads_the_landed_files_again(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T * 1000}, {"u": "b", "i": "1", "t": T * 1000})
    wrong, right = source(), source(events={"time_unit": "milliseconds"})
    assert events.main(spark, job(landing, wrong)).figures.accepted == 0
    result = events.main(spark, job(landing, right, cycle="2026-03-29"))
    assert (result.figures.accepted, result.figures.files_read_again) == (2, 1)
    assert len(content(spark, job(landing, right), EVENTS)) == 2
    assert content(spark, job(landing, right), REJECTED_EVENTS) == []
    assert [row["cycle"] for row in content(spark, job(landing, right), INGESTED_FILES)] == ["2026-03-29"]
    # Back again; a file that is gone keeps the events that it gave.
    jsonl(landing / "2.jsonl", {"u": "c", "i": "1", "t": T})
    (landing / "1.jsonl").unlink()
    for mapping, users in ((wrong, ["a", "b", "c"]), (right, ["a", "b"])):
        events.main(spark, job(landing, mapping))
        assert sorted(row["user_id"] for row in content(spark, job(landing, mapping), EVENTS)) == users


def test_a_file_removed_after_a_killed_run_leaves_nothing(spark, landing, monkeypatch):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T})
    whole = job(landing, source())
    # The first ingestion of all, with nothing that was committed before.
    killed_run(spark, whole, monkeypatch, survives=("rejected_events", "events"))
    (landing / "1.jsonl").rename(landing / "_1.jsonl")
    jsonl(landing / "2.jsonl", {"u": "b", "i": "1", "t": T})
    events.main(spark, whole)
    assert [row["user_id"] for row in content(spark, whole, EVENTS)] == ["b"]


def test_a_file_that_could_not_be_read_is_tried_again(spark, landing):
    lines = gzip.compress(b'{"u": "a", "i": "1", "t": 1767225600}\n')
    (landing / "a.jsonl.gz").write_bytes(lines[:-4])
    jsonl(landing / "b.jsonl", {"u": "b", "i": "1", "t": T})
    zipped = job(landing, source(events={"files": ("*.jsonl", "*.jsonl.gz")}))
    events.main(spark, zipped)
    again = events.main(spark, zipped)
    assert (again.figures.files_new, again.figures.files_read_again, again.figures.rejected) == (
        1,
        1,
        1,
    )
    assert len(content(spark, zipped, REJECTED_EVENTS)) == 1
    (landing / "a.jsonl.gz").write_bytes(lines)
    mended = events.main(spark, zipped)
    assert (mended.figures.files_read_again, mended.figures.accepted) == (0, 1)
    assert content(spark, zipped, REJECTED_EVENTS) == []
    assert sorted(row["user_id"] for row in content(spark, zipped, EVENTS)) == ["a", "b"]


def test_of_two_files_landed_together_the_first_by_name_keeps_an_event(spark, landing):
    named = job(landing, source(events={"event_id": "id", "watch_seconds": "w"}))
    for number in range(4):  # whichever of two files has the smaller digest
        event = {"u": "a", "i": "1", "t": T, "id": f"e{number}"}
        jsonl(landing / f"{number}-1.jsonl", event | {"w": 10})
        jsonl(landing / f"{number}-2.jsonl", event | {"w": 600})
    events.main(spark, named)
    assert [row["watch_seconds"] for row in content(spark, named, EVENTS)] == [10] * 4


def test_instants_in_nanoseconds_as_pandas_writes_them(spark, landing):
    parquet = source(events={"files": ("*.parquet",), "format": "parquet", "time_unit": "iso", "rating": "r"})
    at = pyarrow.array([T * 10**9 + 250_000_999, -1], pyarrow.timestamp("ns", tz="UTC"))
    table = pyarrow.table({"u": ["a", "b"], "i": ["x", "x"], "t": at, "r": [1, 2]})
    pyarrow.parquet.write_table(table, landing / "a.parquet", version="2.6")
    events.main(spark, job(landing, parquet))
    (event,) = content(spark, job(landing, parquet), EVENTS)
    assert (event["event_at"], event["rating"]) == (datetime(2026, 1, 1, 0, 0, 0, 250_000), 1.0)
    (refused,) = content(spark, job(landing, parquet), REJECTED_EVENTS)
    assert (
        refused["reason"] == "time before the earliest possible"
        and "1969-12-31T23:59:59.999" in refused["raw"]
    )


def test_a_file_without_a_header_is_refused_and_stops_nothing(spark, landing):
    (landing / "a.csv").write_text("u,i,t\na,1,1767225600\n")
    (landing / "b.csv").write_text("\n\n")
    (landing / "c.csv.gz").write_bytes(gzip.compress(b""))
    plain = job(landing, source(events={"files": ("*.csv", "*.csv.gz"), "format": "csv"}))
    result = events.main(spark, plain)
    assert (result.figures.accepted, result.figures.lines) == (1, 2)
    (refused,) = content(spark, plain, REJECTED_EVENTS)
    assert refused["file_path"] == "b.csv" and "is blank" in refused["reason"]


def test_csv_with_a_header_and_quotes(spark, landing):
    (landing / "a.csv").write_text(
        'who,"the film",when\nann,"Up, again",2026-01-01T00:00:01Z\nbob,Up\nbob,Up,2026-01-02,x\n'
    )
    (landing / "b.csv").write_text(
        "when,who,the film\n2026-01-03 12:00:00+02:00,cid,Up\n12:30,cid,Up\n2026,cid,Up\n"
    )
    csv = source(
        events={
            "files": ("*.csv",),
            "format": "csv",
            "user": "who",
            "item": "the film",
            "time": "when",
            "time_unit": "iso",
        }
    )
    events.main(spark, job(landing, csv))
    found = {
        (row["user_id"], row["item_id"], str(row["event_at"]))
        for row in content(spark, job(landing, csv), EVENTS)
    }
    assert found == {("ann", "Up, again", "2026-01-01 00:00:01"), ("cid", "Up", "2026-01-03 10:00:00")}
    assert Counter(reasons(spark, job(landing, csv))) == Counter(
        {
            (3, "wrong number of fields"): 1,
            (4, "wrong number of fields"): 1,
            (3, "time is not an instant"): 1,
            (4, "time is not an instant"): 1,
        }
    )


def test_compressed_empty_and_damaged_files_do_not_stop_the_others(spark, landing):
    lines = b'{"u": "a", "i": "1", "t": 1767225600}\n' * 2
    (landing / "good.jsonl.gz").write_bytes(gzip.compress(lines))
    (landing / "damaged.jsonl.gz").write_bytes(gzip.compress(lines * 1000)[:-20])
    (landing / "empty.jsonl").write_bytes(b"")
    (landing / "_unfinished.jsonl").write_bytes(b"{")
    zipped = source(events={"files": ("*.jsonl", "*.jsonl.gz")})
    result = events.main(spark, job(landing, zipped))
    assert (result.figures.lines, result.figures.accepted) == (3, 2)
    found = {
        row["file_path"]: tuple(row)[3:6] for row in content(spark, job(landing, zipped), INGESTED_FILES)
    }
    assert found == {"good.jsonl.gz": (2, 2, 0), "damaged.jsonl.gz": (1, 0, 1), "empty.jsonl": (0, 0, 0)}
    assert "damaged gzip file" in reasons(spark, job(landing, zipped))[0][1]


def test_parquet_with_several_schemas_and_damage(spark, landing):
    parquet = source(events={"files": ("*.parquet",), "format": "parquet", "time_unit": "iso"})
    at = datetime(2026, 1, 1)
    write = pyarrow.parquet.write_table
    write(pyarrow.table({"u": [1, 2], "i": ["x", None], "t": [at, at]}), landing / "a.parquet")
    write(pyarrow.table({"t": ["2026-01-01"], "u": [3.0], "i": ["x"], "more": [[1]]}), landing / "b.parquet")
    (landing / "c.parquet").write_bytes(b"PAR1 not really")
    write(
        pyarrow.table({"u": ["x"] * 5000, "i": [str(n) for n in range(5000)], "t": [at] * 5000}),
        landing / "d.parquet",
    )
    damaged = bytearray((landing / "d.parquet").read_bytes())
    damaged[40:4000] = bytes(3960)
    (landing / "d.parquet").write_bytes(damaged)
    events.main(spark, job(landing, parquet))
    assert [row["user_id"] for row in content(spark, job(landing, parquet), EVENTS)] in (
        ["1", "3"],
        ["3", "1"],
    )
    found = {
        row["file_path"]: tuple(row)[3:6] for row in content(spark, job(landing, parquet), INGESTED_FILES)
    }
    assert found == {
        "a.parquet": (2, 1, 1),
        "b.parquet": (1, 1, 0),
        "c.parquet": (1, 0, 1),
        "d.parquet": (1, 0, 1),
    }
    refused = {
        row["file_path"]: (row["raw"], row["reason"])
        for row in content(spark, job(landing, parquet), REJECTED_EVENTS)
    }
    assert refused["a.parquet"] == ('{"u":2,"t":"2026-01-01T00:00:00.000"}', "missing item")
    assert "Parquet" in refused["c.parquet"][1] and "of 5000 rows" in refused["d.parquet"][1]


def test_parquet_columns_may_change_their_type_from_file_to_file(spark, landing):
    parquet = source(events={"files": ("*.parquet",), "format": "parquet", "time_unit": "iso"})
    write = pyarrow.parquet.write_table
    write(pyarrow.table({"u": [1], "i": ["x"], "t": [datetime(2026, 1, 1)]}), landing / "a.parquet")
    write(pyarrow.table({"u": ["ann"], "i": [2.0], "t": ["someday"]}), landing / "b.parquet")
    write(pyarrow.table({"u": ["ann"], "i": [2.0], "t": ["2026-01-02T00:00:00"]}), landing / "c.parquet")
    result = events.main(spark, job(landing, parquet))
    found = {(row["user_id"], row["item_id"]) for row in content(spark, job(landing, parquet), EVENTS)}
    assert found == {("1", "x"), ("ann", "2")}
    assert result.figures.rejected_by_reason["time is not an instant"] == 1


def test_line_numbers_do_not_depend_on_how_a_file_is_cut(spark, landing):
    jsonl(landing / "a.jsonl", *[{"u": str(n), "i": "1", "t": T} for n in range(1, 3001)])
    spark.conf.set("spark.sql.files.maxPartitionBytes", "7000")
    try:
        events.main(spark, job(landing, source()))
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    found = content(spark, job(landing, source()), EVENTS)
    assert len(found) == 3000
    assert all(row["user_id"] == str(row["line_number"]) for row in found)


def test_text_compared_with_a_whole_number_keeps_its_fraction(spark, landing):
    stars = source(
        actions=("liked", "seen"), events={"action": "CASE WHEN r > 3 THEN 'liked' ELSE 'seen' END"}
    )
    jsonl(landing / "a.jsonl", {"u": "a", "i": "1", "t": T, "r": "3.5"}, {"u": "b", "i": "1", "t": T, "r": 3})
    events.main(spark, job(landing, stars))
    assert {row["user_id"]: row["action"] for row in content(spark, job(landing, stars), EVENTS)} == {
        "a": "liked",
        "b": "seen",
    }


def test_a_mapping_that_does_not_fit_is_told_with_the_columns_there_are(spark, landing):
    jsonl(landing / "a.jsonl", {"u": "a", "i": "1", "t": T})
    with pytest.raises(MappingError, match=r"events\.user = 'who' names column who.*columns are: i, t, u"):
        events.main(spark, job(landing, source(events={"user": "who"})))
    with pytest.raises(MappingError, match=r"events\.page = 'upper\(u' is not an SQL expression"):
        events.main(spark, job(landing, source(events={"page": "upper(u"})))
    with pytest.raises(MappingError, match=r"events\.page = 'uper\(u\)' cannot be used"):
        events.main(spark, job(landing, source(events={"page": "uper(u)"})))
    with pytest.raises(LandingError, match=r"no file matches events\.files = \*\.csv"):
        events.main(spark, job(landing, source(events={"files": ("*.csv",)})))


def test_an_optional_column_may_be_absent_from_later_files(spark, landing):
    paged = source(events={"page": "where_seen", "country": "ctx.country"})
    context = {"where_seen": "home", "ctx": {"country": "NL"}}
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T} | context)
    events.main(spark, job(landing, paged))
    jsonl(landing / "2.jsonl", {"u": "b", "i": "1", "t": T})
    result = events.main(spark, job(landing, paged))
    assert result.figures.absent_columns == ("ctx", "where_seen")
    assert {row["user_id"]: row["page"] for row in content(spark, job(landing, paged), EVENTS)} == {
        "a": "home",
        "b": None,
    }


def test_odd_file_names_are_read(spark, landing):
    odd = landing / "date=2026-01-01" / "a [1] 50%25 é{x}.jsonl"
    jsonl(odd, {"u": "a", "i": "1", "t": T})
    events.main(spark, job(landing, source(events={"files": ("**/*.jsonl",)})))
    (file,) = content(spark, job(landing, source()), INGESTED_FILES)
    assert (file["file_path"], file["accepted_count"]) == ("date=2026-01-01/a [1] 50%25 é{x}.jsonl", 1)
