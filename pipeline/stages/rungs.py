"""The rungs: small backbones, trained and judged in order before the full model is trained.

    python -m pipeline rung_N --source my.toml --cutoff 2026-03-01      # N counts from 1

Reads the tables of training and evaluation, the vocabulary's masking rate, the checkpoints of the cycle's
parent and reference, and the number of passes that the first rung found. Leaves the rung's checkpoint (and
the control's, where the configuration changed), their rows in `ranks`, and verdicts. A refusal ends the
cycle and says what it saved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from expectations.wording import listing, seconds
from model.evaluation.figures import Lists
from model.evaluation.measures import measures, summary
from model.evaluation.metrics import Summary
from model.evaluation.names import ModelName, Variant
from model.evaluation.ranking import NotFiniteScoreError
from model.sizes import SIZES
from model.training.progress import NotFiniteError
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import PassesFigures, RungFigures, TrainingFigures
from pipeline.cycle.records import StageResult
from pipeline.evaluation.models import (
    new_lineage,
    open_contender,
    open_reference,
    reference_config,
    reference_has,
)
from pipeline.evaluation.ranking import (
    applicable,
    rank_contender,
    rank_exchanged,
    rank_yardsticks,
    stored_ranks,
)
from pipeline.evaluation.window import Window, open_window, window_figures
from pipeline.gates import rules
from pipeline.gates.rules import Verdict
from pipeline.gates.verdicts import (
    NOTHING_BEFORE,
    against_yardsticks,
    non_inferiority,
    reads_history,
    refusal,
    relative,
)
from pipeline.registry import tracking
from pipeline.training.fit import fit
from pipeline.training.search import find_passes, found_passes

COMPARED_SECTIONS = ("model", "objective", "training")
"""Sections of the configuration; when one has changed, the reference's rung as it is would be an unfair
comparison."""


@dataclass(frozen=True)
class Comparison:
    """What a rung is compared with."""

    name: ModelName | None
    """Its name in `ranks`; None: there is nothing to compare with."""
    words: str
    """What it is, or why there is nothing, for people."""


def rung(context: StageContext) -> StageResult:
    """The stage: trains one rung, ranks it beside what it is compared with, and judges it.

    Where histories tell more than recency does, a rung must rank better from its users' own histories than
    from other users'. It is compared with the same rung of the reference's cycle or, where the configuration
    has changed since, with a control: the reference's configuration, trained on this cycle's data. Where
    neither exists, it must beat frozen popularity.
    """
    name = ModelName.rung(context.config.funnel.rungs[context.stage.rung - 1])
    window = open_window(context)
    version, described = rank_yardsticks(context, window)
    figures = RungFigures(
        name.size, window_figures(window), verdicts=(), outcome="passed", yardsticks=described
    )
    try:
        training = _train(context, name)
        figures = replace(figures, training=training)
        comparison = _rank_comparison(context, window, name, training.passes)
        version, exchanged, lists = _rank_rung(context, window, name)
    except (NotFiniteError, NotFiniteScoreError) as error:
        return _result(context, replace(figures, verdicts=(rules.finite(str(error)),)), version)
    compared = [model for model in (comparison.name, exchanged) if model is not None]
    models, config = (name, *compared, *applicable(described)), context.config.evaluation
    stored = stored_ranks(context, version)
    measured = summary(stored, window.judged, models, config)
    figures = replace(
        figures,
        verdicts=tuple(_verdicts(context, measured, figures, comparison, exchanged)),
        measures=measures(stored, [window.judged], models, config),
        lists={name: lists},
    )
    if comparison.name is not None:
        difference = relative(measured, name, comparison.name)
        figures = replace(figures, compared_with=comparison.words, relative_difference=difference)
    return _result(context, figures, version)


def _train(context: StageContext, name: ModelName) -> TrainingFigures:
    """Trains the rung. The first one finds the number of passes; the later ones read it."""
    live = tracking.live_metrics(context, name)
    passes = find_passes(context, name, live) if context.stage.rung == 1 else found_passes(context)
    return fit(context, name, name.size, live, passes=passes, **_amount(context.config)).figures


def _rank_comparison(
    context: StageContext, window: Window, name: ModelName, passes: PassesFigures | None = None
) -> Comparison:
    """Ranks what the rung is compared with, if there is anything; trains the control where one is needed."""
    reference = context.cycle.reference
    if reference is None:
        return Comparison(None, NOTHING_BEFORE)
    if names := new_lineage(context, reference):
        return Comparison(None, f"{', '.join(names)} changed since cycle {reference.cycle}")
    older = reference_config(context, reference)
    if _compared(older, name.size) != _compared(context.config, name.size):
        control = ModelName.rung(name.size, Variant.CONTROL)
        sections = {section: getattr(older, section) for section in COMPARED_SECTIONS}
        config = context.config.model_copy(update=sections)
        # A search of its own would cost as much as the rung's; its configured passes stay the most.
        searched = passes is not None and passes.held_out_after is not None
        own = passes if searched and older.training.validation_days else None
        fit(
            replace(context, config=config),
            control,
            name.size,
            parent_model=name,
            passes=own,
            **_amount(older),
        )
        rank_contender(context, window, open_contender(context, control), (window.judged,))
        return Comparison(control, f"the configuration of cycle {reference.cycle} on the same data")
    if context.cycle.parent is None:
        return Comparison(
            None, f"it began from scratch, and the same rung of cycle {reference.cycle} may not have"
        )
    if not reference_has(context, reference, name):
        return Comparison(None, f"cycle {reference.cycle} has no rung of this size")
    contender = open_reference(context, reference, name, ModelName.rung(name.size, Variant.OLDER))
    rank_contender(context, window, contender, (window.judged,))
    return Comparison(contender.name, f"the same rung of cycle {reference.cycle}")


def _rank_rung(context: StageContext, window: Window, name: ModelName) -> tuple[int, ModelName | None, Lists]:
    """Ranks the rung from its users' own histories and from other users'.

    Returns the version of `ranks`, the name of the latter there (None where the window has a single user),
    and what the rung's lists show.
    """
    contender = open_contender(context, name)
    version, lists = rank_contender(context, window, contender, (window.judged,))
    exchanged = ModelName.rung(name.size, Variant.EXCHANGED)
    later = rank_exchanged(context, window, contender, exchanged)
    return (version, None, lists) if later is None else (later, exchanged, lists)


def _verdicts(
    context: StageContext,
    measured: Summary,
    figures: RungFigures,
    comparison: Comparison,
    exchanged: ModelName | None,
) -> list[Verdict]:
    name = ModelName.rung(figures.size)
    verdicts = [rules.finite(None), reads_history(measured, name, exchanged)]
    is_compared = comparison.name is not None
    verdicts += against_yardsticks(
        measured, name, figures.yardsticks, must_beat=not is_compared, has_other=is_compared
    )
    if comparison.name is None:
        return [*verdicts, rules.not_applicable("the same rung of an earlier cycle", comparison.words)]
    missing = figures.window.tasks_not_applicable
    compared = non_inferiority(measured, name, comparison.name, comparison.words, context.config, missing)
    return [*verdicts, *compared]


def _result(context: StageContext, figures: RungFigures, version: int) -> StageResult:
    """What the stage returns; `figures` hold the verdicts, `version` is that of `ranks`."""
    reason = refusal(figures.verdicts, context.config.funnel.strictness, context.say)
    if reason:
        figures = replace(figures, outcome="refused", saved=_saved(context))
        reason = f"{reason}. {figures.saved}"
    return StageResult(figures, versions={"ranks": version}, refused=reason)


def _saved(context: StageContext) -> str:
    """What a refusal by this rung saved: the training that does not take place, in words."""
    rungs, full = context.config.funnel.rungs, context.config.model.size
    own = rungs[context.stage.rung - 1]
    skipped = [f"rung {size}" for size in rungs[context.stage.rung :]] + [f"the full model {full}"]
    words = f"This saved training {listing(skipped)}"
    if full != own:
        ratio = SIZES[full].parameters / SIZES[own].parameters
        words = f"{words} ({ratio:.0f} times this rung's backbone)"
    reference = context.cycle.reference
    if reference is not None:
        records = accepted.records(context.settings, context.cycle.source, reference)
        if "train" in records:
            took = seconds(records["train"].seconds)
            return f"{words}; the full training of cycle {reference.cycle} took {took}"
    return words


def _amount(config: Config) -> dict[str, Any]:
    """How much of the full model's passes a rung makes, as arguments of `fit`."""
    funnel = config.funnel
    share = min(1.0, funnel.rung_cost_fraction / len(funnel.rungs))
    return {"share": share, "least_steps": funnel.rung_min_steps}


def _compared(config: Config, size: str) -> tuple[str, dict[str, Any]]:
    """What a rung's training depends on, which does not include the full model's size."""
    model = config.model.model_copy(update={"size": size})
    return config.model_copy(update={"model": model}).digest_of(*COMPARED_SECTIONS), _amount(config)
