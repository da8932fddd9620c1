"""Measures of a cycle's models, computed from `ranks` alone: metrics by group, differences, delay curves.

No checkpoint is opened here, and no model judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from model.arrays import Flags
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
    """Every condition under which models are ranked; gates read the first."""
    return [Condition("replay", delay) for delay in config.delays_hours] + [Condition("cutoff", 0.0)]


def judged(config: EvaluationConfig) -> Condition:
    """The condition that gates read: replay at the first delay."""
    return conditions(config)[0]


def summary(
    stored: StoredRanks, condition: Condition, models: tuple[str, ...], config: EvaluationConfig
) -> Summary:
    """Metrics of the models under one condition. Raises `model.evaluation.metrics.MetricsError` when they
    were not ranked on the same examples."""
    return Summary(stored.examples(condition, models), config.hits_at, config.bootstrap_samples)


def measures(
    stored: StoredRanks, ranked_under: list[Condition], models: tuple[str, ...], config: EvaluationConfig
) -> Measures:
    """The measures of an evaluation: of every model, and of the first one beside each of the others.

    Gates read the first condition. Raises as `summary`.
    """
    summaries = {condition: summary(stored, condition, models, config) for condition in ranked_under}
    first = summaries[ranked_under[0]]
    return Measures(
        mrr={model: first.value(model, ALL).value for model in models},
        metrics=tuple(row for pair in summaries.items() for row in _metric_rows(*pair, models)),
        differences=tuple(row for pair in summaries.items() for row in _difference_rows(*pair, models)),
        delay_curves=tuple(delay_curves(stored, ranked_under, models, config)),
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
        for against in models[1:]:
            difference = measured.difference(models[0], against, group)
            rows.append(
                DifferenceRow(
                    model=models[0],
                    against=against,
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
    stored: StoredRanks, ranked_under: list[Condition], models: tuple[str, ...], config: EvaluationConfig
) -> list[DelayCurve]:
    """MRR by serving delay, over the examples that still have a history at the largest delay: one curve for
    every model and every group but the slices.

    Empty where there are fewer than two delays or no such example.
    """
    replay = sorted(
        (condition for condition in ranked_under if condition.protocol == "replay"),
        key=lambda condition: condition.delay_hours,
    )
    if len(replay) < 2:
        return []
    kept = stored.has_history(replay[-1], models[0])
    if not kept.any():
        return []
    return [curve for model in models for curve in _curves(stored, replay, model, kept, config)]


def _curves(
    stored: StoredRanks,
    replay: list[Condition],
    model: str,
    kept: Flags,
    config: EvaluationConfig,
) -> Iterator[DelayCurve]:
    """A model's curves over the examples `kept`, bool [X]."""
    # One summary of the model's ranks at every delay, as if they were several models: paired by example.
    ranked = {_delay(condition): stored.examples(condition, (model,)) for condition in replay}
    first = ranked[_delay(replay[0])]
    groups = {group: member for group, member in first.groups.items() if group.kind != "slice"}
    examples = RankedExamples(
        user=first.user,
        groups=groups,
        rank={delay: of_delay.rank[model] for delay, of_delay in ranked.items()},
        log_probability={delay: of_delay.log_probability[model] for delay, of_delay in ranked.items()},
        rank_unseen={delay: of_delay.rank_unseen[model] for delay, of_delay in ranked.items()},
        label_events=first.label_events,
    )
    measured = Summary(examples.only(kept), config.hits_at, config.bootstrap_samples)
    for group in measured.groups:
        points = tuple(
            DelayPoint(
                delay_hours=condition.delay_hours,
                mrr=_estimate(measured.value(_delay(condition), group)),
                relative=_estimate(measured.difference(_delay(condition), _delay(replay[0]), group).relative),
            )
            for condition in replay
        )
        count = measured.examples(group)
        share = count / int(groups[group].sum())
        yield DelayCurve(model, group.kind, group.name, count, share, points)


def _delay(condition: Condition) -> str:
    """A delay's name in a summary."""
    return f"{condition.delay_hours:g} h"


def _estimate(interval: Interval) -> Estimate:
    """An interval for a record: None for what is not a finite number."""
    return Estimate(_finite(interval.value), _finite(interval.low), _finite(interval.high))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
