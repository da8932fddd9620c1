"""The part of the cycle report that shows ranks: MRR by group, measure and delay, for every model.

In: the record of the stage that ranked. Out: rows for tables and figures. It reads no table; the
measures were computed from `ranks` by `measures`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from model.evaluation.names import IN_A_SENTENCE, IN_WORDS
from pipeline.cycle.records import StageRecord
from pipeline.report import charts as figures
from pipeline.report.charts import Point, Series
from pipeline.wording import percent

Records = dict[str, StageRecord]

RUNG_MODELS = {"": "", "-older": " of the champion's cycle", "-control": ", champion's configuration",
               "-exchanged": ", other users' histories"}  # fmt: skip
METRICS = {"mrr": "MRR", "mrr_by_user": "MRR by user", "test_loss": "test loss"}
FIGURE_ROWS = 12
"""Groups that the MRR figure shows at most; the table has all."""


def standing(records: Records) -> tuple[str, ...]:
    """Which of the others the model beats and loses to, all labels, one sentence each."""
    measured = measured_stage(records)
    if measured is None:
        return ()
    wins, losses, open_ = [], [], []
    differences = _judged(measured.figures["differences"])
    order = _ordered(row["against"] for row in differences)
    for row in sorted(differences, key=lambda row: order.index(row["against"])):
        if row["kind"] != "all" or row["against"].endswith("-exchanged"):
            continue
        value, low, high = row["relative"]
        if value is None:
            continue
        name = IN_A_SENTENCE.get(row["against"]) or model_words(row["against"])
        words = f"{name} ({percent(value)})"
        sure = low is not None and high is not None and (low > 0 or high < 0)
        (open_ if not sure else wins if value > 0 else losses).append(words)
    told = (("It beats ", wins), ("It loses to ", losses), ("It is not surely apart from ", open_))
    return tuple(f"{start}{_list(names)}." for start, names in told if names)


def measured_stage(records: Records) -> StageRecord | None:
    """The record with the ranks that matter most: the full model's, else the last rung's."""
    for name in ("evaluate", "rung_2", "rung_1"):
        if name in records and records[name].figures.get("metrics"):
            return records[name]
    return None


def quality(record: StageRecord) -> dict[str, Any]:
    """MRR by group and model where the gates read it, as rows and as a figure; other measures beside."""
    rows = record.figures["metrics"]
    judged = _judged(rows)
    models = _ordered(row["model"] for row in judged)
    cells = {(row["kind"], row["group"], row["model"]): row for row in judged}
    table = []
    for kind, group in dict.fromkeys((row["kind"], row["group"]) for row in judged):
        found = [cells.get((kind, group, model)) for model in models]
        first = next(row for row in found if row)
        mrr = [row["mrr"] if row else None for row in found]
        known = [value[0] for value in mrr if value and value[0] is not None]
        table.append(
            {
                "title": group_words(kind, group),
                "examples": first["examples"],
                "users": first["users"],
                "mrr": mrr,
                "best": max(known, default=None),
            }
        )
    shown = table[:FIGURE_ROWS]
    series = [
        Series(model_words(model), [_point(row["mrr"][number]) for row in shown])
        for number, model in enumerate(models)
    ]
    return {
        "stage": record.stage,
        "labels": record.figures.get("labels"),
        "users": record.figures.get("label_users"),
        "condition": condition_words(judged[0]),
        "models": [model_words(model) for model in models],
        "rows": table,
        "hidden": len(table) - len(shown),
        "figure": figures.dots([row["title"] for row in shown], series, "MRR"),
        "measures": measures_table(rows),
        "not_applicable": record.figures.get("tasks_not_applicable") or [],
        "catalogue_items": record.figures.get("catalogue_items"),
        "outside": record.figures.get("labels_outside_catalogue"),
    }


def measures_table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every measure over all labels: one row a condition and model."""
    names = [name for name in rows[0] if isinstance(rows[0][name], list)]
    models = _ordered(row["model"] for row in rows)
    conditions = list(dict.fromkeys(condition_words(row) for row in rows))
    whole = [row for row in rows if row["kind"] == "all"]
    whole.sort(key=lambda row: (conditions.index(condition_words(row)), models.index(row["model"])))
    body = []
    for row in whole:
        found = [row[name][0] for name in names]
        body.append({"condition": condition_words(row), "model": model_words(row["model"]), "values": found})
    return {
        "names": [METRICS.get(name, name.replace("_", " ").replace("ndcg", "NDCG")) for name in names],
        "rows": body,
    }


def delays(record: StageRecord) -> dict[str, Any] | None:
    """MRR by serving delay: rows and one figure a group; None where fewer than two were measured."""
    curves = record.figures.get("delay_curves") or []
    if not curves:
        return None
    hours = [point["delay_hours"] for point in curves[0]["points"]]
    places = [hours_words(hour) for hour in hours]
    models = _ordered(one["model"] for one in curves)
    drawn, rows = [], []
    for kind, group in dict.fromkeys((one["kind"], one["group"]) for one in curves):
        members = [one for one in curves if (one["kind"], one["group"]) == (kind, group)]
        members.sort(key=lambda one: models.index(one["model"]))
        series = [
            Series(model_words(one["model"]), [_point(point["mrr"]) for point in one["points"]])
            for one in members
        ]
        drawn.append(figures.lines(group_words(kind, group), places, series))
        rows += [
            {
                "group": group_words(kind, group),
                "model": model_words(one["model"]),
                "examples": one["examples"],
                "share": one["share"],
                "mrr": [point["mrr"] for point in one["points"]],
                "relative": one["points"][-1]["relative"],
            }
            for one in members
        ]
    legend = figures.legend([model_words(model) for model in models])
    return {"places": places, "legend": legend, "figures": drawn, "rows": rows}


def model_words(name: str) -> str:
    """A model's name in `ranks`, for people."""
    if not name.startswith("rung-"):
        return IN_WORDS.get(name, name)
    size, _, kind = name.removeprefix("rung-").partition("-")
    return f"rung {size}{RUNG_MODELS.get(f'-{kind}' if kind else '', ' ' + kind)}"


def group_words(kind: str, group: str) -> str:
    """A group of labels, for people."""
    if kind == "all":
        return "all labels"
    return f"task {group}" if kind == "task" else group.replace("_", " ")


def condition_words(row: dict[str, Any]) -> str:
    """Protocol and delay, for people."""
    return (
        "cutoff, history to the split"
        if row["protocol"] == "cutoff"
        else f"replay, {hours_words(row['delay_hours'])} delay"
    )


def hours_words(hours: float) -> str:
    return "no" if hours == 0 else f"{hours:g} h"


def _ordered(models: Iterable[str]) -> list[str]:
    """Models in the order in which every part shows them: the candidate or the rung, what came before
    it, then the yardsticks."""
    order = list(IN_WORDS)
    found = list(dict.fromkeys(models))
    return sorted(found, key=lambda model: order.index(model) if model in order else -1)


def _judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the condition that the gates read, which comes first."""
    first = (rows[0]["protocol"], rows[0]["delay_hours"]) if rows else None
    return [row for row in rows if (row["protocol"], row["delay_hours"]) == first]


def _point(values: list[float | None] | None) -> Point | None:
    return None if values is None else Point(*values)


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
