"""The cycle report: the facts are on the page, it stands alone, and a refused cycle has one too."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.tables import location
from pipeline.cycle.records import StageContext
from pipeline.registry import tracking
from pipeline.report import page as report_page
from pipeline.report.page import TableFacts
from pipeline.stages import report
from tests.factories import tiny_config
from tests.pipeline import cycle_records

FETCHED = re.compile(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//|@import|url\(|<script", re.IGNORECASE)
FACTS = TableFacts(
    rejected_lines={
        "not JSON": [("events-1.jsonl", 7, '{"user": <u1>')],
        "missing user": [("events-1.jsonl", 9, "{}")],
    },
    history_lengths=[("1", 5), ("2–3", 12), ("4–7", 23)],
    vocabulary_by_cycle=[("2024-02-10", 650), ("2024-02-20", 50)],
)
ORIGIN = {
    "code_revision": "1234abcd",
    "stages_of_other_revisions": {"events": "9876fedc"},
    "configuration_digest": "feedfacecafebeef",
    "parent_version": 1,
    "parent_cycle": "2024-02-10",
    "parent_checkpoint_digest": "ab" * 32,
    "table_versions": {"events": 3, "ranks": 12},
}


def page(home, records, facts=FACTS, parent=True) -> str:
    context = StageContext(tiny_config(), cycle_records.cycle(parent), home, records)
    return report.write_page(context, facts, ORIGIN).read_text(encoding="utf-8")


def words(text: str) -> str:
    """The page's words, without markup."""
    body = re.sub(r"<[^>]+>", " ", text.partition("<body>")[2])
    return re.sub(r"\s+", " ", body)


def test_an_accepted_cycle_is_told_in_words_and_numbers(home):
    told = words(page(home, cycle_records.accepted()))
    for fact in (
        "Accepted: version 2 is the champion",
        "It loses to the Markov chain (−9.1 %)",
        "version 1, cycle 2024-02-10",
        "code revision 1234abcd events ran at 9876fedc",
        "0.0500 0.0450–0.0560",
        "Not applicable to this source: C.",
        "−40.0 %",
        "2 files landed, with 703 lines: 700 became events, 3 were refused",
        "events-1.jsonl:7 {&#34;user&#34;: &lt;u1&gt;",
        "1.25 times the daily volume of 2024-02-10",
        "0.042 away",
        "700 stored tokens at 9.0 bytes, 8.6 % of them repeated",
        "11.0 % of 450 labels before the split",
        "2024-02-20 (this one) 50",
        "latency ✓ pass 4.2 ms of 200 ms",
        "same way in 1 of 2 cycles",
        "1234abcd",
        "feedfacecafebeef",
        "events 3, ranks 12",
        "812 MB",
    ):
        assert fact in told, fact


def test_the_page_fetches_nothing(home):
    for records in (cycle_records.accepted(), cycle_records.refused_by_first_rung(), {}):
        assert not FETCHED.search(page(home, records))


def test_a_refused_cycle_says_why_what_was_saved_and_what_did_not_run(home):
    told = words(page(home, cycle_records.refused_by_first_rung()))
    assert "Refused by the first rung: nothing was registered" in told
    assert "Own histories against other users&#39;: fail, −1.0%, surely below +5.0%." in told
    assert "Saved: the rung 50k and the full model 100k were not trained" in told
    assert "The full model was not evaluated: these are the figures of rung 25k." in told
    assert "Did not run: rung_2 , train , evaluate , funnel , register , promote ." in told


def test_a_cycle_without_any_stage_has_a_page(home):
    told = words(page(home, {}, facts=TableFacts(), parent=False))
    assert "Not finished no stage has finished" in told.replace("No stage", "no stage")
    assert "The stage events did not run in this cycle." in told
    assert "a cold start" in told


@pytest.mark.parametrize("missing", [stage for stage in cycle_records.accepted() if stage != "register"])
def test_a_page_is_written_whichever_record_is_missing(home, missing):
    records = {name: one for name, one in cycle_records.accepted().items() if name != missing}
    assert "Accepted" in page(home, records)


def test_run_figures_name_group_condition_and_model():
    found = report.run_figures(cycle_records.figures_by_stage()["evaluate"])
    assert found["mrr/all"] == pytest.approx(0.05)
    assert found["mrr/task A"] == pytest.approx(0.04)
    assert found["mrr of markov/all"] == pytest.approx(0.055)
    assert found["mrr/replay 48 h"] == pytest.approx(0.035)
    assert found["hit_rate_10/cutoff"] == pytest.approx(0.1)
    assert "test_loss/cutoff" in found
    assert report.run_figures({}) == {}


def test_tables_are_read_at_their_versions_for_this_cycle_only(home):
    def put(table, rows):
        write_deltalake(location(home.lake, "tiny", table), pa.Table.from_pylist(rows), mode="append")

    put(
        "ingested_files",
        [{"file_id": "old", "cycle": "2024-02-10"}, {"file_id": "new", "cycle": "2024-02-20"}],
    )
    refused = {"file_path": "a.jsonl", "raw": "x" * 1000, "reason": "not JSON"}
    put("rejected_events", [{**refused, "file_id": "new", "line_number": number} for number in range(1, 6)])
    put("rejected_events", [{**refused, "file_id": "old", "line_number": 9}])
    lengths = {"u1": [(0, 4), (2, 4)], "u2": [(0, 1)], "u3": [(0, 5)]}
    chunks = [(user, first, length) for user, parts in lengths.items() for first, length in parts]
    put(
        "sequences",
        [
            {
                "cycle": "2024-02-20",
                "user_id": user,
                "first_position": first,
                "item_index": list(range(length)),
            }
            for user, first, length in chunks
        ]
        + [{"cycle": "2024-02-10", "user_id": "u9", "first_position": 0, "item_index": [1]}],
    )
    put(
        "vocabulary",
        [{"cycle": "2024-02-20", "added_in": name} for name in ("2024-02-20", "2024-02-10", "2024-02-10")],
    )
    versions = {"ingested_files": 0, "rejected_events": 0, "sequences": 0, "vocabulary": 0}
    records = {"events": SimpleNamespace(versions=versions), "sequences": None, "vocabulary": None}
    records = {name: one or SimpleNamespace(versions={}) for name, one in records.items()}
    facts = report.table_facts(StageContext(tiny_config(), cycle_records.cycle(), home, records))
    (reason, lines) = next(iter(facts.rejected_lines.items()))
    assert reason == "not JSON" and len(lines) == report.EXAMPLE_LINES
    assert {file for file, _, _ in lines} == {"a.jsonl"} and len(lines[0][2]) == report.EXAMPLE_CHARACTERS
    # u1 has 6 events in two chunks, u3 has 5, u2 has 1.
    assert facts.history_lengths == [("1", 1), ("2–3", 0), ("4–7", 2)]
    assert facts.vocabulary_by_cycle == [("2024-02-10", 2), ("2024-02-20", 1)]


def test_the_stage_closes_every_run_with_what_the_cycle_came_to(home, monkeypatch):
    closed, logged = [], []
    monkeypatch.setattr(report, "table_facts", lambda context: FACTS)
    monkeypatch.setattr(report, "lineage", lambda context: ORIGIN)
    monkeypatch.setattr(tracking, "tag_lineage", lambda context, origin: None)
    monkeypatch.setattr(tracking, "log_figures", lambda context, model, figures: logged.append(model))
    monkeypatch.setattr(
        tracking,
        "close_run",
        lambda context, model, outcome, reason, pages=(): closed.append((model, outcome, reason)),
    )
    said = []
    records = cycle_records.refused_by_first_rung()
    result = report.report(StageContext(tiny_config(), cycle_records.cycle(), home, records, said.append))
    assert result.figures == {
        "outcome": "refused",
        "title": "Refused by the first rung: nothing was registered",
        "page": "cycle.html",
    }
    assert [(model, outcome) for model, outcome, _ in closed] == [
        ("rung-25k", "refused"),
        ("candidate", "refused"),
    ]
    assert "Saved: the rung 50k" in closed[1][2]
    assert logged == ["rung-25k"]
    assert str(home.report_folder("tiny", "2024-02-20") / "cycle.html") in said[0]


def test_accepted_without_promotion_says_why():
    records = cycle_records.accepted()
    why = "version 2 stays as it is: a backfill never moves the live alias"
    records["promote"] = cycle_records.record(
        "promote", {"version": 2, "champion": 1, "moved": False, "why": why}
    )
    headline = report_page.headline(records)
    assert headline.title == "Accepted: registered as version 2"
    assert headline.reasons[-1] == "Version 2 stays as it is: a backfill never moves the live alias."
