"""Table `events`: every landed line becomes an event or a refused line with its reason."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import date, datetime

import pytest
from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from spark_jobs.lake import delta
from spark_jobs.landing.erased import ERASED, NO_TEXT, user_digest
from spark_jobs.landing.event_lines import (
    CONFLICT,
    DUPLICATE,
    REPEATED,
    REPLACED,
    REPLACED_BY_ANOTHER,
)
from spark_jobs.landing.files import LandingError
from spark_jobs.landing.ingestion import Ingestion, newest_versions
from spark_jobs.landing.outdated import LOST, SHADOWED
from spark_jobs.landing.outdated import REPLACED as LANDED_AGAIN
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
    ({"u": "x\u0000", "i": "1", "t": T, "a": "view"}, "user contains control characters"),
    ({"u": "x", "i": "1\n", "t": T, "a": "view"}, "item contains control characters"),
    ({"u": "x", "i": "1", "t": "yesterday", "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": True, "a": "view"}, "time is not an instant"),
    ('{"u": "x", "i": "1", "t": 1e400, "a": "view"}', "time is not an instant"),
    ({"u": "x", "i": "1", "t": "NaN", "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": "Infinity", "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": 10**30, "a": "view"}, "time is not an instant"),
    ({"u": "x", "i": "1", "t": 0, "a": "view"}, "time is before the earliest allowed"),
    ({"u": "x", "i": "1", "t": -(10**10), "a": "view"}, "time is before the earliest allowed"),
    ({"u": "x", "i": "1", "t": T * 1000, "a": "view"}, "time is after the latest allowed"),
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
    assert [entry for entry in refused if entry[1] != DUPLICATE] == expected
    assert sum(reason == DUPLICATE for _, reason in refused) == 40
    assert len(refused) == 1000
    assert len(content(spark, job(landing, mapped), EVENTS)) == 50 + 1 + 1
    assert result.figures.lines == 50 + 960 + 41 + 1 == 1000 + 52
    counted = Counter(reason for _, reason in bad)
    assert all(result.figures.rejected_by_reason[reason] == count for reason, count in counted.items())
    for row in content(spark, job(landing, mapped), INGESTED_FILES):
        assert row["accepted_count"] + row["rejected_count"] == row["line_count"]
    (row,) = (row for row in content(spark, job(landing, mapped), INGESTED_FILES) if row["line_count"] > 1)
    excluded = counted["excluded by the mapping's where"]
    assert [row[name] for name in ("excluded_count", "duplicate_count", "repeat_count")] == [excluded, 40, 0]
    assert json.loads(row["null_counts"]) == dict.fromkeys(
        ("watch_seconds", "rating", "page", "position"), 51
    )
    # A refused line has its day wherever its time can be read: an excluded one, a copy.
    days = {row["reason"]: row["event_date"] for row in content(spark, job(landing, mapped), REJECTED_EVENTS)}
    for reason in (DUPLICATE, "excluded by the mapping's where", "rating is not a number"):
        assert days[reason] == date(2026, 1, 1)
    assert days["time is not an instant"] is days["time is before the earliest allowed"] is None


def test_exact_repeats_in_a_file_are_events_and_those_of_a_reformatted_file_are_duplicates(spark, landing):
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


def test_a_late_file_adds_its_new_events_and_refuses_the_others(spark, landing):
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
    """A run that is killed at its first write of a table that is not in `survives`."""
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
def test_a_run_killed_between_two_writes_is_repaired_by_the_next(spark, landing, monkeypatch, survives):
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
    # Back to the first mapping; a file that left after a cycle passed it keeps the events that it gave.
    jsonl(landing / "2.jsonl", {"u": "c", "i": "1", "t": T})
    (landing / "1.jsonl").unlink()
    passed = result.versions["ingested_files"]
    for mapping, users in ((wrong, ["a", "b", "c"]), (right, ["a", "b"])):
        events.main(spark, job(landing, mapping, passed_ingestion=passed))
        assert sorted(row["user_id"] for row in content(spark, job(landing, mapping), EVENTS)) == users


def test_a_file_removed_after_a_killed_run_leaves_nothing(spark, landing, monkeypatch):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T})
    whole = job(landing, source())
    # The very first ingestion: nothing was committed before.
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
    for number in range(4):  # several, so that either file of a pair may have the smaller digest
        event = {"u": "a", "i": "1", "t": T, "id": f"e{number}"}
        jsonl(landing / f"{number}-1.jsonl", event | {"w": 10})
        jsonl(landing / f"{number}-2.jsonl", event | {"w": 600})
    events.main(spark, named)
    assert [row["watch_seconds"] for row in content(spark, named, EVENTS)] == [10] * 4


def test_compressed_empty_and_damaged_files_do_not_stop_the_others(spark, landing):
    lines = b'{"u": "a", "i": "1", "t": 1767225600}\n' * 2
    (landing / "good.jsonl.gz").write_bytes(gzip.compress(lines))
    (landing / "damaged.jsonl.gz").write_bytes(gzip.compress(lines * 1000)[:-20])
    (landing / "empty.jsonl").write_bytes(b"")
    (landing / "_unfinished.jsonl").write_bytes(b"{")
    zipped = source(events={"files": ("*.jsonl", "*.jsonl.gz")})
    result = events.main(spark, job(landing, zipped))
    assert (result.figures.lines, result.figures.accepted) == (3, 2)
    assert result.figures.empty_files == ("empty.jsonl",)
    found = {
        row["file_path"]: tuple(row)[3:6] for row in content(spark, job(landing, zipped), INGESTED_FILES)
    }
    assert found == {"good.jsonl.gz": (2, 2, 0), "damaged.jsonl.gz": (1, 0, 1), "empty.jsonl": (0, 0, 0)}
    assert "damaged gzip file" in reasons(spark, job(landing, zipped))[0][1]


def test_a_log_without_files_is_refused_with_its_pattern(spark, landing):
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


def users(spark, this):
    return [row["user_id"] for row in content(spark, this, EVENTS)]


def test_a_file_landed_again_under_its_name_replaces_its_events_and_lets_repeats_in(spark, landing):
    a, b, c = ({"u": name, "i": "1", "t": T} for name in "abc")
    jsonl(landing / "1.jsonl", a, b, "bad")
    jsonl(landing / "2.jsonl", b)
    whole = job(landing, source())
    assert events.main(spark, whole).figures.rejected == 2
    jsonl(landing / "1.jsonl", a, c, c)  # corrected: b goes, c comes, nothing is faulty
    result = events.main(spark, whole)
    assert sorted(users(spark, whole)) == ["a", "b", "c", "c"]
    assert content(spark, whole, REJECTED_EVENTS) == []
    assert (
        result.figures.outdated_by_reason == {LANDED_AGAIN: 1, SHADOWED: 1}
        and result.figures.events_left == 2
    )
    before = {row["event_id"] for row in content(spark, whole, EVENTS)}
    jsonl(landing / "1.jsonl", a, c, c, {"u": "d", "i": "1", "t": T})  # a log that has grown
    grown = events.main(spark, whole)
    assert sorted(users(spark, whole)) == ["a", "b", "c", "c", "d"] and grown.figures.rejected == 0
    assert before < {row["event_id"] for row in content(spark, whole, EVENTS)}


def test_a_file_that_leaves_before_a_cycle_passed_it_takes_its_lines_along(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T})
    jsonl(landing / "2.jsonl", {"u": "b", "i": "1", "t": T}, "bad")
    first = events.main(spark, job(landing, source()))
    (landing / "2.jsonl").unlink()
    events.main(spark, job(landing, source(), passed_ingestion=first.versions["ingested_files"]))
    assert sorted(users(spark, job(landing, source()))) == ["a", "b"]
    events.main(spark, job(landing, source()))
    assert users(spark, job(landing, source())) == ["a"]
    assert content(spark, job(landing, source()), REJECTED_EVENTS) == []
    (landing / "1.jsonl").unlink()
    with pytest.raises(
        LandingError, match="no cycle has passed the 1 files that were ingested: land them again"
    ):
        events.main(spark, job(landing, source()))


def test_withdrawn_files_and_erased_users_stay_out(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T}, {"u": "b", "i": "1", "t": T}, '{"u": "a"')
    jsonl(landing / "2.jsonl", {"u": "bot", "i": "1", "t": T})
    whole = job(landing, source(), kept_out=("2.jsonl",), erased=(user_digest("films", "a"),))
    result = events.main(spark, whole)
    assert users(spark, whole) == ["b"] and result.figures.files_withdrawn == 1
    refused = [(row["raw"], row["reason"]) for row in content(spark, whole, REJECTED_EVENTS)]
    assert refused == [(NO_TEXT, ERASED), (NO_TEXT, "not valid JSON")]


def test_changed_bounds_and_actions_read_again_what_they_change_and_hold_what_is_gone(spark, landing):
    def of(*actions, **bounds):
        return source(actions=actions, events={"action": "a"}, **bounds)

    line = {"i": "1", "t": T, "a": "view"}
    jsonl(landing / "1.jsonl", line | {"u": "a"}, line | {"u": "b", "a": "like"})
    jsonl(landing / "2.jsonl", line | {"u": "c"})
    jsonl(landing / "3.jsonl", line | {"u": "d", "t": T - 86400}, line | {"u": "e"})
    first = events.main(spark, job(landing, of("view")))
    passed = {"passed_ingestion": first.versions["ingested_files"]}
    (landing / "3.jsonl").unlink()
    # An action is appended: only the file with a line refused for its action is read again.
    appended = events.main(spark, job(landing, of("view", "like"), **passed))
    assert (appended.figures.files_new, appended.figures.accepted) == (1, 2)
    assert sorted(users(spark, job(landing, of("view")))) == ["a", "b", "c", "d", "e"]
    # A bound is raised: the early event of the file that is gone becomes a refused line.
    bound = job(landing, of("view", "like", earliest="2026-01-01T00:00:00Z"), **passed)
    assert events.main(spark, bound).figures.files_new == 0
    assert sorted(users(spark, bound)) == ["a", "b", "c", "e"]
    (refused,) = content(spark, bound, REJECTED_EVENTS)
    assert refused["reason"] == "time is before the earliest allowed" and '"user_id":"d"' in refused["raw"]
    counts = {row["file_path"]: tuple(row)[3:6] for row in content(spark, bound, INGESTED_FILES)}
    assert counts == {"1.jsonl": (2, 2, 0), "2.jsonl": (1, 1, 0), "3.jsonl": (2, 1, 1)}


def test_rows_that_were_deleted_by_hand_come_back_and_a_new_column_is_told(spark, landing):
    jsonl(landing / "1.jsonl", {"u": "a", "i": "1", "t": T}, {"u": "b", "i": "1", "t": T})
    whole = job(landing, source())
    events.main(spark, whole)
    delta.delete(spark, F.col("user_id") == "a", EVENTS, whole.lake, "films")
    jsonl(landing / "2.jsonl", {"u": "c", "i": "1", "t": T, "device": "tv"})
    result = events.main(spark, whole)
    assert sorted(users(spark, whole)) == ["a", "b", "c"]
    assert result.figures.outdated_by_reason == {LOST: 1} and result.figures.new_columns == ("device",)


def rated(user, item, rating, event_id="e1", at=T):
    return {"u": user, "i": item, "t": at, "id": event_id, "r": rating}


def ratings(spark, job):
    return {row["event_id"]: row["rating"] for row in content(spark, job, EVENTS)}


def counts_agree(spark, job):
    """Whether every file's counts are those of its rows."""
    rows = Counter((row["file_id"], True) for row in content(spark, job, EVENTS))
    rows += Counter((row["file_id"], False) for row in content(spark, job, REJECTED_EVENTS))
    return all(
        (rows[row["file_id"], True], rows[row["file_id"], False])
        == (row["accepted_count"], row["rejected_count"])
        for row in content(spark, job, INGESTED_FILES)
    )


BY_ID = {"event_id": "id", "rating": "r"}


def test_other_content_under_a_known_id_is_a_conflict(spark, landing):
    known = job(landing, source(events=BY_ID))
    jsonl(landing / "1.jsonl", rated("a", "x", 1), rated("a", "y", 2, "e2"))
    events.main(spark, known)
    jsonl(landing / "2.jsonl", rated("a", "x", 5), rated("a", "y", 2, "e2"), rated("a", "z", 3, "e3"))
    figures = events.main(spark, known).figures
    assert figures.rejected_by_reason == {CONFLICT: 1, DUPLICATE: 1}
    assert ratings(spark, known) == {"e1": 1, "e2": 2, "e3": 3}
    (refused,) = [row for row in content(spark, known, REJECTED_EVENTS) if row["reason"] == CONFLICT]
    assert json.loads(refused["raw"])["r"] == 5


@pytest.mark.parametrize("survives", ["nothing", "rejected_events", "events"])
def test_the_last_line_replaces_an_event_of_an_earlier_file_once(spark, landing, monkeypatch, survives):
    last = job(landing, source(events=BY_ID, on_conflict="keep_last"))
    jsonl(landing / "1.jsonl", rated("a", "x", 1), rated("a", "y", 2, "e2"), rated("b", "y", 4, "e4"))
    jsonl(landing / "2.jsonl", rated("c", "z", 1, "e5"))
    events.main(spark, last)
    jsonl(landing / "3.jsonl", rated("a", "x", 5), rated("z", "z", 2, "e2"), rated("b", "y", 4, "e4"))
    if survives != "nothing":
        _killed_after(survives, spark, last, monkeypatch)
    figures = events.main(spark, last).figures
    if (
        survives == "nothing"
    ):  # else the files whose rows no longer agree with their counts are read again too
        assert figures.rejected_by_reason == {DUPLICATE: 1}
    assert ratings(spark, last) == {"e1": 5, "e2": 2, "e4": 4, "e5": 1}
    assert counts_agree(spark, last)
    told = {
        (row["file_path"], row["line_number"], row["reason"]) for row in content(spark, last, REJECTED_EVENTS)
    }
    assert told == {
        ("1.jsonl", 1, REPLACED),
        ("1.jsonl", 2, REPLACED_BY_ANOTHER),
        ("3.jsonl", 3, DUPLICATE),
    }
    again = events.main(spark, last)
    assert (again.figures.files_new, again.versions) == (0, newest_versions(spark, last.lake, "films"))
    assert counts_agree(spark, last)


def _killed_after(table, spark, job, monkeypatch):
    """Runs the job as if it were killed once it had written a table."""
    write = Ingestion.write

    def killed(self, rows, written, count):
        version = write(self, rows, written, count)
        if written.name == table:
            raise KeyboardInterrupt
        return version

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ingestion, "write", killed)
        events.main(spark, job)


def test_a_session_id_as_event_id_is_no_harmless_duplicate(spark, landing):
    lines = [{"u": f"u{n % 10}", "i": f"i{n}", "t": T + n, "s": f"s{n % 10}"} for n in range(100)]
    jsonl(landing / "1.jsonl", *lines)
    for rule, reason in (("refuse", CONFLICT), ("keep_last", REPLACED_BY_ANOTHER)):
        config = source(name=f"films-{rule[0]}", events={"event_id": "s"}, on_conflict=rule)
        assert events.main(spark, job(landing, config)).figures.rejected_by_reason == {reason: 90}


def test_exact_repeats_are_counted(spark, landing):
    jsonl(landing / "1.jsonl", *[{"u": "a", "i": "x", "t": T}] * 3, {"u": "a", "i": "y", "t": T})
    figures = events.main(spark, job(landing, source())).figures
    assert (figures.accepted, figures.repeated) == (4, 2)
    refusing = source(name="strict", repeats="refuse")
    figures = events.main(spark, job(landing, refusing)).figures
    for this in (source(), refusing):
        (row,) = content(spark, job(landing, this), INGESTED_FILES)
        assert row["repeat_count"] == 2
    assert (figures.accepted, figures.repeated, figures.rejected_by_reason) == (2, 0, {REPEATED: 2})
