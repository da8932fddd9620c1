"""The stage that trains the full model: its figures, its live metrics, its refusal."""

from __future__ import annotations

import math

import pytest

from model.evaluation.names import CANDIDATE
from model.training.progress import NotFiniteError
from pipeline.registry import tracking
from pipeline.stages import train as stage
from pipeline.stages.train import train
from pipeline.training.fit import fit
from tests.pipeline.tiny_training import Killed, die_after, first_cycle


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


def test_loss_throughput_and_validation_mrr_reach_the_registry_while_it_trains(
    unbroken, tmp_path, monkeypatch
):
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
        assert curve("validation_mrr") == until(last, figures.validation_mrr)
        assert len(curve("validation_mrr")) > 1
        throughput = curve("tokens_per_second")
        assert [step for step, _ in throughput] == list(range(1, last + 1))
        assert all(0 < value < math.inf for _, value in throughput)
        train(context)  # resumes, in the same run


def test_a_loss_that_is_not_finite_is_a_refusal(unbroken, monkeypatch):
    def fail(*_):
        raise NotFiniteError("the loss is not finite at step 3")

    monkeypatch.setattr(stage, "fit", fail)
    monkeypatch.setattr(tracking, "live_metrics", lambda context, model: None)
    result = train(unbroken[0])
    assert result.refused == result.figures.not_finite == "the loss is not finite at step 3"
    assert result.figures.training is None
