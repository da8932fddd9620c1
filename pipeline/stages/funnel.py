"""The end of the funnel: the full model is judged by the ranks that `evaluate` wrote.

In: the cycle's context and its ranks. Out: verdicts as plain values, the reason of a refusal, and
how often the rungs agreed with the full model. Nothing is trained here, and so no Lightning is
loaded, whose import takes longer than the judgement.
"""

from __future__ import annotations

from typing import Any

from model.evaluation.metrics import MetricsError
from model.evaluation.names import CANDIDATE, CHAMPION, FROZEN
from pipeline.cycle.records import StageContext, StageResult, read_records
from pipeline.evaluation import measures
from pipeline.evaluation.ranking import YARDSTICKS
from pipeline.gates import rules as gates
from pipeline.gates.rules import Verdict
from pipeline.gates.verdicts import NOTHING_BEFORE, beats, non_inferiority, relative, result


def funnel(context: StageContext) -> StageResult:
    """The stage: judges the full model by the ranks that `evaluate` wrote."""
    config, evaluated = context.config, context.figures("evaluate")
    budget = config.funnel
    verdicts = [gates.finite("scores", evaluated.get("not_finite"))]
    figures: dict[str, Any] = {}
    if "not_finite" not in evaluated:
        problem = evaluated.get("champion_not_comparable")
        champion = (CHAMPION,) if context.cycle.reference and problem is None else ()
        models = (CANDIDATE, *champion, *YARDSTICKS)
        stored = measures.read(context, context.versions["ranks"])
        judged = measures.judged(config.evaluation)
        try:
            measured = measures.summary(stored, judged, models, config.evaluation)
        except MetricsError as error:
            verdicts.append(Verdict("ranks", "fail", str(error)))
        else:
            verdicts += [beats(measured, CANDIDATE, other, binding=other == FROZEN) for other in YARDSTICKS]
            figures["loses_to"] = [other for other in YARDSTICKS if relative(measured, CANDIDATE, other) < 0]
            if champion:
                missing = tuple(evaluated.get("tasks_not_applicable", ()))
                verdicts += non_inferiority(measured, CANDIDATE, CHAMPION, "the champion", config, missing)
                figures["relative_difference"] = relative(measured, CANDIDATE, CHAMPION)
            else:
                verdicts.append(gates.not_applicable("the champion", problem or NOTHING_BEFORE))
    verdicts += [
        gates.not_applicable("the forecast", f"{len(budget.rungs)} rungs, and a forecast needs four"),
        gates.within("latency", evaluated.get("latency_milliseconds"), budget.max_latency_milliseconds, "ms"),
        gates.within("size", evaluated.get("size_megabytes"), budget.max_size_megabytes, "MB"),
    ]
    figures["agreement"] = agreement(context, figures.get("relative_difference"))
    return result(context, figures, verdicts, {})


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


def _figure(records: dict[str, Any], stage: str, name: str) -> Any:
    return records[stage].figures.get(name) if stage in records else None
