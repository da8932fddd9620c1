"""Ranks every label of the evaluation window by the candidate, champions and the yardsticks.

    python -m pipeline evaluate --source my.toml --cutoff 2026-03-01

Reads the window's tables at the cycle's versions, and the candidate's and the reference's checkpoints.
Leaves their rows in `ranks`, and measures computed from these rows alone. The verdicts follow in the
stage `funnel`.
"""

from __future__ import annotations

from expectations.instants import microseconds
from model.evaluation.figures import Lists, Span, Yardstick
from model.evaluation.measures import measures
from model.evaluation.names import CANDIDATE, CHAMPION, EARLIER, MIXTURE
from model.evaluation.ranking import NotFiniteScoreError
from model.serving.profile import latency_milliseconds
from model.training.checkpoint import CheckpointError
from pipeline.config import ConfigError
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion
from pipeline.cycle.figures import EvaluateFigures
from pipeline.cycle.records import StageResult
from pipeline.cycle.signals import network
from pipeline.evaluation.models import incomparable, open_contender, open_reference
from pipeline.evaluation.ranking import (
    applicable,
    rank_contender,
    rank_yardsticks,
    stored_ranks,
)
from pipeline.evaluation.window import Window, open_window, window_figures
from pipeline.registry import serving_folder
from pipeline.training.fit import fit
from pipeline.training.search import found_passes


def evaluate(context: StageContext) -> StageResult:
    """The stage. A candidate whose scores are not finite gets no ranks; the figures say so, and the
    funnel then refuses it."""
    window = open_window(context)
    version, described = rank_yardsticks(context, window)
    ranked, lists = list(applicable(described)), {}
    reference, problem = context.cycle.reference, None
    if reference is not None:
        problem = incomparable(context, reference, window.examples.histories)
    if reference is not None and problem is None:
        champion = open_reference(context, reference, CANDIDATE, CHAMPION)
        version, lists[CHAMPION] = rank_contender(context, window, champion)
        ranked = [CHAMPION, *ranked]
    if (mixture := _rank_mixture(context, window)) is not None:
        version, lists[MIXTURE], figure = mixture
        described = (*described, figure)
        ranked.append(MIXTURE)
    earlier = _earlier(context)
    earlier_problem = None if earlier is None else _rank_earlier(context, window, earlier)
    candidate, latency, not_finite = open_contender(context, CANDIDATE), None, None
    try:
        version, lists[CANDIDATE] = rank_contender(context, window, candidate)
        ranked = [CANDIDATE, *ranked]
        latency = latency_milliseconds(
            candidate.recommender,
            candidate.catalogue,
            window.examples.histories,
            window.eligible.item_index,
            candidate.context_length,
            microseconds(context.cycle.cutoff),
            window.signals.tables if candidate.recommender.config.reads_signals else None,
        )
    except NotFiniteScoreError as error:
        not_finite = str(error)
    stored = stored_ranks(context, version)
    figures = EvaluateFigures(
        window=window_figures(window),
        checkpoint_digest=candidate.digest,
        size_megabytes=serving_folder.megabytes(context),
        latency_milliseconds=latency,
        not_finite=not_finite,
        reference_not_comparable=problem,
        measures=measures(stored, list(window.ends), tuple(ranked), context.config.evaluation),
        yardsticks=described,
        lists=lists,
        earlier=None if earlier is None else f"version {earlier.version}, cycle {earlier.cycle}",
        earlier_not_comparable=earlier_problem,
    )
    return StageResult(figures, versions={"ranks": version})


def _rank_mixture(context: StageContext, window: Window) -> tuple[int, Lists | None, Yardstick] | None:
    """Fits the learned mixture of the signals on the labels up to the split and ranks the window by it: what is to
    be had without histories and a backbone. None for a model that reads no signals."""
    if not network(context).reads_signals:
        return None
    fitted = fit(
        context, MIXTURE, context.config.funnel.rungs[0], passes=found_passes(context), history=False
    )
    version, lists = rank_contender(context, window, open_contender(context, MIXTURE))
    labels = Span(None, fitted.figures.labels, fitted.figures.eligible_items)
    return version, lists, Yardstick(MIXTURE, (labels,), counts="labels", lists=lists)


def _earlier(context: StageContext) -> AcceptedVersion | None:
    """The champion of `funnel.compare_back` promotions before the reference; None where there is none."""
    reference, back = context.cycle.reference, context.config.funnel.compare_back
    if reference is None or back == 0:
        return None
    return accepted.ancestor(context.settings, context.cycle.source, reference, back)


def _rank_earlier(context: StageContext, window: Window, earlier: AcceptedVersion) -> str | None:
    """Ranks the earlier champion under the condition that gates read. Returns why it cannot be; None: it was."""
    try:
        problem = incomparable(context, earlier, window.examples.histories)
        if problem is None:
            contender = open_reference(context, earlier, CANDIDATE, EARLIER)
            rank_contender(context, window, contender, (window.judged,))
        return problem
    except (CheckpointError, ConfigError, NotFiniteScoreError) as error:  # it may be years old
        return str(error)
