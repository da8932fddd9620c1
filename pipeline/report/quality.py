"""The part of the cycle report that shows ranks: MRR by group, measure and delay, for every model.

Made from the record of the stage that ranked; the measures were computed from `ranks` by
`model.evaluation.measures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from model.evaluation.figures import DifferenceRow, Measures, MetricRow
from model.evaluation.metrics import Group
from model.evaluation.names import ModelName, Variant, in_order
from pipeline.cycle.figures import EvaluateFigures, EvaluationWindowFigures, RungFigures
from pipeline.cycle.records import Records
from pipeline.report import charts
from pipeline.report.charts import Series
from pipeline.wording import percent

Row = TypeVar("Row", MetricRow, DifferenceRow)

METRICS = {"mrr": "MRR", "mrr_by_user": "MRR by user", "test_loss": "test loss"}
CHART_ROWS = 12
"""Groups that the MRR chart shows at most; the table has all."""


@dataclass(frozen=True)
class Measured:
    """The measures that matter most in a cycle: the full model's, else the last rung's."""

    stage: str
    window: EvaluationWindowFigures
    measures: Measures

    @property
    def judged(self) -> list[MetricRow]:
        """Rows under the condition that the gates read, which comes first."""
        return _first_condition(self.measures.metrics)

    @property
    def model(self) -> ModelName:
        """The model that is compared with the others."""
        return ModelName(self.measures.metrics[0].model)

    @property
    def is_full_model(self) -> bool:
        """False: no full model was evaluated, and these are a rung's."""
        return self.model.size is None


def measured(records: Records) -> Measured | None:
    """The measures to show; None when no model was ranked."""
    ranked = [
        Measured(record.stage, record.figures.window, record.figures.measures)
        for record in records.values()
        if isinstance(record.figures, EvaluateFigures | RungFigures)
        and record.figures.measures
        and record.figures.measures.metrics
    ]
    return max(ranked, key=lambda one: (one.is_full_model, one.stage), default=None)


def standing(records: Records) -> tuple[str, ...]:
    """Which of the others the model beats and loses to over all labels, one sentence each."""
    found = measured(records)
    if found is None:
        return ()
    wins, losses, undecided = [], [], []
    rows = {
        row.against: row.relative
        for row in _first_condition(found.measures.differences)
        if row.kind == "all" and row.relative.value is not None
    }
    for name in in_order(rows):
        if name.variant is Variant.EXCHANGED:
            continue
        relative = rows[name]
        words = f"{name.in_a_sentence} ({percent(relative.value)})"
        if not relative.is_significant:
            undecided.append(words)
        elif relative.value > 0:
            wins.append(words)
        else:
            losses.append(words)
    sentences = (
        ("It loses to ", losses),
        ("It beats ", wins),
        ("No significant difference from ", undecided),
    )
    return tuple(f"{start}{_list(names)}." for start, names in sentences if names)


def quality(found: Measured) -> dict[str, Any]:
    """MRR by group and model where the gates read it, as rows and as a chart; other measures beside."""
    judged = found.judged
    models = in_order(row.model for row in judged)
    cells = {(row.kind, row.group, row.model): row for row in judged}
    table = []
    for kind, group in dict.fromkeys((row.kind, row.group) for row in judged):
        rows = [cells.get((kind, group, model)) for model in models]
        first = next(row for row in rows if row)
        mrr = [row.values["mrr"] if row else None for row in rows]
        known = [estimate.value for estimate in mrr if estimate and estimate.value is not None]
        table.append(
            {
                "title": Group(kind, group).words,
                "examples": first.examples,
                "users": first.users,
                "mrr": mrr,
                "best": max(known, default=None),
            }
        )
    shown = table[:CHART_ROWS]
    series = [
        Series(model.words, [row["mrr"][number] for row in shown]) for number, model in enumerate(models)
    ]
    return {
        "is_full_model": found.is_full_model,
        "window": found.window,
        "condition": condition_words(judged[0]),
        "models": [model.words for model in models],
        "rows": table,
        "hidden": len(table) - len(shown),
        "chart": charts.dots([row["title"] for row in shown], series, "MRR"),
        "measures": measures_table(found.measures.metrics),
    }


def measures_table(rows: Sequence[MetricRow]) -> dict[str, Any]:
    """Every measure over all labels: one row a condition and model."""
    names = list(rows[0].values)
    models = in_order(row.model for row in rows)
    conditions = list(dict.fromkeys(row.condition for row in rows))
    whole = [row for row in rows if row.kind == "all"]
    whole.sort(key=lambda row: (conditions.index(row.condition), models.index(row.model)))
    body = [
        {
            "condition": condition_words(row),
            "model": ModelName(row.model).words,
            "values": [row.values[name].value for name in names],
        }
        for row in whole
    ]
    return {
        "names": [METRICS.get(name, name.replace("_", " ").replace("ndcg", "NDCG")) for name in names],
        "rows": body,
    }


def delays(found: Measured) -> dict[str, Any] | None:
    """MRR by serving delay: rows and one chart a group; None where fewer than two were measured."""
    curves = found.measures.delay_curves
    if not curves:
        return None
    places = [hours_words(point.delay_hours) for point in curves[0].points]
    models = in_order(curve.model for curve in curves)
    drawn, rows = [], []
    for kind, group in dict.fromkeys((curve.kind, curve.group) for curve in curves):
        members = [curve for curve in curves if (curve.kind, curve.group) == (kind, group)]
        members.sort(key=lambda curve: models.index(curve.model))
        title = Group(kind, group).words
        series = [
            Series(ModelName(curve.model).words, [point.mrr for point in curve.points]) for curve in members
        ]
        drawn.append(charts.lines(title, places, series))
        rows += [
            {
                "group": title,
                "model": ModelName(curve.model).words,
                "examples": curve.examples,
                "share": curve.share,
                "mrr": [point.mrr for point in curve.points],
                "relative": curve.points[-1].relative,
            }
            for curve in members
        ]
    legend = charts.legend([model.words for model in models])
    return {"places": places, "legend": legend, "charts": drawn, "rows": rows}


def condition_words(row: MetricRow) -> str:
    """Protocol and delay, for people."""
    if row.protocol == "cutoff":
        return "cutoff, history to the split"
    return f"replay, {hours_words(row.delay_hours)} delay"


def hours_words(hours: float) -> str:
    return "no" if hours == 0 else f"{hours:g} h"


def _first_condition(rows: Sequence[Row]) -> list[Row]:
    """Rows under the condition that the gates read, which comes first."""
    return [row for row in rows if row.condition == rows[0].condition]


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
