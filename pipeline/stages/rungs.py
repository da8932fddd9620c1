"""The rungs: small backbones, trained and judged in order before anything is spent on the full model.

In: the cycle's context with its tables. Out: checkpoints and ranks of the rung and of what it is
compared with, verdicts, and the reason of a refusal with what it saved.
"""

from __future__ import annotations

import dataclasses
from functools import partial

from model.evaluation.names import FROZEN, rung_name
from model.evaluation.ranking import NotFiniteScoreError
from model.sizes import SIZES
from model.training.progress import NotFiniteError
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.definition import Parent
from pipeline.cycle.records import StageContext, StageResult
from pipeline.evaluation import measures
from pipeline.evaluation.ranking import (
    YARDSTICKS,
    rank_champion,
    rank_exchanged,
    rank_model,
    rank_yardsticks,
)
from pipeline.evaluation.window import (
    Window,
    champion_config,
    champion_has,
    digest_of,
    incomparable,
    open_model,
    open_window,
    window_figures,
)
from pipeline.gates import rules as gates
from pipeline.gates.verdicts import NOTHING_BEFORE, beats, non_inferiority, reads_history, relative, result
from pipeline.registry import tracking
from pipeline.training.fit import fit

COMPARED_SECTIONS = ("model", "objective", "training")
"""Sections of the configuration whose change makes the older rung an unfair comparison."""


def rung_1(context: StageContext) -> StageResult:
    """The stage: trains and judges the smallest backbone."""
    return rung(context, 1)


def rung_2(context: StageContext) -> StageResult:
    """The stage: trains and judges the second rung."""
    return rung(context, 2)


def rung(context: StageContext, number: int) -> StageResult:
    """Trains one rung, ranks it beside what it is compared with, and judges it.

    Every rung must beat a ranking by other users' histories. It is then compared with the same rung
    of the champion's cycle, or, where the configuration changed, with the champion's configuration
    trained on the same data; where there is neither, with the yardsticks.
    """
    sizes = context.config.funnel.rungs
    if number > len(sizes):
        return StageResult(figures={"outcome": "not applicable", "verdicts": []})
    size = sizes[number - 1]
    name = rung_name(size)
    window = open_window(context)
    figures = {"size": size, "model": name} | window_figures(window)
    spared = partial(saved, context, number)
    version = rank_yardsticks(context, window)
    try:
        short = dataclasses.replace(context, config=_as_rungs_train(context.config))
        figures["training"] = fit(short, name, size, tracking.live_metrics(context, name)).figures
        reference, words = _rank_reference(context, window, name, size)
        version, exchanged = _rank_rung(context, window, name)
    except (NotFiniteError, NotFiniteScoreError) as error:
        verdicts = [gates.finite("scores", str(error))]
        return result(context, figures, verdicts, {"ranks": version}, spared)
    models = (name, *([reference] if reference else []), *([exchanged] if exchanged else []), *YARDSTICKS)
    stored = measures.read(context, version)
    measured = measures.summary(stored, window.judged, models, context.config.evaluation)
    verdicts = [gates.finite("scores", None), reads_history(measured, name, exchanged)]
    verdicts.append(beats(measured, name, FROZEN, binding=reference is None))
    verdicts += [beats(measured, name, other, binding=False) for other in YARDSTICKS if other != FROZEN]
    if reference is None:
        verdicts.append(gates.not_applicable("the same rung before", words))
    else:
        verdicts += non_inferiority(
            measured, name, reference, words, context.config, window.examples.not_applicable
        )
        figures["relative_difference"] = relative(measured, name, reference)
    figures |= {"compared_with": words, "digest": digest_of(context, name)}
    figures |= measures.tables(stored, [window.judged], models, context.config.evaluation)
    return result(context, figures, verdicts, {"ranks": version}, spared)


def saved(context: StageContext, number: int) -> str:
    """What a refusal at a rung saved, in words."""
    config = context.config
    rungs, full = config.funnel.rungs, config.model.size
    skipped = [f"the rung {size}" for size in rungs[number:]] + [f"the full model {full}"]
    ratio = SIZES[full].parameters / SIZES[rungs[number - 1]].parameters
    words = f"Saved: {' and '.join(skipped)} were not trained ({ratio:.0f} times this rung's backbone)"
    if context.cycle.champion is not None:
        records = accepted.records(context.settings, context.cycle.source, context.cycle.champion)
        if "train" in records:
            return f"{words}; in the champion's cycle the full training took {records['train'].seconds:.0f} s"
    return words


def _rank_reference(context: StageContext, window: Window, name: str, size: str) -> tuple[str | None, str]:
    """Ranks what the rung is compared with; returns its name in `ranks` and words for it. None, and
    why, where there is nothing."""
    champion = context.cycle.champion
    if champion is None:
        return None, NOTHING_BEFORE
    if (problem := incomparable(context, champion)) is not None:
        return None, problem
    older = _as_rungs_train(champion_config(context, champion))
    if _compared(older, size) != _compared(_as_rungs_train(context.config), size):
        control = f"{name}-control"
        sections = {section: getattr(older, section) for section in COMPARED_SECTIONS}
        config = context.config.model_copy(update=sections)
        fit(dataclasses.replace(context, config=config), control, size, parent_model=name)
        recommender, catalogue = open_model(context, control)
        digest = digest_of(context, control)
        rank_model(context, window, control, recommender, catalogue, digest, (window.judged,))
        return control, f"the configuration of cycle {champion.cycle} on the same data"
    if not champion_has(context, champion, name):
        return None, f"cycle {champion.cycle} has no rung of this size"
    return _rank_older(context, window, name, champion), f"the same rung of cycle {champion.cycle}"


def _rank_older(context: StageContext, window: Window, name: str, champion: Parent) -> str:
    older = f"{name}-older"
    rank_champion(context, window, older, name, champion, (window.judged,))
    return older


def _rank_rung(context: StageContext, window: Window, name: str) -> tuple[int, str | None]:
    """Ranks the rung by its users' own histories and by others'; returns the version of `ranks` and
    the second one's name there (None where the window has one user)."""
    recommender, catalogue = open_model(context, name)
    digest = digest_of(context, name)
    version = rank_model(context, window, name, recommender, catalogue, digest, (window.judged,))
    exchanged = f"{name}-exchanged"
    later = rank_exchanged(context, window, exchanged, recommender, catalogue, digest)
    return (version, None) if later is None else (later, exchanged)


def _as_rungs_train(config: Config) -> Config:
    """The configuration with the passes over the data that a rung makes."""
    training, fraction = config.training, config.funnel.rung_epochs_fraction
    passes = {name: fraction * getattr(training, name) for name in ("epochs", "finetune_epochs")}
    return config.model_copy(update={"training": training.model_copy(update=passes)})


def _compared(config: Config, size: str) -> str:
    """Digest of what a rung's training is told; the full model's size is not part of it."""
    model = config.model.model_copy(update={"size": size})
    return config.model_copy(update={"model": model}).digest_of(*COMPARED_SECTIONS)
