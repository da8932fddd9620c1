"""Which files are new, what an interrupted ingestion leaves, and figures that add up."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from expectations.figures import KindLines
from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, location
from spark_jobs import events
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.lake.migrations import PROPERTY
from spark_jobs.landing.event_lines import DUPLICATE
from spark_jobs.landing.files import LandedFile
from spark_jobs.landing.ingestion import (
    FileCounts,
    Ingestion,
    file_figures,
    forget,
    ingested_files,
    log_rows,
    mapping_digest,
    newest_versions,
    refused_by_reason,
    split_new,
    take_out,
    unreadable_rows,
    with_lines,
)
from spark_jobs.landing.reading import EXCLUDED, Mapped
from tests.spark_jobs.landed import content, job, jsonl, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
NOT_SAID = (None,) * 6
"""Columns of `ingested_files` that may be null, but for the first."""


def file(name, file_id=None):
    return LandedFile(f"/{name}", name, 10, file_id or f"id of {name}", None)


def logged(spark, this, *rows):
    """Writes rows (file name, lines, accepted, mapping digest) of `ingested_files`."""
    full = [
        (f"id of {name}", name, 10, lines, ok, lines - ok, digest, "c", 1, *NOT_SAID)
        for name, lines, ok, digest in rows
    ]
    frame = local_rows(spark, full, INGESTED_FILES.ddl)
    delta.replace(spark, frame, INGESTED_FILES, this.lake, this.source.name, "true")


def refused(spark, *rows):
    """Rows of `rejected_events` from (file name, line)."""
    full = [(f"id of {name}", name, line, "raw", "bad", None) for name, line in rows]
    return local_rows(spark, full, REJECTED_EVENTS.ddl)


def test_new_files_are_those_with_new_bytes_each_once():
    files = [file("a"), file("b"), file("copy of b", "id of b"), file("c")]
    new, skipped = split_new(files, {"id of a"})
    assert [landed.name for landed in new] == ["b", "c"]
    assert [landed.name for landed in skipped] == ["a", "copy of b"]


def test_the_digest_is_of_what_decides_a_line_and_of_nothing_else():
    digest = mapping_digest(source())
    assert mapping_digest(source(events={"files": ("other/*.jsonl",)})) == digest
    assert mapping_digest(source(high_value="false", title="films")) == digest
    assert mapping_digest(source(events={"time_unit": "milliseconds"})) != digest
    assert mapping_digest(source(events={"action": "a"})).split(".")[0] != digest.split(".")[0]
    late = mapping_digest(source(earliest="2025-01-01"))
    assert late.split(".")[0] == digest.split(".")[0] and late != digest


def test_forgotten_files_leave_the_log_and_no_other_does(spark, landing):
    this = job(landing, source())
    logged(spark, this, ("kept", 1, 1, "m.r"), ("changed", 1, 1, "old"))
    before = ingested_files(spark, this.lake, this.source.name)
    left = forget(spark, this, before, {"id of changed": "why"})
    assert sorted(left) == ["id of kept"] == sorted(ingested_files(spark, this.lake, this.source.name))
    version = delta.latest_version(spark, this.lake, this.source.name, INGESTED_FILES)
    assert forget(spark, this, left, {}) == left
    assert delta.latest_version(spark, this.lake, this.source.name, INGESTED_FILES) == version


def test_a_write_appends_once_and_replaces_what_a_killed_run_left(spark, landing):
    this = job(landing, source())
    assert ingested_files(spark, this.lake, this.source.name) == {}
    logged(spark, this, ("old", 1, 0, "digest"))
    delta.replace(spark, refused(spark, ("old", 1)), REJECTED_EVENTS, this.lake, this.source.name, "true")
    ingested = ingested_files(spark, this.lake, this.source.name)
    first = Ingestion(spark, this, [file("new")], ingested)
    assert not first.interrupted(REJECTED_EVENTS)
    first.write(refused(spark, ("new", 1), ("new", 2)), REJECTED_EVENTS, 2)
    # The run dies here, before `ingested_files` names the file; its rerun finds another set of files.
    again = Ingestion(spark, this, [file("newer")], ingested)
    assert again.interrupted(REJECTED_EVENTS)
    again.write(refused(spark, ("newer", 1)), REJECTED_EVENTS, 1)
    assert [row["file_path"] for row in content(spark, this, REJECTED_EVENTS)] == ["newer", "old"]


def test_a_write_of_no_rows_creates_the_table(spark, landing):
    this = job(landing, source())
    assert newest_versions(spark, this.lake, this.source.name) == {}
    assert Ingestion(spark, this, [], {}).write(refused(spark), REJECTED_EVENTS, 0) == 0
    assert newest_versions(spark, this.lake, this.source.name) == {"rejected_events": 0}
    assert not Ingestion(spark, this, [], {}).interrupted(EVENTS)


def test_figures_add_up(spark):
    new, skipped = [file("a"), file("b"), file("bad")], [file("renamed", "id of x"), file("x")]
    rows = {"id of x": {"file_path": "x"}}
    before = rows | {"id of a": {"file_path": "a", "accepted_count": 4}}
    figures = file_figures(new, skipped, rows, before, {"id of a": "why"}, landed=6)
    assert (figures.files_withdrawn, figures.outdated_by_reason, figures.events_left) == (1, {"why": 1}, 4)
    assert (figures.files_new, figures.files_read_again) == (3, 1)
    assert (figures.files_skipped, figures.files_landed_again, figures.bytes) == (2, 1, 30)
    mapped = Mapped(
        [], {"id of a": 5, "id of b": 2, "id of bad": 1}, {"id of bad": "damaged"}, absent=("page",)
    )
    counts = {"id of a": FileCounts({None: 3, "bad": 2}), "id of b": FileCounts({None: 1, "bad": 1})}
    whole = with_lines(figures, mapped, counts)
    assert (whole.lines, whole.accepted, whole.rejected) == (8, 4, 4)
    assert whole.rejected_by_reason == {"bad": 3, "damaged": 1} and whole.absent_columns == ("page",)
    assert unreadable_rows(spark, new, mapped).collect() == [("id of bad", "bad", 1, "", "damaged", None)]


def test_lines_that_do_not_add_up_are_an_error(landing):
    this, mapped = (
        job(landing, source()),
        Mapped([], {"id of a": 5, "id of bad": 1}, {"id of bad": "damaged"}),
    )
    digest = mapping_digest(this.source)
    kinds = {"u": {"text": KindLines(5, 1)}}
    counted = FileCounts({None: 3, EXCLUDED: 1, DUPLICATE: 1}, repeats=2, nulls={"page": 3}, kinds=kinds)
    counts = {"id of a": counted}
    assert log_rows([file("a"), file("bad")], mapped, counts, this, 4) == [
        (
            "id of a",
            "a",
            10,
            5,
            3,
            2,
            digest,
            "2026-03-01",
            4,
            None,
            1,
            1,
            2,
            '{"page": 3}',
            '{"u": {"text": [5, 1]}}',
        ),
        ("id of bad", "bad", 10, 1, 0, 1, "", "2026-03-01", 4, None, 0, 0, 0, "{}", None),
    ]
    with pytest.raises(RuntimeError, match=r"a: 3 accepted \+ 1 refused lines do not add up to its 5 lines"):
        log_rows([file("a")], mapped, {"id of a": FileCounts({None: 3, "bad": 1})}, this, 4)


OLD_COLUMNS = (
    "file_id string, file_path string, size_bytes bigint, line_count bigint, accepted_count bigint, "
)
OLD_COLUMNS += "rejected_count bigint, mapping_digest string, cycle string"


def test_a_lake_of_the_release_before_is_brought_up_and_keeps_its_events(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T})
    jsonl(landing / "2.jsonl", *({"u": user, "i": "1", "t": T} for user in ("b", "a", "test")), "bad")
    new = job(landing, source(events={"where": "u <> 'test'"}))
    events.main(spark, new)
    # The same tables as that release wrote them: no number, no columns, and a digest of one half.
    this = new.model_copy(update={"lake": f"{new.lake}-of-before"})
    for table in (EVENTS, REJECTED_EVENTS):
        shutil.copytree(location(new.lake, "films", table.name), location(this.lake, "films", table.name))
    before = replace(INGESTED_FILES, columns=INGESTED_FILES.columns[:8])
    rows = [(*row[:6], "0123456789abcdef", row["cycle"]) for row in content(spark, new, INGESTED_FILES)]
    delta.replace(spark, local_rows(spark, rows, OLD_COLUMNS), before, this.lake, "films", "true")
    address = location(this.lake, "films", "ingested_files")
    spark.sql(f"ALTER TABLE delta.`{address}` UNSET TBLPROPERTIES ('{PROPERTY}')")
    old = delta.latest_version(spark, this.lake, "films", INGESTED_FILES)
    by_path = {row["file_path"]: row for row in ingested_files(spark, this.lake, "films").values()}
    filled = ("ingestion", "excluded_count", "duplicate_count", "repeat_count")
    assert [by_path["1.jsonl"][name] for name in filled] == [0, 0, 0, None]
    assert [by_path["2.jsonl"][name] for name in filled] == [0, 1, 1, None]
    (landing / "2.jsonl").unlink()  # since a cycle passed it
    result = events.main(spark, this.model_copy(update={"passed_ingestion": old}))
    assert result.figures.files_read_again == 1
    assert sorted(row["user_id"] for row in content(spark, this, EVENTS)) == ["a", "b"]


def test_a_file_that_is_taken_out_lets_repeats_of_it_be_read_again(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T}, "bad")
    jsonl(landing / "2.jsonl", {"u": "a", "i": "1", "t": T})
    this = job(landing, source())
    events.main(spark, this)
    ingested = ingested_files(spark, this.lake, "films")
    (first,) = (file_id for file_id, row in ingested.items() if row["file_path"] == "1.jsonl")
    assert take_out(spark, this, ingested, {first: "why"}) == (1, 1, 1)
    assert content(spark, this, EVENTS) == []
    assert take_out(spark, this, ingested_files(spark, this.lake, "films"), {}) == (0, 0, 0)
    events.main(spark, job(landing, source(), kept_out=("1.jsonl",)))
    assert [row["user_id"] for row in content(spark, this, EVENTS)] == ["a"]
    assert refused_by_reason(spark, this.lake, "films") == {}
