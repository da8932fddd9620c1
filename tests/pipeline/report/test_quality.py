"""Tables and charts of the ranks, made from a cycle's records."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from model.evaluation.figures import Estimate, Measures, MetricRow
from model.evaluation.names import CANDIDATE, CHAMPION, FROZEN, MARKOV, MOVING
from pipeline.report.quality import (
    CHART_ROWS,
    Measured,
    condition_words,
    delay_words,
    delays,
    measured,
    quality,
)
from tests.pipeline.cycle_records import (
    FOUR_RUNGS,
    WINDOW,
    accepted,
    measures,
    record,
    refused_by_first_rung,
    refused_by_rung,
    until,
)


def row(model: str, kind: str, group: str, mrr: float | None, users: int = 5) -> MetricRow:
    return MetricRow(model, "replay", 0.0, kind, group, 2 * users, users, {"mrr": Estimate(mrr)})


def of_rows(*rows: MetricRow) -> Measured:
    return Measured(CANDIDATE, WINDOW, Measures(metrics=rows))


def test_the_candidates_measures_are_shown_although_rungs_have_some():
    assert measured(accepted(FOUR_RUNGS)).model == CANDIDATE


def test_the_last_rungs_measures_are_shown_where_the_candidate_has_none():
    assert measured(refused_by_first_rung()).model == "rung-25k"
    assert measured(refused_by_rung(3, FOUR_RUNGS)).model == "rung-100k"


def test_nothing_is_shown_before_a_model_was_ranked():
    assert measured({}) is None
    assert measured(until(accepted(), "sequences")) is None
    unranked = replace(accepted()["rung_1"].figures, measures=None)
    assert measured({"rung_1": record("rung_1", unranked)}) is None


def test_the_champions_measures_do_not_pass_for_a_candidates_whose_scores_were_not_finite():
    others = measures({CHAMPION: 0.9, FROZEN: 0.4})
    figures = replace(accepted()["evaluate"].figures, not_finite="user u1", measures=others)
    assert measured(accepted() | {"evaluate": record("evaluate", figures)}).model == "rung-25k"


def test_mrr_has_a_row_a_group_and_a_cell_a_model():
    shown = quality(measured(accepted()))
    assert shown.is_candidate and shown.condition == "replay, no delay"
    assert shown.models == (
        "candidate",
        "champion",
        "frozen popularity",
        "moving popularity",
        "Markov chain",
    )
    assert [line.title for line in shown.rows] == ["all labels", "task A", "task B", "cold-start items"]
    assert [(line.examples, line.users) for line in shown.rows[:2]] == [(900, 120), (200, 70)]
    assert [cell.value for cell in shown.rows[0].mrr] == pytest.approx([0.05, 0.045, 0.02, 0.025, 0.055])
    assert shown.rows[0].best == pytest.approx(0.055)
    assert shown.hidden == 0


def test_a_group_that_one_model_lacks_has_an_empty_cell():
    shown = quality(
        of_rows(
            row("candidate", "all", "all", 0.1),
            row("markov", "all", "all", None),
            row("markov", "slice", "new_user", 0.2),
        )
    )
    assert shown.models == ("candidate", "Markov chain")
    assert shown.rows[0].mrr == (Estimate(0.1), Estimate(None)) and shown.rows[0].best == 0.1
    assert shown.rows[1].mrr == (None, Estimate(0.2)) and shown.rows[1].title == "new users"


def test_groups_beyond_the_charts_room_are_counted():
    slices = [row("candidate", "slice", f"country={number}", 0.1) for number in range(CHART_ROWS + 2)]
    shown = quality(of_rows(row("candidate", "all", "all", 0.1), *slices))
    assert len(shown.rows) == CHART_ROWS + 3 and shown.hidden == 3
    texts = [text.text for text in ElementTree.fromstring(shown.chart).findall(".//text")]
    assert f"country={CHART_ROWS - 2}" in texts and f"country={CHART_ROWS - 1}" not in texts


def test_every_measure_has_a_row_a_condition_and_model_over_all_labels():
    shown = quality(measured(accepted()))
    assert shown.measure_names == ("MRR", "MRR by user", "hit rate@10", "NDCG@10", "test loss, nats")
    assert [(line.condition, line.model) for line in shown.measures[::5]] == [
        ("replay, no delay", "candidate"),
        ("replay, 48 h delay", "candidate"),
        ("cutoff, history up to the split", "candidate"),
    ]
    assert len(shown.measures) == 15
    assert shown.measures[5].cells == pytest.approx((0.035, 0.0385, 0.07, 0.042, 7.1))
    assert shown.measures[2].cells[-1] is None


def test_delays_have_a_chart_a_group_and_a_row_a_model():
    shown = delays(measured(accepted()))
    assert shown.places == ("no delay", "48 h delay")
    assert len(shown.charts) == 3 and len(shown.rows) == 15
    first = shown.rows[0]
    assert (first.group, first.model, first.examples) == ("all labels", "candidate", 890)
    assert first.share == pytest.approx(890 / 900)
    assert [cell.value for cell in first.mrr] == pytest.approx([0.05, 0.03])
    assert first.relative == Estimate(-0.4, -0.5, -0.3)
    assert [line.group for line in shown.rows[::5]] == ["all labels", "task A", "task B"]


def test_delays_are_in_the_order_of_models_whatever_was_ranked_first():
    backwards = measures({CANDIDATE: 1.0, MARKOV: 1.1, MOVING: 0.5, CHAMPION: 0.9})
    shown = delays(Measured(CANDIDATE, WINDOW, backwards))
    assert [line.model for line in shown.rows[:4]] == [
        "candidate",
        "champion",
        "moving popularity",
        "Markov chain",
    ]


def test_a_rung_has_no_delays():
    assert delays(measured(refused_by_first_rung())) is None


def test_conditions_read_as_words():
    base = row("candidate", "all", "all", 0.1)
    assert condition_words(base) == "replay, no delay"
    assert condition_words(replace(base, delay_hours=1.5)) == "replay, 1.5 h delay"
    assert condition_words(replace(base, protocol="cutoff")) == "cutoff, history up to the split"
    assert (delay_words(0.0), delay_words(48.0)) == ("no delay", "48 h delay")
