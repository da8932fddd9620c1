"""Writes the cycle report, one self-contained page, and closes the cycle's run in the registry.

    python -m pipeline report --source my.toml --cutoff 2026-03-01

Reads the records of every finished stage and, at their pinned versions, the tables that hold rejected
lines, histories and the vocabulary. Leaves `cycle.html` in the cycle's report folder and the figures of
its run in MLflow. A refused cycle has a report too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expectations.files import write_atomically
from expectations.page import render
from model.evaluation.figures import Measures
from model.evaluation.names import CANDIDATE, ModelName
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import EvaluateFigures, ReportFigures, RungFigures
from pipeline.cycle.lineage import lineage
from pipeline.cycle.records import StageResult
from pipeline.registry import tracking
from pipeline.report import page
from pipeline.report.page import Headline
from pipeline.report.table_facts import TableFacts, table_facts

PAGE = "cycle.html"
TEMPLATES = Path(page.__file__).resolve().parent / "templates"


def report(context: StageContext) -> StageResult:
    """The stage: writes the page and ends the cycle's runs with their outcome."""
    facts = table_facts(context)
    origin = lineage(context)
    path = write_page(context, facts, origin)
    headline = page.headline(context.records)
    _close_runs(context, headline, origin, path)
    context.say(f"{headline.title}; {path}")
    return StageResult(ReportFigures(headline.outcome, headline.title, path.name))


def write_page(context: StageContext, facts: TableFacts, origin: dict[str, Any]) -> Path:
    """Writes the page; returns its path."""
    cycle = context.cycle
    values = page.values(cycle, context.config, context.records, facts, origin)
    path = context.settings.report_folder(cycle.source, cycle.name) / PAGE
    write_atomically(path, render("cycle.html.j2", values, TEMPLATES), mode=0o644)
    return path


def _close_runs(context: StageContext, headline: Headline, origin: dict[str, Any], path: Path) -> None:
    """Ends the run of every model of the cycle; the cycle's own carries the page and the lineage."""
    for record in context.records.values():
        if isinstance(record.figures, RungFigures):
            model = ModelName.rung(record.figures.size)
            tracking.log_figures(context, model, run_figures(record.figures.measures))
            outcome = "refused" if record.refused else "passed"
            tracking.close_run(context, model, outcome, record.refused or "passed its gate")
        if isinstance(record.figures, EvaluateFigures):
            tracking.log_figures(context, CANDIDATE, run_figures(record.figures.measures))
    tracking.tag_lineage(context, origin)
    words = " ".join((headline.title + ".", *headline.reasons))
    tracking.close_run(context, CANDIDATE, headline.outcome, words, [path])


def run_figures(measures: Measures | None) -> dict[str, float]:
    """Figures of a run by name, to compare versions by: MRR by group where the gates read it, and all
    labels' measures under every condition. `mrr/all`, `mrr/task A`, `hit_rate_10/replay 48 h`."""
    rows = measures.metrics if measures else ()
    if not rows:
        return {}
    first = rows[0]
    named: dict[str, float | None] = {}
    for row in rows:
        if row.condition == first.condition:
            group = row.group if row.kind == "all" else f"{row.kind} {row.group}"
            name = f"mrr/{group}" if row.model == first.model else f"mrr of {row.model}/{group}"
            named[name] = row.values["mrr"].value
        if row.model == first.model and row.kind == "all":
            where = row.protocol if row.protocol == "cutoff" else f"replay {row.delay_hours:g} h"
            named |= {
                f"{metric.replace('@', '_')}/{where}": estimate.value
                for metric, estimate in row.values.items()
            }
    return {_metric_name(name): value for name, value in named.items() if value is not None}


def _metric_name(name: str) -> str:
    """The characters that MLflow allows in a metric's name; any other becomes an underscore."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
