"""Tables of measures for records and reports, computed from `ranks` alone.

In: the ranks of one cycle at a Delta version. Out: plain JSON values: metrics of every model by
group and condition with intervals, paired differences of the first model, and delay curves. It
opens no checkpoint and judges nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from model.config import EvaluationConfig
from model.evaluation.bootstrap import Interval
from model.evaluation.metrics import ALL, Group, RankedExamples, Summary
from model.evaluation.ranks import Condition, StoredRanks
from pipeline.cycle.records import StageContext


def read(context: StageContext, version: int) -> StoredRanks:
    """This cycle's ranks at a Delta version."""
    cycle = context.cycle
    return StoredRanks.read(context.settings.lake, cycle.source, cycle.name, version)


def conditions(config: EvaluationConfig) -> list[Condition]:
    """Every condition that is ranked, the one that gates read first."""
    return [Condition("replay", delay) for delay in config.delays_hours] + [Condition("cutoff", 0.0)]


def judged(config: EvaluationConfig) -> Condition:
    """The condition that gates read: replay at the first delay."""
    return conditions(config)[0]


def summary(
    stored: StoredRanks, condition: Condition, models: tuple[str, ...], config: EvaluationConfig
) -> Summary:
    """Every metric of the models under one condition. Raises `model.evaluation.metrics.MetricsError` when they
    were not ranked on the same examples."""
    return Summary(stored.examples(condition, models), config.hits_at, config.bootstrap_samples)


def tables(
    stored: StoredRanks, among: list[Condition], models: tuple[str, ...], config: EvaluationConfig
) -> dict[str, Any]:
    """The figures of an evaluation; the first of `models` is held against the others, and the first
    of `among` is the one that gates read.

    `mrr`: pooled MRR by model there. `metrics`: rows of model, protocol, delay, group, examples,
    users and each metric as [value, low, high]. `differences`: rows of the first model's MRR less
    another's. `delay_curves`: rows of a model's and group's MRR by delay.
    """
    summaries = {condition: summary(stored, condition, models, config) for condition in among}
    first = summaries[among[0]]
    metrics, differences = [], []
    for condition, measured in summaries.items():
        for group in measured.groups:
            head = _head(condition, group) | {
                "examples": measured.examples(group),
                "users": measured.users(group),
            }
            for model in models:
                values = {name: _plain(measured.value(model, group, name)) for name in measured.metrics}
                metrics.append({"model": model} | head | values)
            for other in models[1:]:
                found = measured.difference(models[0], other, group)
                differences.append(
                    {"model": models[0], "against": other}
                    | head
                    | {
                        "absolute": _plain(found.absolute),
                        "relative": _plain(found.relative),
                        "lower_bound": _finite(found.lower_bound),
                        "upper_bound": _finite(found.upper_bound),
                        "detectable": _finite(found.detectable),
                    }
                )
    return {
        "mrr": {model: first.value(model, ALL).value for model in models},
        "metrics": metrics,
        "differences": differences,
        "delay_curves": delay_curves(stored, among, models, config),
    }


def delay_curves(
    stored: StoredRanks, among: list[Condition], models: tuple[str, ...], config: EvaluationConfig
) -> list[dict[str, Any]]:
    """MRR by serving delay, over the examples whose history is not empty at the largest delay.

    `share` is their share of the group's examples; `relative` is the paired difference to the
    smallest delay. Empty where there are fewer than two delays or no such example.
    """
    replay = sorted((one for one in among if one.protocol == "replay"), key=lambda one: one.delay_hours)
    if len(replay) < 2:
        return []
    kept = stored.has_history(replay[-1], models[0])
    if not kept.any():
        return []
    curves = []
    for model in models:
        whole = stored.examples(replay[0], (model,))
        rank = {_name(one): stored.examples(one, (model,)).rank[model] for one in replay}
        nothing = {name: whole.log_probability[model] for name in rank}
        groups = {group: member for group, member in whole.groups.items() if group.kind != "slice"}
        measured = Summary(
            RankedExamples(whole.user, groups, rank, nothing).only(kept),
            config.hits_at,
            config.bootstrap_samples,
        )
        for group in measured.groups:
            points = [
                {
                    "delay_hours": one.delay_hours,
                    "mrr": _plain(measured.value(_name(one), group)),
                    "relative": _plain(measured.difference(_name(one), _name(replay[0]), group).relative),
                }
                for one in replay
            ]
            examples = measured.examples(group)
            share = examples / int(groups[group].sum())
            curves.append(
                {
                    "model": model,
                    "kind": group.kind,
                    "group": group.name,
                    "examples": examples,
                    "share": share,
                }
                | {"points": points}
            )
    return curves


def _head(condition: Condition, group: Group) -> dict[str, Any]:
    return asdict(condition) | {"kind": group.kind, "group": group.name}


def _name(condition: Condition) -> str:
    return f"{condition.delay_hours:g} h"


def _plain(interval: Interval) -> list[float | None]:
    """[value, low, high]; None for what is not a number."""
    return [_finite(interval.value), _finite(interval.low), _finite(interval.high)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
