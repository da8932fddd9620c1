"""The ranks on the cycle report: MRR by group, every measure, and MRR by serving delay, for every model.

Made from the record of the stage that ranked; `model.evaluation.measures` computed the measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from markupsafe import Markup

from expectations.wording import number
from model.evaluation.figures import (
    DelayCurve,
    DifferenceRow,
    Estimate,
    Lists,
    Measures,
    MetricRow,
    Yardstick,
)
from model.evaluation.metrics import Group
from model.evaluation.names import CANDIDATE, Kind, ModelName, in_order
from pipeline.cycle.figures import EvaluateFigures, EvaluationWindowFigures, RungFigures
from pipeline.cycle.records import Records
from pipeline.report import charts
from pipeline.report.charts import Series

Row = TypeVar("Row", MetricRow, DifferenceRow)

METRICS = {
    "mrr": "MRR",
    "mrr_by_user": "MRR by user",
    "mrr_rare": "MRR, rare items first",
    "mrr_unseen": "MRR, unseen items",
    "test_loss": "test loss, nats",
}
"""Metrics for people, where the stored name does not read well."""
CHART_ROWS = 12
"""Groups that the MRR chart shows at most; the table has all."""


@dataclass(frozen=True)
class Measured:
    """The measures that a report shows: the candidate's, or the last rung's where it has none."""

    model: ModelName
    """The model that is compared with the others."""
    window: EvaluationWindowFigures
    measures: Measures
    yardsticks: tuple[Yardstick, ...] = ()
    lists: Mapping[str, Lists] = field(default_factory=dict)
    """What the lists of the models that were trained show."""

    @property
    def judged(self) -> list[MetricRow]:
        """Rows under the condition that gates read."""
        return _first_condition(self.measures.metrics)

    @property
    def judged_differences(self) -> list[DifferenceRow]:
        """Differences from the other models under the condition that gates read."""
        return _first_condition(self.measures.differences)


@dataclass(frozen=True)
class GroupRow:
    """MRR of every model over one group of labels."""

    title: str
    examples: int
    users: int
    mrr: tuple[Estimate | None, ...]
    """By model, in the order of `Quality.models`."""

    @property
    def best(self) -> float | None:
        """The highest MRR; None where no model has one."""
        known = [cell.value for cell in self.mrr if cell is not None and cell.value is not None]
        return max(known, default=None)


@dataclass(frozen=True)
class MeasureRow:
    """Every measure of one model over all labels under one condition."""

    condition: str
    model: str
    cells: tuple[float | None, ...]
    """By measure, in the order of `Quality.measure_names`."""


@dataclass(frozen=True)
class Quality:
    """MRR by group and model where the gates read it, and every measure over all labels."""

    is_candidate: bool
    """False: the candidate has no measures, and these are a rung's."""
    window: EvaluationWindowFigures
    condition: str
    models: tuple[str, ...]
    """Names for people; the first is compared with the others."""
    rows: tuple[GroupRow, ...]
    """All labels first."""
    hidden: int
    """Groups that the table has and the chart omits."""
    chart: Markup
    measure_names: tuple[str, ...]
    measures: tuple[MeasureRow, ...]
    yardsticks: tuple[str, ...]
    """What each yardstick counted, a sentence each."""
    lists: tuple[tuple[str, Lists], ...]
    """What the lists of each model show, by its name for people."""


@dataclass(frozen=True)
class DelayRow:
    """MRR of one model and group by serving delay."""

    group: str
    model: str
    examples: int
    share: float
    """Fraction of the group's labels that keep a history at the largest delay."""
    mrr: tuple[Estimate, ...]
    """By delay, in the order of `Delays.places`."""
    relative: Estimate
    """Relative difference of the largest delay to the smallest."""


@dataclass(frozen=True)
class Delays:
    """MRR by serving delay."""

    places: tuple[str, ...]
    """Delays for people, smallest first."""
    legend: Markup
    charts: tuple[Markup, ...]
    """One a group."""
    rows: tuple[DelayRow, ...]


def measured(records: Records) -> Measured | None:
    """The measures to show; None when no model was ranked."""
    ranked: dict[ModelName, Measured] = {}
    for record in records.values():
        figures = record.figures
        if (
            isinstance(figures, EvaluateFigures | RungFigures)
            and figures.measures
            and figures.measures.metrics
        ):
            model = ModelName(figures.measures.metrics[0].model)
            # Where the candidate's scores were not finite, the stage measured the champion and yardsticks only.
            if model.kind in (Kind.CANDIDATE, Kind.RUNG):
                ranked[model] = Measured(
                    model, figures.window, figures.measures, figures.yardsticks, figures.lists
                )
    return ranked.get(CANDIDATE) or next(reversed(ranked.values()), None)


def quality(ranked: Measured) -> Quality:
    """The tables and the chart of the measures to show."""
    judged = ranked.judged
    models = in_order(row.model for row in judged)
    cells = {(row.kind, row.group, row.model): row for row in judged}
    rows = []
    for kind, group in _groups(judged):
        by_model = [cells.get((kind, group, model)) for model in models]
        first = next(row for row in by_model if row is not None)
        mrr = tuple(row.values["mrr"] if row is not None else None for row in by_model)
        rows.append(GroupRow(Group(kind, group).words, first.examples, first.users, mrr))
    shown = rows[:CHART_ROWS]
    series = [Series(model.words, [row.mrr[place] for row in shown]) for place, model in enumerate(models)]
    names = list(judged[0].values)
    return Quality(
        is_candidate=ranked.model == CANDIDATE,
        window=ranked.window,
        condition=condition_words(judged[0]),
        models=tuple(model.words for model in models),
        rows=tuple(rows),
        hidden=len(rows) - len(shown),
        chart=charts.dots([row.title for row in shown], series, "MRR"),
        measure_names=tuple(_metric_words(name) for name in names),
        measures=_measure_rows(ranked.measures.metrics, names),
        yardsticks=tuple(map(_yardstick_words, ranked.yardsticks)),
        lists=_lists(ranked),
    )


def delays(ranked: Measured) -> Delays | None:
    """MRR by serving delay, a chart a group; None where fewer than two delays were measured."""
    curves = ranked.measures.delay_curves
    if not curves:
        return None
    places = tuple(delay_words(point.delay_hours) for point in curves[0].points)
    models = in_order(curve.model for curve in curves)
    ordered = sorted(curves, key=lambda curve: models.index(curve.model))
    by_group = {
        group: [curve for curve in ordered if (curve.kind, curve.group) == group] for group in _groups(curves)
    }
    return Delays(
        places=places,
        legend=charts.legend([model.words for model in models]),
        charts=tuple(
            charts.lines(
                Group(*group).words,
                places,
                [Series(ModelName(curve.model).words, _mrr(curve)) for curve in members],
            )
            for group, members in by_group.items()
        ),
        rows=tuple(
            DelayRow(
                group=Group(*group).words,
                model=ModelName(curve.model).words,
                examples=curve.examples,
                share=curve.share,
                mrr=_mrr(curve),
                relative=curve.points[-1].relative,
            )
            for group, members in by_group.items()
            for curve in members
        ),
    )


def condition_words(row: MetricRow) -> str:
    """Protocol and delay for people: `replay, 48 h delay`."""
    if row.protocol == "cutoff":
        return "cutoff, history up to the split"
    return f"replay, {delay_words(row.delay_hours)}"


def delay_words(hours: float) -> str:
    """A serving delay for people: `no delay`, `48 h delay`."""
    return "no delay" if hours == 0 else f"{hours:g} h delay"


def _measure_rows(rows: Sequence[MetricRow], names: Sequence[str]) -> tuple[MeasureRow, ...]:
    """One row a condition and model, over all labels."""
    models = in_order(row.model for row in rows)
    conditions = list(dict.fromkeys(row.condition for row in rows))
    whole = [row for row in rows if row.kind == "all"]
    whole.sort(key=lambda row: (conditions.index(row.condition), models.index(row.model)))
    return tuple(
        MeasureRow(
            condition=condition_words(row),
            model=ModelName(row.model).words,
            cells=tuple(row.values[name].value for name in names),
        )
        for row in whole
    )


def _lists(ranked: Measured) -> tuple[tuple[str, Lists], ...]:
    counted = {one.model: one.lists for one in ranked.yardsticks if one.not_applicable is None}
    known = {**ranked.lists, **counted}
    return tuple((name.words, known[name]) for name in in_order(known) if known[name] is not None)


def _yardstick_words(yardstick: Yardstick) -> str:
    """`Decayed popularity counts the whole log (640 events of 31 items), with a half-life of 3 days, chosen by
    MRR on 240 labels before the split.`"""
    name = ModelName(yardstick.model).in_a_sentence
    if yardstick.not_applicable is not None:
        return f"{name[0].upper()}{name[1:]} is not applicable: {yardstick.not_applicable}."
    words = f"{name[0].upper()}{name[1:]} {yardstick.words}"
    if yardstick.half_life_hours is not None:
        words += f", with a half-life of {_hours_words(yardstick.half_life_hours)}"
        labels = yardstick.half_life_labels
        words += (
            f", chosen by MRR on {number(labels)} labels before the split"
            if labels
            else (", since no label before the split says which is best")
        )
    return f"{words}."


def _hours_words(hours: float) -> str:
    """`6 h`, `3 days`."""
    return f"{hours:g} h" if hours < 24 else f"{hours / 24:g} day{'' if hours == 24 else 's'}"


def _metric_words(name: str) -> str:
    return METRICS.get(name, name.replace("_", " ").replace("ndcg", "NDCG"))


def _groups(rows: Sequence[MetricRow] | Sequence[DelayCurve]) -> list[tuple[str, str]]:
    """Kind and name of every group, in the order of the rows."""
    return list(dict.fromkeys((row.kind, row.group) for row in rows))


def _mrr(curve: DelayCurve) -> tuple[Estimate, ...]:
    return tuple(point.mrr for point in curve.points)


def _first_condition(rows: Sequence[Row]) -> list[Row]:
    """Rows under the condition that gates read, which comes first."""
    return [row for row in rows if row.condition == rows[0].condition]
