"""Measures of a cycle's models, computed from `ranks` alone: metrics by group, differences, delay curves.

It opens no checkpoint and judges nothing.
"""

from __future__ import annotations

import math

from model.config import EvaluationConfig
from model.evaluation.bootstrap import Interval
from model.evaluation.figures import (
    DelayCurve,
    DelayPoint,
    DifferenceRow,
    Estimate,
    Measures,
    MetricRow,
)
from model.evaluation.metrics import ALL, RankedExamples, Summary
from model.evaluation.ranks import Condition, StoredRanks


def conditions(config: EvaluationConfig) -> list[Condition]:
    """Every condition that is ranked, the one that gates read first."""
    return [Condition("replay", delay) for delay in config.delays_hours] + [Condition("cutoff", 0.0)]


def judged(config: EvaluationConfig) -> Condition:
    """The condition that gates read: replay at the first delay."""
    return conditions(config)[0]


def summary(
    stored: StoredRanks, condition: Condition, models: tuple[str, ...], config: EvaluationConfig
) -> Summary:
    """Every metric of the models under one condition. Raises `model.evaluation.metrics.MetricsError` when
    they were not ranked on the same examples."""
    return Summary(stored.examples(condition, models), config.hits_at, config.bootstrap_samples)


def measures(
    stored: StoredRanks, among: list[Condition], models: tuple[str, ...], config: EvaluationConfig
) -> Measures:
    """The measures of an evaluation. The first of `models` is compared with the others; the first of
    `among` is the condition that gates read."""
    summaries = {condition: summary(stored, condition, models, config) for condition in among}
    first = summaries[among[0]]
    return Measures(
        mrr={model: first.value(model, ALL).value for model in models},
        metrics=tuple(row for pair in summaries.items() for row in _metric_rows(*pair, models)),
        differences=tuple(row for pair in summaries.items() for row in _difference_rows(*pair, models)),
        delay_curves=tuple(delay_curves(stored, among, models, config)),
    )


def _metric_rows(condition: Condition, measured: Summary, models: tuple[str, ...]) -> list[MetricRow]:
    return [
        MetricRow(
            model=model,
            protocol=condition.protocol,
            delay_hours=condition.delay_hours,
            kind=group.kind,
            group=group.name,
            examples=measured.examples(group),
            users=measured.users(group),
            values={name: _estimate(measured.value(model, group, name)) for name in measured.metrics},
        )
        for group in measured.groups
        for model in models
    ]


def _difference_rows(condition: Condition, measured: Summary, models: tuple[str, ...]) -> list[DifferenceRow]:
    rows = []
    for group in measured.groups:
        for other in models[1:]:
            difference = measured.difference(models[0], other, group)
            rows.append(
                DifferenceRow(
                    model=models[0],
                    against=other,
                    protocol=condition.protocol,
                    delay_hours=condition.delay_hours,
                    kind=group.kind,
                    group=group.name,
                    examples=measured.examples(group),
                    users=measured.users(group),
                    absolute=_estimate(difference.absolute),
                    relative=_estimate(difference.relative),
                    lower_bound=_finite(difference.lower_bound),
                    upper_bound=_finite(difference.upper_bound),
                    detectable=_finite(difference.detectable),
                )
            )
    return rows


def delay_curves(
    stored: StoredRanks, among: list[Condition], models: tuple[str, ...], config: EvaluationConfig
) -> list[DelayCurve]:
    """MRR by serving delay, over the examples whose history is not empty at the largest delay.

    Empty where there are fewer than two delays or no such example.
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
            examples = measured.examples(group)
            points = tuple(
                DelayPoint(
                    delay_hours=one.delay_hours,
                    mrr=_estimate(measured.value(_name(one), group)),
                    relative=_estimate(measured.difference(_name(one), _name(replay[0]), group).relative),
                )
                for one in replay
            )
            share = examples / int(groups[group].sum())
            curves.append(DelayCurve(model, group.kind, group.name, examples, share, points))
    return curves


def _name(condition: Condition) -> str:
    return f"{condition.delay_hours:g} h"


def _estimate(interval: Interval) -> Estimate:
    """None for what is not a number."""
    return Estimate(_finite(interval.value), _finite(interval.low), _finite(interval.high))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
