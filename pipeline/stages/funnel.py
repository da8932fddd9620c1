"""The end of the funnel: judges the full model by the ranks that `evaluate` wrote.

    python -m pipeline funnel --source my.toml --cutoff 2026-03-01

Reads `ranks` and the records of the rungs and of `evaluate`. Leaves verdicts, and how often the rungs
agreed with the full model in this and earlier cycles. It trains nothing and therefore does not import
Lightning, which takes longer than the judgement.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.evaluation.measures import judged, summary
from model.evaluation.metrics import MetricsError, Summary
from model.evaluation.names import CANDIDATE, CHAMPION, EARLIER
from model.sizes import SIZES
from pipeline.config import Config
from pipeline.cycle.context import StageContext, figures_of
from pipeline.cycle.figures import Agreement, CyclePair, EvaluateFigures, FunnelFigures, RungFigures
from pipeline.cycle.records import Records, StageResult, read_records
from pipeline.evaluation.ranking import UNDESCRIBED, applicable, stored_ranks
from pipeline.gates import rules
from pipeline.gates.rules import Verdict
from pipeline.gates.verdicts import NOTHING_BEFORE, against_yardsticks, non_inferiority, refusal, relative

RUNGS_FOR_A_FORECAST = 4


def funnel(context: StageContext) -> StageResult:
    """The stage: judges the full model by the ranks that `evaluate` wrote."""
    evaluated, budget = context.figures("evaluate", EvaluateFigures), context.config.funnel
    verdicts = [rules.finite(evaluated.not_finite)]
    loses_to: tuple[str, ...] = ()
    difference: float | None = None
    if evaluated.not_finite is None:
        compared, loses_to, difference = _compare(context, evaluated)
        verdicts += compared
    verdicts += [
        _forecast(len(budget.rungs)),
        rules.within("latency", evaluated.latency_milliseconds, budget.max_latency_milliseconds, "ms"),
        rules.within("size", evaluated.size_megabytes, budget.max_size_megabytes, "MB"),
    ]
    reason = refusal(verdicts, budget.strictness, context.say)
    figures = FunnelFigures(
        verdicts=tuple(verdicts),
        outcome="refused" if reason else "passed",
        agreement=agreement(context, difference),
        loses_to=loses_to,
        relative_difference=difference,
        by_hand=_by_hand(evaluated),
    )
    return StageResult(figures, refused=reason)


def agreement(context: StageContext, today: float | None) -> tuple[Agreement, ...]:
    """How often each rung and the full model pointed the same way, over this and all earlier cycles that
    measured both. `today`: this cycle's relative difference of the full model to the champion."""
    own = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    earlier = sorted(path for path in own.parent.glob("*") if path.name < own.name)
    measured = [(path.name, *_earlier(path)) for path in earlier]
    pairs: dict[str, list[CyclePair]] = {}
    for name, records, full in (*measured, (own.name, context.records, today)):
        if full is None:
            continue
        for record in records.values():
            if isinstance(record.figures, RungFigures) and record.figures.relative_difference is not None:
                pair = CyclePair(name, record.figures.relative_difference, full)
                pairs.setdefault(record.figures.size, []).append(pair)
    return tuple(
        Agreement(
            size, len(of_size), sum((pair.rung >= 0) == (pair.full >= 0) for pair in of_size), tuple(of_size)
        )
        for size, of_size in sorted(pairs.items(), key=lambda item: SIZES[item[0]].parameters)
    )


def _compare(
    context: StageContext, evaluated: EvaluateFigures
) -> tuple[list[Verdict], tuple[str, ...], float | None]:
    """Verdicts against yardsticks and champions, the yardsticks that rank better, and the relative
    difference to the champion (None without one)."""
    config, problem = context.config, evaluated.reference_not_comparable
    has_champion = context.cycle.reference is not None and problem is None
    has_earlier = evaluated.earlier is not None and evaluated.earlier_not_comparable is None
    champions = (*((CHAMPION,) if has_champion else ()), *((EARLIER,) if has_earlier else ()))
    described = evaluated.yardsticks or UNDESCRIBED
    yardsticks = applicable(described)
    models = (CANDIDATE, *champions, *yardsticks)
    stored = stored_ranks(context, context.versions["ranks"])
    try:
        measured = summary(stored, judged(config.evaluation), models, config.evaluation)
    except MetricsError as error:
        return [Verdict("ranks", "fail", str(error))], (), None
    verdicts = against_yardsticks(
        measured,
        CANDIDATE,
        described,
        must_beat=True,
        # Where a champion exists that nobody could compare with, every yardstick stands in for it.
        all_binding=problem is not None,
        has_other=has_champion or has_earlier,
    )
    missing = evaluated.window.tasks_not_applicable
    verdicts += _against_earlier(measured, evaluated, config, missing)
    loses_to = tuple(name for name in yardsticks if relative(measured, CANDIDATE, name) < 0)
    if not has_champion:
        verdicts.append(rules.not_applicable(CHAMPION.in_a_sentence, problem or NOTHING_BEFORE))
        return verdicts, loses_to, None
    verdicts += non_inferiority(measured, CANDIDATE, CHAMPION, CHAMPION.in_a_sentence, config, missing)
    return verdicts, loses_to, relative(measured, CANDIDATE, CHAMPION)


def _against_earlier(
    measured: Summary, evaluated: EvaluateFigures, config: Config, missing: Sequence[str]
) -> list[Verdict]:
    """Verdicts against the champion of some promotions ago, for all labels and every task."""
    words = EARLIER.in_a_sentence
    if evaluated.earlier is None:
        back = config.funnel.compare_back
        why = f"there is none {back} promotions before the champion" if back else "funnel.compare_back is 0"
        return [rules.not_applicable(words, why)]
    if evaluated.earlier_not_comparable is not None:
        return [rules.not_applicable(words, evaluated.earlier_not_comparable)]
    named = f"{words} ({evaluated.earlier})"
    return non_inferiority(measured, CANDIDATE, EARLIER, named, config, missing, with_slices=False)


def _by_hand(evaluated: EvaluateFigures) -> str | None:
    problem = evaluated.reference_not_comparable
    return None if problem is None else f"the champion could not be ranked: {problem}"


def _forecast(rungs: int) -> Verdict:
    """The forecast of the full model's quality from its rungs is not made yet; why, for the report."""
    why = (
        f"it needs {RUNGS_FOR_A_FORECAST} rungs, and there are {rungs}"
        if rungs < RUNGS_FOR_A_FORECAST
        else "this release makes none"
    )
    return rules.not_applicable("the forecast", why)


def _earlier(folder: Path) -> tuple[Records, float | None]:
    """Records of an earlier cycle, and its full model's relative difference; None when it had none."""
    records = read_records(folder)
    if "funnel" not in records:
        return records, None
    return records, figures_of(records["funnel"], FunnelFigures).relative_difference
