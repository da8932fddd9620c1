"""Which landed files a cycle has passed."""

from __future__ import annotations

from pipeline.cycle.figures import ReportFigures
from pipeline.cycle.passed import JUDGE, passed_version
from pipeline.cycle.records import StageRecord, write_record


def keep(home, cycle, stage, reads):
    figures = ReportFigures("accepted", "", "")
    record = StageRecord(stage, "d", {"reads": reads}, {}, figures, None, 1.0, "2024-01-01", 1.0)
    write_record(home.cycle_folder("films", cycle), record)


def test_the_newest_version_that_a_suite_passed_counts(home):
    assert passed_version(home, "films") is None
    keep(home, "2026-01-01", JUDGE, {"ingested_files": ["events", "d", 7]})
    keep(home, "2026-02-01", JUDGE, {"ingested_files": ["events", "d", 4]})
    keep(home, "2026-03-01", "events", {"ingested_files": ["events", "d", 9]})
    assert passed_version(home, "films") == 7
    assert passed_version(home, "films", but="2026-01-01") == 4
