"""Records are typed, whole, and read back as they were written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from expectations.figures import Drift, JudgementRow, NewLines, Window
from model.evaluation.figures import DelayCurve, DelayPoint, DifferenceRow, Estimate, Measures, MetricRow
from pipeline.cycle.figures import (
    EvaluateFigures,
    EvaluationWindowFigures,
    RegisterFigures,
    RungFigures,
    ValidateEventsFigures,
)
from pipeline.cycle.formats import FORMAT, RecordFormatError
from pipeline.cycle.records import StageRecord, plain_figures, read_records, write_record
from pipeline.gates.rules import Verdict
from spark_jobs.figures import EventsFigures, SparkWork

ESTIMATE = Estimate(0.05, 0.04, None)
MEASURES = Measures(
    mrr={"candidate": 0.05},
    metrics=(MetricRow("candidate", "replay", 0.0, "all", "all", 900, 120, {"mrr": ESTIMATE}),),
    differences=(
        DifferenceRow(
            "candidate", "markov", "replay", 0.0, "all", "all", 900, 120, ESTIMATE, ESTIMATE, 0.1, None, None
        ),
    ),
    delay_curves=(DelayCurve("candidate", "all", "all", 9, 0.5, (DelayPoint(48.0, ESTIMATE, ESTIMATE),)),),
)
WINDOW = EvaluationWindowFigures(900, 120, 31, 2, ("C",))
FIGURES = [
    EventsFigures(2, 0, 1, 0, 120, 703, 700, 3, {"not JSON": 2, "missing user": 1}, ("device",)),
    ValidateEventsFigures(
        Window(10.0, {"viewed": 90}),
        NewLines(703, 3, ("2 not JSON",)),
        Drift(1.25, 0.04),
        ("2024-02-10",),
        (JudgementRow("events", "unique", "no event twice", "passed", "", "", ""),),
        "validate_events.html",
    ),
    RungFigures(
        "25k", WINDOW, (Verdict("scores", "pass", "every score was finite"),), "passed", measures=MEASURES
    ),
    EvaluateFigures(WINDOW, "ab", 3.4, None, None, None, MEASURES),
]


def record(figures, stage: str = "events", started_at: str = "2024-02-20T00:00:00") -> StageRecord:
    return StageRecord(
        stage, "0" * 16, {"reads": {}}, {"events": 3}, figures, None, 1.5, started_at, 812.4, "abc"
    )


@pytest.mark.parametrize("figures", FIGURES, ids=lambda figures: type(figures).__name__)
def test_a_record_is_read_back_typed(tmp_path, figures):
    write_record(tmp_path, record(figures))
    assert read_records(tmp_path) == {"events": record(figures)}


def test_what_spark_did_is_kept_and_older_records_have_none(tmp_path):
    work = SparkWork(4, 100, 2_000, 90, 1_800, 80, 700, 0, 1.25)
    write_record(tmp_path, replace(record(FIGURES[0]), spark=work))
    assert read_records(tmp_path)["events"].spark == work
    path = tmp_path / "stage-events.json"
    content = json.loads(path.read_text())
    del content["spark"]
    path.write_text(json.dumps(content))
    assert read_records(tmp_path)["events"].spark is None


def test_records_come_in_the_order_in_which_stages_started(tmp_path):
    for stage, hour in (("train", 2), ("events", 1), ("evaluate", 3)):
        write_record(tmp_path, record(FIGURES[0], stage, f"2024-02-20T0{hour}:00:00"))
    assert list(read_records(tmp_path)) == ["events", "train", "evaluate"]


def test_a_record_says_its_format_and_the_class_of_its_figures(tmp_path):
    write_record(tmp_path, record(FIGURES[0]))
    content = json.loads((tmp_path / "stage-events.json").read_text())
    assert (content["format"], content["figures_type"]) == (FORMAT, "EventsFigures")


def test_a_number_that_is_not_finite_is_refused_and_no_record_is_written(tmp_path):
    broken = replace(FIGURES[3], latency_milliseconds=math.nan)
    with pytest.raises(ValueError, match="Out of range float values"):
        write_record(tmp_path, record(broken))
    assert list(tmp_path.iterdir()) == []
    assert plain_figures(FIGURES[3])["latency_milliseconds"] is None


def test_a_record_of_a_later_format_is_refused_with_what_to_do(tmp_path):
    write_record(tmp_path, record(RegisterFigures(1, "reprise-tiny", "ab"), "register"))
    path = tmp_path / "stage-register.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(
        RecordFormatError, match=f"record of register has format {FORMAT + 1}.*update the code"
    ):
        read_records(tmp_path)
