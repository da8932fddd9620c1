"""The rungs: small backbones, trained and judged in order before anything is spent on the full model.

    python -m pipeline rung_1 --source my.toml --cutoff 2026-03-01

Reads the tables of training and evaluation, the vocabulary's masking rate, and the checkpoints of the
reference's cycle. Leaves the checkpoint of the rung (and of the control, where the configuration
changed), their rows in `ranks`, and verdicts; a refusal says what it saved.
"""

from __future__ import annotations

import dataclasses

from model.evaluation.measures import measures, summary
from model.evaluation.metrics import Summary
from model.evaluation.names import FROZEN, ModelName, Variant
from model.evaluation.ranking import NotFiniteScoreError
from model.sizes import SIZES
from model.training.progress import NotFiniteError
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import RungFigures, TrainingFigures
from pipeline.cycle.records import StageResult
from pipeline.evaluation.models import (
    incomparable,
    open_contender,
    open_reference,
    reference_config,
    reference_has,
)
from pipeline.evaluation.ranking import (
    YARDSTICKS,
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
    beats,
    non_inferiority,
    reads_history,
    refusal,
    relative,
)
from pipeline.registry import tracking
from pipeline.training.fit import fit

COMPARED_SECTIONS = ("model", "objective", "training")
"""Sections of the configuration whose change makes the older rung an unfair comparison."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a rung is compared with."""

    words: str
    """What it is, or why there is nothing, for people."""
    name: ModelName | None = None
    """Its name in `ranks`; None: there is nothing to compare with."""


def rung(context: StageContext) -> StageResult:
    """The stage: trains one rung, ranks it beside what it is compared with, and judges it.

    Every rung must rank better from its users' own histories than from other users'. It is then compared
    with the same rung of the reference's cycle, or, where the configuration changed, with the reference's
    configuration trained on the same data; where there is neither, with the yardsticks.
    """
    size = context.config.funnel.rungs[context.stage.rung - 1]
    name = ModelName.rung(size)
    window = open_window(context)
    version = rank_yardsticks(context, window)
    trained: TrainingFigures | None = None
    try:
        short = dataclasses.replace(context, config=_as_rungs_train(context.config))
        trained = fit(short, name, size, tracking.live_metrics(context, name)).figures
        comparison = _rank_comparison(context, window, name, size)
        version, exchanged = _rank_rung(context, window, name)
    except (NotFiniteError, NotFiniteScoreError) as error:
        figures = RungFigures(
            size=size,
            window=window_figures(window),
            verdicts=(rules.finite("scores", str(error)),),
            outcome="passed",
            training=trained,
        )
        return _conclude(context, figures, version)
    compared = [model for model in (comparison.name, exchanged) if model is not None]
    models = (name, *compared, *YARDSTICKS)
    stored = stored_ranks(context, version)
    measured = summary(stored, window.judged, models, context.config.evaluation)
    figures = RungFigures(
        size=size,
        window=window_figures(window),
        verdicts=tuple(_verdicts(context, window, measured, name, comparison, exchanged)),
        outcome="passed",
        training=trained,
        compared_with=comparison.words,
        relative_difference=relative(measured, name, comparison.name) if comparison.name else None,
        measures=measures(stored, [window.judged], models, context.config.evaluation),
    )
    return _conclude(context, figures, version)


def _verdicts(
    context: StageContext,
    window: Window,
    measured: Summary,
    name: ModelName,
    comparison: Comparison,
    exchanged: ModelName | None,
) -> list[Verdict]:
    verdicts = [rules.finite("scores", None), reads_history(measured, name, exchanged)]
    verdicts.append(beats(measured, name, FROZEN, binding=comparison.name is None))
    verdicts += [
        beats(measured, name, yardstick, binding=False) for yardstick in YARDSTICKS if yardstick != FROZEN
    ]
    if comparison.name is None:
        verdicts.append(rules.not_applicable("the same rung before", comparison.words))
    else:
        verdicts += non_inferiority(
            measured,
            name,
            comparison.name,
            comparison.words,
            context.config,
            window.examples.not_applicable,
        )
    return verdicts


def _conclude(context: StageContext, figures: RungFigures, version: int) -> StageResult:
    reason = refusal(context, figures.verdicts)
    if reason:
        saved = saved_words(context)
        figures = dataclasses.replace(figures, outcome="refused", saved=saved)
        reason = f"{reason}. {saved}"
    return StageResult(figures, versions={"ranks": version}, refused=reason)


def saved_words(context: StageContext) -> str:
    """What a refusal at this rung saved, in words."""
    config, number = context.config, context.stage.rung
    rungs, full = config.funnel.rungs, config.model.size
    skipped = [f"the rung {size}" for size in rungs[number:]] + [f"the full model {full}"]
    ratio = SIZES[full].parameters / SIZES[rungs[number - 1]].parameters
    words = f"Saved: {' and '.join(skipped)} were not trained ({ratio:.0f} times this rung's backbone)"
    reference = context.cycle.reference
    if reference is not None:
        records = accepted.records(context.settings, context.cycle.source, reference)
        if "train" in records:
            return f"{words}; in the champion's cycle the full training took {records['train'].seconds:.0f} s"
    return words


def _rank_comparison(context: StageContext, window: Window, name: ModelName, size: str) -> Comparison:
    """Ranks what the rung is compared with, if there is anything."""
    reference = context.cycle.reference
    if reference is None:
        return Comparison(NOTHING_BEFORE)
    if (problem := incomparable(context, reference)) is not None:
        return Comparison(problem)
    older = _as_rungs_train(reference_config(context, reference))
    if _compared(older, size) != _compared(_as_rungs_train(context.config), size):
        control = ModelName.rung(size, Variant.CONTROL)
        sections = {section: getattr(older, section) for section in COMPARED_SECTIONS}
        config = context.config.model_copy(update=sections)
        fit(dataclasses.replace(context, config=config), control, size, parent_model=name)
        rank_contender(context, window, open_contender(context, control), (window.judged,))
        return Comparison(f"the configuration of cycle {reference.cycle} on the same data", control)
    if not reference_has(context, reference, name):
        return Comparison(f"cycle {reference.cycle} has no rung of this size")
    contender = open_reference(context, reference, name, ModelName.rung(size, Variant.OLDER))
    rank_contender(context, window, contender, (window.judged,))
    return Comparison(f"the same rung of cycle {reference.cycle}", contender.name)


def _rank_rung(context: StageContext, window: Window, name: ModelName) -> tuple[int, ModelName | None]:
    """Ranks the rung by its users' own histories and by others'.

    Returns the version of `ranks` and the second one's name there; None where the window has one user.
    """
    contender = open_contender(context, name)
    version = rank_contender(context, window, contender, (window.judged,))
    exchanged = ModelName.rung(name.size, Variant.EXCHANGED)
    later = rank_exchanged(context, window, contender, exchanged)
    return (version, None) if later is None else (later, exchanged)


def _as_rungs_train(config: Config) -> Config:
    """The configuration with the passes over the data that a rung makes."""
    training, fraction = config.training, config.funnel.rung_epochs_fraction
    passes = {name: fraction * getattr(training, name) for name in ("epochs", "finetune_epochs")}
    return config.model_copy(update={"training": training.model_copy(update=passes)})


def _compared(config: Config, size: str) -> str:
    """Digest of what a rung's training depends on; the full model's size is not part of it."""
    model = config.model.model_copy(update={"size": size})
    return config.model_copy(update={"model": model}).digest_of(*COMPARED_SECTIONS)
