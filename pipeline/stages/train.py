"""Trains the full model of a cycle, from its parent or from scratch.

    python -m pipeline train --source my.toml --cutoff 2026-03-01

Reads the cycle's sequences, vocabulary, item features, items and signals, the parent's checkpoint, and the
number of passes that the first rung found. Leaves a finished checkpoint in the cycle's folder. A run that
was killed resumes with the same batches and negatives.
"""

from __future__ import annotations

from model.evaluation.names import CANDIDATE
from model.training.progress import NotFiniteError
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import TrainFigures
from pipeline.cycle.records import StageResult
from pipeline.registry import tracking
from pipeline.training.fit import fit
from pipeline.training.search import found_passes


def train(context: StageContext) -> StageResult:
    """The stage. A loss that is not finite refuses the candidate: a retry would meet it again."""
    live = tracking.live_metrics(context, CANDIDATE)
    try:
        trained = fit(context, CANDIDATE, context.config.model.size, live, passes=found_passes(context))
    except NotFiniteError as error:
        return StageResult(TrainFigures(training=None, not_finite=str(error)), refused=str(error))
    return StageResult(TrainFigures(trained.figures))
