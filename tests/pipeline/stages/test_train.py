"""The stage that trains the full model: its figures, its live metrics, its refusal."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from model.evaluation.names import CANDIDATE
from model.training.progress import NotFiniteError
from pipeline.cycle.figures import EvaluationWindowFigures, PassesFigures, RungFigures
from pipeline.cycle.records import StageRecord
from pipeline.registry import tracking
from pipeline.stages import train as stage
from pipeline.stages.train import train
from pipeline.training.fit import fit
from tests.pipeline.tiny_training import Killed, config, die_after, first_cycle, with_signals


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The first cycle, and its candidate trained in one go."""
    context = first_cycle(tmp_path_factory.mktemp("home"), say=lambda text: None)
    return context, fit(context, CANDIDATE, "25k")


def test_the_stage_logs_live_and_returns_the_figures(unbroken, monkeypatch):
    context, fitted = unbroken
    models = []
    monkeypatch.setattr(tracking, "live_metrics", lambda context, model: models.append(model))
    result = train(context)
    assert models == [CANDIDATE]
    assert result.figures.training == fitted.figures and result.figures.not_finite is None
    assert result.refused is None and result.versions == {}


def test_the_run_names_the_half_lives_that_the_cycle_has(tmp_path):
    context = first_cycle(tmp_path, with_signals(config()), say=lambda text: None)
    for _ in range(2):  # as a resumed stage does
        tracking.live_metrics(context, CANDIDATE)
    run = tracking.client(context.settings).get_run(tracking.run_id(context))
    assert run.data.params["signals.half_lives"] == "0.5 and 4 days"


def test_loss_and_throughput_reach_the_registry_while_it_trains(unbroken, tmp_path, monkeypatch):
    def curve(name: str) -> list[tuple[int, float]]:
        points = store.get_metric_history(tracking.run_id(context), f"training/{name}")
        return sorted((point.step, point.value) for point in points)

    def until(step: int, points: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
        return [point for point in points if point[0] <= step]

    figures = unbroken[1].figures
    context = first_cycle(tmp_path, say=lambda text: None)
    store = tracking.client(context.settings)
    monkeypatch.setattr("model.training.lightning_module.SECONDS_BETWEEN_METRICS", 0.0)
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            train(context)
    for last in (6, figures.steps):
        assert curve("loss") == until(last, figures.training_curve)
        assert len(curve("loss")) == last
        throughput = curve("tokens_per_second")
        assert [step for step, _ in throughput] == list(range(1, last + 1))
        assert all(0 < value < math.inf for _, value in throughput)
        train(context)  # resumes, in the same run


def test_the_full_model_makes_the_passes_that_the_first_rung_found(unbroken, monkeypatch):
    context, fitted = unbroken
    found = PassesFigures(1.0, "found by the rung", fine_tuned=False, most_passes=2.0)
    trained = replace(fitted.figures, passes=found)
    window = EvaluationWindowFigures(1, 1, 1, 0, ())
    figures = RungFigures("25k", window, verdicts=(), outcome="passed", training=trained)
    record = StageRecord("rung_1", "", {}, {}, figures, None, 0.0, "", 0.0)
    later = replace(context, finished={**context.finished, "rung_1": record})
    monkeypatch.setattr(tracking, "live_metrics", lambda context, model: None)
    given = {}

    def note(*_, **options):
        given.update(options)
        return fitted

    monkeypatch.setattr(stage, "fit", note)
    train(later)
    assert given == {"passes": found}


def test_a_loss_that_is_not_finite_is_a_refusal(unbroken, monkeypatch):
    def fail(*_, **__):
        raise NotFiniteError("the loss is not finite at step 3")

    monkeypatch.setattr(stage, "fit", fail)
    monkeypatch.setattr(tracking, "live_metrics", lambda context, model: None)
    result = train(unbroken[0])
    assert result.refused == result.figures.not_finite == "the loss is not finite at step 3"
    assert result.figures.training is None
