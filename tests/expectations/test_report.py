"""The pages of judgements: what is wrong comes first, and nothing is fetched from anywhere."""

from __future__ import annotations

import re

import pytest

from expectations import report
from expectations.expectation import Expectation
from expectations.runner import judge

FACTS = {"source": "tiny", "cycle": "2024-02-10", "split": "2024-01-31 00:00 UTC"}
FETCHED = re.compile(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//|@import|url\(", re.IGNORECASE)


def expectation(name, words, kind, columns=(), **bounds):
    return Expectation(name, words, "rows", kind, columns, ("id",), **bounds)


@pytest.fixture(scope="module")
def results(spark):
    rows = spark.sql("select * from values ('<b>r&d</b>', -2D), ('fine', 1D) as t(id, seconds)")
    expectations = [
        expectation("ids_unique", "no id twice", "unique", ("id",)),
        expectation("seconds_in_range", "time spent is not negative", "between", ("seconds",), minimum=0),
        expectation("nonsense", "a column that is not there is something", "not_null", ("absent",)),
        expectation(
            "volume", "volume is as before", "row_count", minimum=1, not_applicable="no earlier cycle"
        ),
    ]
    return [judge("events", {"rows": rows}, expectations)]


def test_the_page_names_failing_rows_and_tells_a_crash_from_a_failure(tmp_path, results):
    text = report.write(tmp_path, "validate_events", results, FACTS).read_text()
    assert "2 of 3 expectations are not met" in text and "1 more is not applicable to this cycle" in text
    assert "time spent is not negative" in text and "✗ failed" in text
    assert "&lt;b&gt;r&amp;d&lt;/b&gt;" in text and "<b>r&d</b>" not in text
    assert "! crashed" in text and "absent" in text
    assert "no earlier cycle" in text
    assert "1 row: -2.0" in text
    assert text.index("<h2>Not met</h2>") < text.index("no id twice")


def test_no_page_fetches_anything(tmp_path, results):
    report.write(tmp_path, "validate_events", results, FACTS)
    pages = sorted(path.name for path in tmp_path.iterdir())
    assert pages == ["validate_events-data-docs-events-rows.html", "validate_events.html"]
    for name in pages:
        assert not FETCHED.search((tmp_path / name).read_text()), name
    docs = (tmp_path / pages[0]).read_text()
    assert "time spent is not negative" in docs and "-2" in docs and "✗ not met" in docs


def test_data_docs_of_a_failure_are_removed_when_everything_passes(tmp_path, results, spark):
    report.write(tmp_path, "validate_events", results, FACTS)
    fine = [
        judge(
            "events",
            {"rows": spark.range(2)},
            [expectation("some", "there are rows", "row_count", minimum=1)],
        )
    ]
    text = report.write(tmp_path, "validate_events", fine, FACTS).read_text()
    assert "All 1 expectations are met" in text
    assert [path.name for path in tmp_path.iterdir()] == ["validate_events.html"]


def test_rows_carry_outcomes_and_words(results):
    rows = report.rows(results)
    assert [(row.name, row.outcome) for row in rows] == [
        ("ids_unique", "passed"),
        ("seconds_in_range", "failed"),
        ("nonsense", "crashed"),
        ("volume", "not_applicable"),
    ]
    assert rows[1].observed == "-2.0" and rows[1].allowed == "seconds ≥ 0"
    assert report.counted(results[0]) == "1 passed, 1 failed, 1 crashed, 1 not applicable"
