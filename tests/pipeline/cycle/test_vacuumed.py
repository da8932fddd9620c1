"""Records of a cycle whose tables may be gone count no more; those made since do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pipeline.cycle.figures import ReportFigures
from pipeline.cycle.records import StageRecord
from pipeline.cycle.vacuumed import mark, usable


def record(stage: str, at: datetime) -> StageRecord:
    figures = ReportFigures("accepted", "", "")
    return StageRecord(stage, "d", {}, {}, figures, None, 1.0, at.isoformat(), 1.0)


def test_records_from_before_the_mark_are_not_usable(tmp_path):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    records = {"events": record("events", at - timedelta(seconds=1)), "items": record("items", at)}
    assert usable(tmp_path, records) == records
    mark(tmp_path, at - timedelta(days=1))
    assert usable(tmp_path, records) == records
    mark(tmp_path, at - timedelta(milliseconds=1))
    assert list(usable(tmp_path, records)) == ["items"]
