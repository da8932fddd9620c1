"""Two cycles of tiny tables with their trained candidates, for every test of training."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from model.evaluation.names import CANDIDATE
from pipeline.cycle.context import StageContext
from pipeline.training.fit import Fitted, fit
from tests.pipeline.tiny_training import first_cycle, second_cycle


class Trained(NamedTuple):
    """A cycle's candidate, trained in one go."""

    context: StageContext
    fitted: Fitted
    lines: list[str]
    """Progress that was shown."""
    metrics: list[tuple[int, dict[str, float]]]
    """Step and figures that were logged."""


def trained(context: StageContext, lines: list[str]) -> Trained:
    metrics: list[tuple[int, dict[str, float]]] = []
    fitted = fit(context, CANDIDATE, "25k", lambda figures, step: metrics.append((step, figures)))
    return Trained(context, fitted, lines, metrics)


@pytest.fixture(scope="package")
def unbroken(tmp_path_factory) -> Trained:
    """The first cycle's candidate."""
    lines: list[str] = []
    return trained(first_cycle(tmp_path_factory.mktemp("home"), say=lines.append), lines)


@pytest.fixture(scope="package")
def finetuned(unbroken) -> Trained:
    """The second cycle's candidate, fine-tuned from the first's."""
    lines: list[str] = []
    return trained(second_cycle(unbroken.context, unbroken.fitted.checkpoint_digest, lines.append), lines)
