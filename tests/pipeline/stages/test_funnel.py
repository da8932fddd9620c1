"""The end of the funnel, over ranks written by hand: no model is trained here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deltalake import DeltaTable

from expectations.tables import location
from model.evaluation.examples import history_ends
from model.evaluation.figures import Measures, Span, Yardstick
from model.evaluation.measures import judged
from model.evaluation.ranking import Ranking
from model.evaluation.ranks import rank_rows, write_ranks
from pipeline.config import FunnelConfig
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.figures import (
    EvaluateFigures,
    EvaluationWindowFigures,
    FunnelFigures,
    RungFigures,
)
from pipeline.cycle.records import StageResult, write_record
from pipeline.settings import Settings
from pipeline.stages.funnel import agreement, funnel
from pipeline.workflows.refresh_cycle import rung_stage
from tests.factories import CUTOFFS, WINDOW
from tests.model.window_of import eligible, examples
from tests.pipeline import small_lake

COUNTS = EvaluationWindowFigures(60, 30, 40, 0, ("C",))
EVALUATED = EvaluateFigures(COUNTS, "d", 1.0, 5.0, None, None, Measures())
"""A candidate within its budgets."""


def at_funnel(settings: Settings, has_reference: bool = False, **funnel_section) -> StageContext:
    """The funnel of a cycle without a lake."""
    config = small_lake.config(funnel=FunnelConfig(rungs=("25k",), min_users=20, **funnel_section))
    reference = AcceptedVersion(1, "2024-01-31", CUTOFFS[0] - WINDOW, "d") if has_reference else None
    cycle = Cycle(small_lake.SOURCE, CUTOFFS[0], WINDOW, reference, reference)
    stage = small_lake.workflow(config)["funnel"]
    return StageContext(stage, config, cycle, settings, {}, say=lambda text: None)


def outcomes(result: StageResult) -> dict[str, str]:
    return {verdict.check: verdict.outcome for verdict in result.figures.verdicts}


def full(
    tmp_path,
    candidate: float,
    champion: float | None = None,
    evaluated=EVALUATED,
    earlier: float | None = None,
    **funnel_section,
) -> StageResult:
    """The funnel over ranks of 30 users with two labels each, the second of them one rank worse."""
    context = at_funnel(Settings.at(tmp_path), champion is not None, **funnel_section)
    cycle, lake = context.cycle, context.settings.lake
    users = [[(0, 0.0), (1, 0.5), (2, 40.0)] for _ in range(30)]
    window = examples(users, [[1, 2]] * 30, items=40)
    condition = judged(context.config.evaluation)
    ends = history_ends(window, condition.protocol, condition.delay_hours, 0)
    worse = np.tile([0.0, 1.0], 30)
    ranks = {"candidate": candidate, "popularity_frozen": 8.0, "popularity_moving": 6.0, "markov": 2.0}
    ranks |= {} if champion is None else {"champion": champion}
    ranks |= {} if earlier is None else {"champion_earlier": earlier}
    version = 0
    for model, rank in ranks.items():
        parts = [(condition, ends, Ranking(rank + worse, -worse))]
        rows = rank_rows(cycle.name, model, "d", window, eligible(40), parts)
        version = write_ranks(rows, lake, cycle.source, cycle.name, model)
    return funnel(small_lake.after(context, "evaluate", StageResult(evaluated, {"ranks": version})))


def test_a_first_full_model_that_beats_popularity_passes_and_the_chain_is_reported(tmp_path):
    result = full(tmp_path, candidate=3.0)
    assert result.refused is None and result.figures.outcome == "passed"
    assert result.figures.loses_to == ("markov",)
    assert result.figures.relative_difference is None
    checks = outcomes(result)
    assert checks["all labels against the Markov chain"] == "fail"
    assert checks["the forecast"] == checks["the champion"] == "not applicable"


def test_a_full_model_that_does_not_beat_frozen_popularity_is_refused(tmp_path):
    result = full(tmp_path, candidate=8.0, strictness="lenient")
    assert result.refused.startswith("all labels against frozen popularity: fail")
    assert result.figures.outcome == "refused"


def test_a_full_model_without_any_yardstick_or_champion_is_refused(tmp_path):
    described = tuple(
        Yardstick(name, (Span(None, 3, 2),), "it has too little to count")
        for name in ("popularity_frozen", "popularity_moving", "markov")
    )
    evaluated = replace(EVALUATED, yardsticks=described)
    result = full(tmp_path / "first", candidate=1.0, evaluated=evaluated, strictness="lenient")
    assert result.refused.startswith("anything to beat: fail, no yardstick has enough events to count")
    assert result.figures.loses_to == ()
    later = full(tmp_path / "later", candidate=3.0, champion=3.0, evaluated=evaluated)
    assert later.refused is None


def test_a_full_model_worse_than_the_champion_is_refused_on_every_task_and_slice(tmp_path):
    result = full(tmp_path, candidate=4.0, champion=3.0)
    checks = outcomes(result)
    assert checks["all labels against the champion"] == "fail"
    assert checks["task A against the champion"] == "fail" and checks["task B against the champion"] == "fail"
    assert checks["task C against the champion"] == "not applicable"
    assert "the champion" in result.refused
    assert result.figures.relative_difference < 0


def test_a_full_model_as_good_as_the_champion_passes(tmp_path):
    result = full(tmp_path, candidate=3.0, champion=3.0)
    assert outcomes(result)["all labels against the champion"] == "pass"
    assert result.refused is None


def test_beside_a_champion_that_cannot_be_ranked_every_yardstick_must_be_beaten(tmp_path):
    why = "reward changed since cycle 2024-01-31"
    unranked = replace(EVALUATED, reference_not_comparable=why)
    weak = full(tmp_path / "weak", candidate=4.0, champion=3.0, evaluated=unranked)
    assert weak.refused.startswith("all labels against the Markov chain: fail")
    result = full(tmp_path / "strong", candidate=1.0, champion=3.0, evaluated=unranked)
    (verdict,) = [verdict for verdict in result.figures.verdicts if verdict.check == "the champion"]
    assert (verdict.outcome, verdict.explanation) == ("not applicable", why)
    assert result.refused is None and result.figures.relative_difference is None
    assert result.figures.by_hand == f"the champion could not be ranked: {why}"


def test_losses_too_small_to_refuse_do_not_add_up(tmp_path):
    """Rank 25 against 24.8 is a loss within the margin of 2 %, against 24 one beyond it."""
    evaluated = replace(EVALUATED, earlier="version 1, cycle 2024-01-01")
    sums = full(tmp_path / "sums", candidate=25.0, champion=24.8, earlier=24.0, evaluated=evaluated)
    checks = outcomes(sums)
    assert checks["all labels against the champion"] == "pass"
    against = "against the earlier champion (version 1, cycle 2024-01-01)"
    assert checks[f"all labels {against}"] == "fail" and checks[f"task B {against}"] == "fail"
    assert not any(check.startswith("new users against the earlier") for check in checks)
    assert f"all labels {against}: fail" in sums.refused
    steady = full(tmp_path / "steady", candidate=2.0, champion=2.0, earlier=2.0, evaluated=evaluated)
    assert outcomes(steady)[f"all labels {against}"] == "pass"


@pytest.mark.parametrize(
    ("evaluated", "back", "why"),
    [
        ({}, 4, "there is none 4 promotions before the champion"),
        ({}, 0, "funnel.compare_back is 0"),
        ({"earlier": "version 1", "earlier_not_comparable": "reward changed"}, 4, "reward changed"),
    ],
)
def test_without_an_earlier_champion_the_verdict_says_why(tmp_path, evaluated, back, why):
    result = full(
        tmp_path, candidate=2.0, champion=2.0, evaluated=replace(EVALUATED, **evaluated), compare_back=back
    )
    (verdict,) = [one for one in result.figures.verdicts if one.check == "the earlier champion"]
    assert (verdict.outcome, verdict.explanation) == ("not applicable", why)


def test_a_first_cycle_and_a_ranked_champion_leave_promotion_as_configured(tmp_path):
    for champion in (None, 3.0):
        assert full(tmp_path / str(champion), candidate=3.0, champion=champion).figures.by_hand is None


@pytest.mark.parametrize(
    ("evaluated", "reason"),
    [
        ({"latency_milliseconds": 900.0}, "latency: fail"),
        ({"latency_milliseconds": None}, "latency: fail"),
        ({"size_megabytes": float("nan")}, "size: fail"),
        ({"not_finite": "the model gave a score that is not a finite number"}, "scores: fail"),
    ],
)
def test_budgets_and_missing_measures_refuse(tmp_path, evaluated, reason):
    assert reason in full(tmp_path, candidate=3.0, evaluated=replace(EVALUATED, **evaluated)).refused


def test_ranks_that_are_missing_fail_closed(tmp_path):
    full(tmp_path, candidate=3.0)
    context = at_funnel(Settings.at(tmp_path), has_reference=True)
    latest = DeltaTable(location(context.settings.lake, context.cycle.source, "ranks")).version()
    result = funnel(small_lake.after(context, "evaluate", StageResult(EVALUATED, {"ranks": latest})))
    assert "champion has no ranks" in result.refused


@pytest.mark.parametrize(
    ("rungs", "why"),
    [
        (("25k",), "it needs 4 rungs, and there are 1"),
        (("25k", "50k", "100k", "200k"), "this release makes none"),
    ],
)
def test_the_forecast_says_why_there_is_none(tmp_path, rungs, why):
    context = at_funnel(Settings.at(tmp_path))
    more = small_lake.with_config(
        context,
        funnel=FunnelConfig(rungs=rungs),
        model=context.config.model.model_copy(update={"size": "400k"}),
    )
    evaluated = replace(EVALUATED, not_finite="the loss is nan")
    result = funnel(small_lake.after(more, "evaluate", StageResult(evaluated, {"ranks": 0})))
    (forecast,) = [verdict for verdict in result.figures.verdicts if verdict.check == "the forecast"]
    assert (forecast.outcome, forecast.explanation) == ("not applicable", why)


def rung_of(size: str, difference: float | None) -> StageResult:
    return StageResult(RungFigures(size, COUNTS, (), "passed", relative_difference=difference))


def funnel_of(difference: float) -> StageResult:
    return StageResult(FunnelFigures((), "passed", (), relative_difference=difference))


def test_agreement_counts_the_cycles_in_which_rung_and_full_model_pointed_the_same_way(tmp_path):
    settings = Settings.at(tmp_path)
    differences = {"2024-01-11": (0.1, 0.2), "2024-01-21": (0.1, -0.2), "2024-03-01": (0.1, 0.1)}
    for cycle, (rung_gain, full_gain) in differences.items():
        folder = settings.cycle_folder("tiny", cycle)
        write_record(folder, small_lake.record(rung_stage(1), rung_of("25k", rung_gain)))
        write_record(folder, small_lake.record("funnel", funnel_of(full_gain)))
    today = small_lake.after(at_funnel(settings), rung_stage(1), rung_of("25k", -0.1))
    (counted,) = agreement(today, -0.3)  # 2024-03-01 is later than this cycle, 2024-02-10
    assert (counted.rung, counted.cycles, counted.agreed) == ("25k", 3, 2)
    assert [pair.cycle for pair in counted.pairs] == ["2024-01-11", "2024-01-21", "2024-02-10"]


def test_agreement_lists_rungs_by_size_and_skips_cycles_without_a_comparison(tmp_path):
    settings = Settings.at(tmp_path)
    folder = settings.cycle_folder("tiny", "2024-01-11")
    for number, (size, difference) in enumerate((("100k", 0.1), ("50k", -0.1), ("25k", None)), 1):
        write_record(folder, small_lake.record(rung_stage(number), rung_of(size, difference)))
    assert agreement(at_funnel(settings), None) == ()
    write_record(folder, small_lake.record("funnel", funnel_of(0.1)))
    counted = agreement(at_funnel(settings), None)
    assert [(rung.rung, rung.agreed) for rung in counted] == [("50k", 0), ("100k", 1)]
