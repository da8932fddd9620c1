"""The funnel: small rungs first, then the full model; the first refusal stops the rest.

In: the cycle's context, with its tables or the ranks that `evaluate` wrote. Out: verdicts as plain
values, and the reason of a refusal with what it saved. The rules themselves are in `gates`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from model.metrics import ALL, Group, MetricsError, Summary
from model.progress import NotFiniteError
from model.ranking import NotFiniteScoreError
from model.sizes import SIZES
from pipeline import accepted, gates, measures, tracking
from pipeline.config import Config
from pipeline.cycle import Parent
from pipeline.evaluate import (
    CANDIDATE,
    CHAMPION,
    YARDSTICKS,
    rank_champion,
    rank_exchanged,
    rank_model,
    rank_yardsticks,
    yardsticks_key,
)
from pipeline.gates import Verdict
from pipeline.records import StageContext, StageResult, read_records
from pipeline.train import fit, rung_name
from pipeline.window import (
    Window,
    champion_config,
    champion_has,
    digest_of,
    incomparable,
    open_model,
    open_window,
    window_figures,
)

FROZEN = "popularity_frozen"
HISTORY_WORTH = 0.05
"""A rung must gain more than this (relative MRR) by reading the right user's history."""
NOTHING_BEFORE = "nothing was accepted before this cycle"
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
    figures = {"size": size, "model": name, "yardsticks": yardsticks_key(context)} | window_figures(window)
    version = rank_yardsticks(context, window)
    try:
        short = dataclasses.replace(context, config=_as_rungs_train(context.config))
        figures["training"] = fit(short, name, size, tracking.live_metrics(context, name)).figures
        reference, words = _rank_reference(context, window, name, size)
        version, exchanged = _rank_rung(context, window, name)
    except (NotFiniteError, NotFiniteScoreError) as error:
        return _result(context, number, figures, [gates.finite("scores", str(error))], {"ranks": version})
    models = (name, *([reference] if reference else []), *([exchanged] if exchanged else []), *YARDSTICKS)
    stored = measures.read(context, version)
    measured = measures.summary(stored, window.judged, models, context.config.evaluation)
    verdicts = [gates.finite("scores", None), _reads_history(measured, name, exchanged)]
    verdicts.append(_beats(measured, name, FROZEN, binding=reference is None))
    verdicts += [_beats(measured, name, other, binding=False) for other in YARDSTICKS if other != FROZEN]
    if reference is None:
        verdicts.append(gates.not_applicable("the same rung before", words))
    else:
        verdicts += non_inferiority(
            measured, name, reference, words, context.config, window.examples.not_applicable
        )
        figures["relative_difference"] = _relative(measured, name, reference)
    figures |= {"compared_with": words, "digest": digest_of(context, name)}
    figures |= measures.tables(stored, [window.judged], models, context.config.evaluation)
    return _result(context, number, figures, verdicts, {"ranks": version})


def funnel(context: StageContext) -> StageResult:
    """The stage: judges the full model by the ranks that `evaluate` wrote."""
    config, evaluated = context.config, context.figures("evaluate")
    budget = config.funnel
    verdicts = [gates.finite("scores", evaluated.get("not_finite"))]
    figures: dict[str, Any] = {}
    if "not_finite" not in evaluated:
        problem = evaluated.get("champion_not_comparable")
        champion = (CHAMPION,) if context.cycle.champion and problem is None else ()
        models = (CANDIDATE, *champion, *YARDSTICKS)
        stored = measures.read(context, context.versions["ranks"])
        judged = measures.judged(config.evaluation)
        try:
            measured = measures.summary(stored, judged, models, config.evaluation)
        except MetricsError as error:
            verdicts.append(Verdict("ranks", "fail", str(error)))
        else:
            verdicts += [_beats(measured, CANDIDATE, other, binding=other == FROZEN) for other in YARDSTICKS]
            figures["loses_to"] = [other for other in YARDSTICKS if _relative(measured, CANDIDATE, other) < 0]
            if champion:
                missing = tuple(evaluated.get("tasks_not_applicable", ()))
                verdicts += non_inferiority(measured, CANDIDATE, CHAMPION, "the champion", config, missing)
                figures["relative_difference"] = _relative(measured, CANDIDATE, CHAMPION)
            else:
                verdicts.append(gates.not_applicable("the champion", problem or NOTHING_BEFORE))
    verdicts += [
        gates.not_applicable("the forecast", f"{len(budget.rungs)} rungs, and a forecast needs four"),
        gates.within("latency", evaluated.get("latency_milliseconds"), budget.max_latency_milliseconds, "ms"),
        gates.within("size", evaluated.get("size_megabytes"), budget.max_size_megabytes, "MB"),
    ]
    figures["agreement"] = agreement(context, figures.get("relative_difference"))
    return _result(context, None, figures, verdicts, {})


def non_inferiority(
    measured: Summary,
    model: str,
    reference: str,
    words: str,
    config: Config,
    tasks_not_applicable: tuple[str, ...],
) -> list[Verdict]:
    """One verdict for all labels, one a task and one a slice, of `model` against `reference`.

    A task or slice without a label event in this window is not judged.
    """
    funnel = config.funnel
    verdicts = [
        gates.paired(
            f"all labels against {words}",
            measured.difference(model, reference, ALL),
            funnel.task_margin,
            measured.users(ALL),
        )
    ]
    for task in config.evaluation.tasks:
        check, group = f"task {task.name} against {words}", Group("task", task.name)
        if task.name in tasks_not_applicable:
            verdicts.append(gates.not_applicable(check, "the source cannot have it"))
        elif group not in measured.groups:
            verdicts.append(gates.not_judged(check, "no label event of this window counts for it"))
        else:
            difference = measured.difference(model, reference, group)
            verdicts.append(gates.paired(check, difference, funnel.task_margin, measured.users(group)))
    for group in measured.groups:
        if group.kind == "slice":
            verdicts.append(
                gates.slice_paired(
                    f"slice {group.name} against {words}",
                    measured.difference(model, reference, group),
                    funnel.slice_margin,
                    measured.users(group),
                    funnel.min_users,
                )
            )
    return verdicts


def agreement(context: StageContext, today: float | None) -> list[dict[str, Any]]:
    """How often each rung and the full model pointed the same way, in this and all earlier cycles that
    have both: rows of rung, cycles, agreed and the pairs of relative differences."""
    source, name = context.cycle.source, context.cycle.name
    pairs: dict[str, list[dict[str, Any]]] = {}
    for folder in sorted(context.settings.cycle_folder(source, name).parent.glob("*")):
        if folder.name > name:
            continue
        records = context.records if folder.name == name else read_records(folder)
        whole = today if folder.name == name else _figure(records, "funnel", "relative_difference")
        for stage in ("rung_1", "rung_2"):
            part = _figure(records, stage, "relative_difference")
            if part is not None and whole is not None:
                pair = {"cycle": folder.name, "rung": part, "full": whole}
                pairs.setdefault(_figure(records, stage, "size"), []).append(pair)
    return [
        {
            "rung": size,
            "cycles": len(found),
            "agreed": sum((p["rung"] >= 0) == (p["full"] >= 0) for p in found),
        }
        | {"pairs": found}
        for size, found in sorted(pairs.items())
    ]


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
        # How long a sequence is, is a matter of today's data.
        sections["model"] = older.model.model_copy(update={"max_length": context.config.model.max_length})
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


def _reads_history(measured: Summary, name: str, exchanged: str | None) -> Verdict:
    """A model whose labels had nothing to do with its contexts ranks as well by anybody's history."""
    check = "own histories against other users'"
    if exchanged is None:
        return gates.not_applicable(check, "the window has one user")
    return gates.paired(check, measured.difference(name, exchanged, ALL), HISTORY_WORTH, measured.users(ALL))


def _beats(measured: Summary, model: str, yardstick: str, *, binding: bool) -> Verdict:
    words = yardstick.replace("_", " ")
    return gates.beats(
        f"all labels against {words}",
        measured.difference(model, yardstick, ALL),
        measured.users(ALL),
        binding=binding,
    )


def _relative(measured: Summary, model: str, reference: str) -> float:
    return measured.difference(model, reference, ALL).relative.value


def _result(
    context: StageContext,
    number: int | None,
    figures: dict[str, Any],
    verdicts: list[Verdict],
    versions: dict[str, int],
) -> StageResult:
    reason = gates.refusal(verdicts, context.config.funnel.strictness)
    figures = figures | {
        "outcome": "refused" if reason else "passed",
        "verdicts": [one.plain() for one in verdicts],
    }
    if reason and number is not None:
        figures["saved"] = saved(context, number)
        reason = f"{reason}. {figures['saved']}"
    for verdict in verdicts:
        context.say(f"{verdict.check}: {verdict.outcome}; {verdict.explanation}")
    return StageResult(versions=versions, figures=figures, refused=reason)


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


def _figure(records: dict[str, Any], stage: str, name: str) -> Any:
    return records[stage].figures.get(name) if stage in records else None
