"""A stage gets what it declares, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline.cycle.context import Declared, StageContext, UndeclaredError, figures_of, find_figures
from pipeline.cycle.definition import Cycle
from pipeline.cycle.figures import RegisterFigures, ReportFigures
from pipeline.cycle.records import StageRecord
from pipeline.settings import Settings
from pipeline.workflows.stage import Stage
from tests.factories import CUTOFFS, tiny_config

STAGE = Stage("funnel", "", "", "python", after=(), reads=("ranks", "events"), records=("evaluate", "train"))
FIGURES = RegisterFigures(1, "reprise-tiny", "ab")


def record(stage: str, **versions: int) -> StageRecord:
    return StageRecord(stage, "", {}, versions, FIGURES, None, 0.0, "", 0.0)


@pytest.fixture
def context(tmp_path) -> StageContext:
    finished = {"items": record("items", items=3), "evaluate": record("evaluate", ranks=7)}
    cycle = Cycle("tiny", CUTOFFS[0], timedelta(days=10), None)
    return StageContext(STAGE, tiny_config(), cycle, Settings.at(tmp_path), finished)


def test_declared_versions_and_records_are_handed_out(context):
    assert dict(context.versions) == {"ranks": 7}
    assert list(context.records) == ["evaluate"]
    assert context.figures("evaluate", RegisterFigures) is FIGURES


@pytest.mark.parametrize(
    "read", [lambda of: of["items"], lambda of: of.get("items"), lambda of: "items" in of]
)
def test_an_undeclared_table_or_record_raises_and_names_what_is_declared(context, read):
    with pytest.raises(
        UndeclaredError, match="funnel does not declare that it reads table items; it declares ranks"
    ):
        read(context.versions)
    with pytest.raises(UndeclaredError, match="reads record items; it declares evaluate, train"):
        read(context.records)


def test_what_is_declared_and_absent_is_absent(context):
    assert "events" not in context.versions and context.versions.get("events") is None
    with pytest.raises(KeyError):
        context.figures("train", RegisterFigures)


def test_figures_of_another_class_are_refused(context):
    with pytest.raises(TypeError, match="evaluate holds RegisterFigures, not ReportFigures"):
        figures_of(context.records["evaluate"], ReportFigures)


def test_figures_of_a_stage_that_has_not_run_are_none(context):
    assert find_figures(context.records, "evaluate", RegisterFigures) is FIGURES
    assert find_figures(context.records, "train", RegisterFigures) is None
    with pytest.raises(TypeError, match="evaluate holds RegisterFigures, not ReportFigures"):
        find_figures(context.records, "evaluate", ReportFigures)


def test_a_later_record_of_a_table_wins(context):
    later = replace(context, finished={**context.finished, "train": record("train", ranks=8)})
    assert later.versions["ranks"] == 8


def test_a_stage_that_declares_nothing_is_told_so():
    with pytest.raises(UndeclaredError, match="it declares none"):
        Declared("empty", "table", (), {})["ranks"]
