"""Lines as events: typed columns, derived ids, and which of several equal lines is the event."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from spark_jobs.landing.event_lines import (
    CHECKED_LINES,
    CONFLICT,
    DUPLICATE,
    OPTIONAL,
    REPEATED,
    REPLACED,
    REPLACED_BY_ANOTHER,
    accepted_events,
    checked_lines,
    mapped_expressions,
    numbered_occurrences,
    refuse_known,
)
from spark_jobs.landing.files import LandedFile
from tests.spark_jobs.landed import checked, jsonl, mapped, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC


def file(name):
    return LandedFile(f"/{name}", name, 1, f"id of {name}", None)


def lines_of(spark, *rows):
    """Checked lines from (file name, line number, user, event_id or None, problem or None, rating or None)."""
    frame = spark.createDataFrame([], CHECKED_LINES)
    blank = dict.fromkeys(frame.columns)
    full = [
        blank
        | {
            "file_id": f"id of {name}",
            "line_number": number,
            "user_id": user,
            "item_id": "i",
            "event_at": datetime(2026, 1, 1),
            "event_date": date(2026, 1, 1),
            "action": "view",
            "event_id": event_id,
            "problem": problem,
            "rating": rating[0] if rating else None,
        }
        for name, number, user, event_id, problem, *rating in rows
    ]
    return spark.createDataFrame([tuple(row[name] for name in frame.columns) for row in full], frame.schema)


def numbered(spark, *rows, **rules):
    """(file, line, event_id, problem) of the lines after numbering, in their order."""
    files = [file(name) for name in sorted({row[0] for row in rows})]
    frame = numbered_occurrences(lines_of(spark, *rows), source(**rules), files)
    return [
        (row["file_id"].removeprefix("id of "), row["line_number"], row["event_id"], row["problem"])
        for row in frame.orderBy("file_id", "line_number").collect()
    ]


def test_only_the_fields_that_the_mapping_gives_are_mapped():
    assert mapped_expressions(source(events={"page": "ctx.page"})) == {
        "user": "u",
        "item": "i",
        "time": "t",
        "page": "ctx.page",
    }


def test_a_source_sets_its_own_bounds_of_time_exactly(spark, landing):
    bounded = source(
        earliest=datetime(1969, 12, 31, 23, 59, 58, 250_000, tzinfo=UTC), latest=datetime(2026, 1, 1)
    )
    times = ("-1.750001", "-1.75", T, f"{T}.000001")
    jsonl(landing / "a.jsonl", *({"u": "a", "i": "1", "t": at} for at in times))
    assert [row["problem"] for row in checked(spark, landing, bounded)] == [
        "time is before the earliest allowed",
        None,
        None,
        "time is after the latest allowed",
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"r": "-3"}, None),
        ({"w": "0"}, None),
        ({"w": "-0.5"}, "watch_seconds is negative"),
        ({"r": "Infinity"}, "rating is not finite"),
        ({"r": ""}, None),
        ({"p": "2.0"}, None),
        ({"p": "2.5"}, "position is not a whole number"),
        ({"page": "x" * 257}, "page is longer than 256 characters"),
    ],
)
def test_optional_fields_are_checked_where_they_are_given(spark, landing, values, problem):
    fields = {"watch_seconds": "w", "rating": "r", "position": "p", "page": "page"}
    jsonl(
        landing / "a.jsonl",
        {"u": "a", "i": "1", "t": T, "w": None, "r": None, "p": None, "page": None} | values,
    )
    (row,) = checked(spark, landing, source(events=fields))
    assert row["problem"] == problem


def test_the_refused_line_is_kept_readable_and_cut(spark, landing):
    jsonl(landing / "a.jsonl", b'{"u": "\xff"}', '{"u": "' + "x" * 20_000, {"u": "1", "i": "1", "t": T})
    kept = [row["raw"] for row in checked(spark, landing, source())]
    assert kept == ['{"u": "\ufffd"}', '{"u": "' + "x" * 9_993, None]


def test_no_line_passes_through_python(spark, landing, plan_of):
    full = source(
        actions=("view", "like"),
        events={"action": "a", "rating": "r", "page": "ctx.page", "where": "kind IS NULL OR kind <> 'test'"},
    )
    jsonl(landing / "a.jsonl", {"u": "x", "i": "1", "t": T, "a": "view", "kind": "", "ctx": {"page": "home"}})
    files = mapped(spark, landing, full, may_be_absent=frozenset(OPTIONAL))
    plan = plan_of(files.through(lambda rows: checked_lines(rows, full)))
    # A table made from a Python list would be read from Python workers too: a scan of an existing RDD.
    assert "FileScan text" in plan and "Python" not in plan and "ExistingRDD" not in plan


def test_exact_repeats_in_a_file_have_ids_of_their_own_and_those_of_another_file_are_duplicates(spark):
    rows = numbered(
        spark,
        ("1", 1, "a", None, None),
        ("1", 2, "a", None, None),
        ("1", 3, "b", None, None),
        ("2", 1, "a", None, None),
        ("2", 2, "a", None, None),
        ("2", 3, "a", None, None),
    )
    assert [problem for *_, problem in rows] == [None, None, None, DUPLICATE, DUPLICATE, None]
    ids = [event_id for _, _, event_id, _ in rows]
    assert ids[:2] == ids[3:5] and len(set(ids)) == 4
    assert all(len(event_id) == 32 for event_id in ids)


def test_a_given_id_stays_and_its_first_line_by_file_name_is_the_event(spark):
    rows = numbered(spark, ("b", 1, "u", "e1", None), ("a", 9, "u", "e1", None), ("a", 10, "v", "e1", None))
    assert rows == [("a", 9, "e1", None), ("a", 10, "e1", CONFLICT), ("b", 1, "e1", DUPLICATE)]


def test_the_last_line_of_an_id_is_the_event_where_the_source_keeps_it(spark):
    rows = numbered(
        spark,
        ("a", 1, "u", "beat", None, 1.0),
        ("a", 2, "u", "beat", None, 2.0),
        ("b", 1, "u", "beat", None, 3.0),
        ("b", 2, "u", "beat", None, 3.0),
        ("a", 3, "u", "session", None),
        ("a", 4, "v", "session", None),
        on_conflict="keep_last",
    )
    assert [(name, line, problem) for name, line, _, problem in rows] == [
        ("a", 1, REPLACED),
        ("a", 2, REPLACED),
        ("a", 3, REPLACED_BY_ANOTHER),
        ("a", 4, None),
        ("b", 1, DUPLICATE),
        ("b", 2, None),
    ]


def test_exact_repeats_are_marked_and_refused_where_the_source_says_so(spark):
    rows = [("a", 1, "u", None, None, 1.0), ("a", 2, "u", None, None, 2.0), ("a", 3, "u", None, None, 1.0)]
    frame = numbered_occurrences(lines_of(spark, *rows), source(), [file("a")]).orderBy("line_number")
    assert [row["repeats"] for row in frame.collect()] == [False, False, True]
    refused = numbered(spark, *rows, repeats="refuse")
    assert [problem for *_, problem in refused] == [None, None, REPEATED]


def test_a_field_that_cannot_be_computed_refuses_its_line_alone(spark, landing):
    jsonl(
        landing / "a.jsonl",
        {"u": "a", "i": "1", "t": T, "p": "[a-z]", "x": True},
        {"u": "a", "i": "2", "t": T, "p": "(", "x": True},
    )
    mapping = {"page": "regexp_extract('home', p, 0)"}
    assert [row["problem"] for row in checked(spark, landing, source(events=mapping))] == [
        None,
        "page cannot be computed on this line",
    ]
    mapping = {"where": "regexp_extract('home', p, 0) <> ''"}
    assert [row["problem"] for row in checked(spark, landing, source(events=mapping))] == [
        None,
        "where cannot be computed on this line",
    ]


def test_ids_of_every_format_are_one(spark, landing):
    jsonl(landing / "a.jsonl", *({"u": u, "i": i, "t": T} for u, i in ((7, 1.0), (7.0, " 1"), ("7", "1.00"))))
    (landing / "b.csv").write_text(f"u,i,t\n7,1,{T}\n7.0,1.0,{T}\n 7,1 ,{T}\n")
    spark.sql(f"SELECT 7.00BD AS u, 1D AS i, {T} AS t").write.parquet(str(landing / "c"))
    for pattern, kind in (("a.jsonl", "jsonl"), ("b.csv", "csv"), ("c/*.parquet", "parquet")):
        rows = checked(spark, landing, source(events={"files": (pattern,), "format": kind}))
        assert {(row["user_id"], row["item_id"], row["problem"]) for row in rows} == {("7", "1", None)}


def test_refused_lines_are_never_duplicates(spark):
    rows = numbered(spark, *(("a", number, "u", "e1", "missing time") for number in (1, 2, 3)))
    assert {problem for *_, problem in rows} == {"missing time"}


def test_known_ids_are_refused_and_a_line_keeps_its_first_reason(spark):
    lines = lines_of(
        spark, ("a", 1, "u", "old", None), ("a", 2, "u", "new", None), ("a", 3, "u", "old", "missing time")
    )
    lines = numbered_occurrences(lines, source(), [file("a")])
    old = lines.where("line_number = 1").select("event_id", "content").first()
    schema = "event_id string, known_content bigint, known_about bigint"
    known = spark.createDataFrame([(*old, 0)], schema)
    marked = refuse_known(lines, known, source())
    assert marked.columns == lines.columns
    assert [row["problem"] for row in marked.orderBy("line_number").collect()] == [
        DUPLICATE,
        None,
        "missing time",
    ]
    other = spark.createDataFrame([("old", old["content"] + 1, 0)], schema)
    first = [
        refuse_known(lines, other, source(on_conflict=rule)).where("line_number = 1").first()["problem"]
        for rule in ("refuse", "keep_last")
    ]
    assert first == [CONFLICT, None]
    (event,) = accepted_events(marked).collect()
    assert (event["event_id"], str(event["event_date"])) == ("new", "2026-01-01")
