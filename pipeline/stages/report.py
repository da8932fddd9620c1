"""Writes the cycle report, one self-contained page, and closes the cycle's runs in the registry.

    python -m pipeline report --source my.toml --cutoff 2026-03-01

Reads the records of every finished stage and, at their pinned versions, the tables that hold rejected
lines, histories and the vocabulary. Leaves `cycle.html` in the cycle's report folder and the figures of
its runs in MLflow, and removes the pair lists that the cycle's models shared. A refused cycle has a report too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from expectations.crash_points import reach
from expectations.files import write_atomically
from model.evaluation.figures import Measures, MetricRow
from model.evaluation.names import CANDIDATE, ModelName
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import EvaluateFigures, ReportFigures, RungFigures
from pipeline.cycle.lineage import lineage
from pipeline.cycle.records import StageResult
from pipeline.registry import tracking
from pipeline.report.outcome import Headline, headline
from pipeline.report.page import cycle_page
from pipeline.report.table_facts import table_facts

PAGE = "cycle.html"


def report(context: StageContext) -> StageResult:
    """The stage: writes the page and ends the cycle's runs with their outcome."""
    cycle, records, origin = context.cycle, context.records, lineage(context)
    outcome = headline(records)
    path = context.settings.report_folder(cycle.source, cycle.name) / PAGE
    page = cycle_page(cycle, context.config, records, table_facts(context), origin)
    write_atomically(path, page, mode=0o644)
    reach("after-report")
    _close_runs(context, outcome, origin, path)
    reach("after-runs")
    # No model of the cycle is left to train.
    shutil.rmtree(context.settings.pairs_folder(cycle.source, cycle.name), ignore_errors=True)
    context.say(f"{outcome.title}; {path}")
    return StageResult(ReportFigures(outcome.outcome, outcome.title, path.name))


def _close_runs(context: StageContext, outcome: Headline, origin: dict[str, Any], path: Path) -> None:
    """Ends the run of every model of the cycle; the candidate's carries the page and the lineage."""
    for record in context.records.values():
        if isinstance(record.figures, RungFigures):
            model = ModelName.rung(record.figures.size)
            tracking.log_figures(context, model, run_figures(model, record.figures.measures))
            result = "refused" if record.refused else "passed"
            tracking.close_run(context, model, result, record.refused or "passed its gate")
        if isinstance(record.figures, EvaluateFigures):
            tracking.log_figures(context, CANDIDATE, run_figures(CANDIDATE, record.figures.measures))
    tracking.tag_lineage(context, origin)
    reason = " ".join((f"{outcome.title}.", *outcome.sentences))
    tracking.close_run(context, CANDIDATE, outcome.outcome, reason, [path])


def run_figures(model: ModelName, measures: Measures | None) -> dict[str, float]:
    """Figures of a model's run by name, to compare versions by: MRR by group where the gates read it, and
    every metric over all labels under every condition.

    `mrr/all`, `mrr/task A`, `mrr of markov/all`, `hit_rate_10/replay 48 h`. Empty without measures.
    """
    rows = measures.metrics if measures else ()
    figures: dict[str, float | None] = {}
    for row in rows:
        if row.condition == rows[0].condition:
            group = row.group if row.kind == "all" else f"{row.kind} {row.group}"
            of_model = "" if row.model == model else f" of {row.model}"
            figures[f"mrr{of_model}/{group}"] = row.values["mrr"].value
        if row.model == model and row.kind == "all":
            for metric, estimate in row.values.items():
                figures[f"{metric.replace('@', '_')}/{_condition(row)}"] = estimate.value
    return {_metric_name(name): value for name, value in figures.items() if value is not None}


def _condition(row: MetricRow) -> str:
    return row.protocol if row.protocol == "cutoff" else f"replay {row.delay_hours:g} h"


def _metric_name(name: str) -> str:
    """The name with every character that MLflow refuses in a metric replaced by an underscore."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
