"""What a person sees on the terminal: the map, the cycles of a source, the outcome of a cycle.

Made from the records of cycles and the registry; every number was recorded by a stage.
"""

from __future__ import annotations

import textwrap
from io import StringIO
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from model.evaluation.figures import Estimate
from model.evaluation.metrics import Group
from model.evaluation.names import CANDIDATE, Variant, in_order
from pipeline.cycle.context import figures_of
from pipeline.cycle.definition import AcceptedVersion, ResolvedCycle, read_cycle
from pipeline.cycle.figures import (
    EvaluateFigures,
    FunnelFigures,
    PromoteFigures,
    RegisterFigures,
    RungFigures,
)
from pipeline.cycle.records import Records, read_records
from pipeline.report.page import by_frequency, verdicts_of
from pipeline.report.quality import hours_words, measured
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import refresh_cycle
from pipeline.workflows.stage import Workflow
from spark_jobs.figures import EventsFigures, SequencesFigures, VocabularyFigures

T = TypeVar("T")

WIDTH = 120
REASONS_SHOWN = 3
"""Reasons of rejected lines that a cycle's screen names at most."""
RUNG_VARIANTS = (Variant.OWN,)
"""Variants of a rung that fit on the screen; the report has the others."""


def map_screen(stages: Workflow) -> str:
    """The map of stages."""
    table = _table("The stages of a refresh cycle, in order")
    for title in ("stage", "what it does", "reads", "writes", "engine"):
        table.add_column(title)
    for row in stages.listing():
        table.add_row(*row)
    return _text(table)


def screen(settings: Settings, source: str | None = None) -> str:
    """Every source with its cycles, its versions and its champion."""
    root = settings.home / "cycles"
    sources = [source] if source else sorted(path.name for path in root.glob("*") if path.is_dir())
    if not sources:
        return f"No cycle has run under {settings.home}. Start one with: make demo"
    return "\n".join(_source(settings, name) for name in sources)


def _source(settings: Settings, source: str) -> str:
    from pipeline.registry import tracking

    champion = tracking.champion_version(settings, source)
    table = _table(f"{source}: champion is version {champion}" if champion else f"{source}: no champion")
    for title in ("cycle", "fine-tuned from", "outcome", "version", "MRR", "seconds"):
        table.add_column(title, justify="right" if title in ("MRR", "seconds") else "left")
    for folder in sorted((settings.home / "cycles" / source).glob("*")):
        resolved, records = read_cycle(settings, source, folder.name), read_records(folder)
        if resolved is None:
            continue
        parent, evaluated = resolved.cycle.parent, _figures(records, "evaluate", EvaluateFigures)
        mrr = evaluated.measures.mrr.get(CANDIDATE) if evaluated else None
        table.add_row(
            folder.name,
            f"version {parent.version}, {parent.cycle}" if parent else "from scratch",
            _outcome(records),
            _version(records, champion),
            f"{mrr:.4f}" if mrr is not None else "",
            f"{sum(record.seconds for record in records.values()):.0f}",
        )
    return _text(table)


def _outcome(records: Records) -> str:
    refused = next((name for name, record in records.items() if record.refused), None)
    if refused:
        return f"refused by {refused}"
    if "register" in records:
        return "accepted"
    return f"unfinished, last stage {list(records)[-1]}" if records else "resolved, no stage finished"


def _version(records: Records, champion: int | None) -> str:
    registered = _figures(records, "register", RegisterFigures)
    if registered is None:
        return ""
    return f"{registered.version}{' (champion)' if registered.version == champion else ''}"


def cycle_screen(settings: Settings, source: str, names: list[str]) -> str:
    """One screen for some cycles of a source: counts, MRR beside the yardsticks, verdicts, costs."""
    parts = [_cycle(settings, source, name) for name in names]
    commands = [
        ("Airflow and MLflow pages", "make ui    (make stop ends them)"),
        ("all cycles", f"python -m pipeline status --source {source}"),
        *((f"report of {name}", str(settings.report_folder(source, name) / "cycle.html")) for name in names),
    ]
    lines = [f"  {title:<26} {command}" for title, command in commands]
    return "\n".join([*parts, *lines])


def _cycle(settings: Settings, source: str, name: str) -> str:
    resolved = read_cycle(settings, source, name)
    if resolved is None:
        return f"Cycle {name} of {source} has not run."
    records, cycle = read_records(settings.cycle_folder(source, name)), resolved.cycle
    head = (
        f"Cycle {name} of {source}   split {cycle.split:%Y-%m-%d}, cutoff {cycle.cutoff:%Y-%m-%d}, "
        f"{_start(cycle.parent)}"
    )
    body = [
        head,
        "─" * len(head),
        *_data_lines(records),
        "",
        _mrr_table(records),
        "",
        *_verdict_lines(records),
        "",
    ]
    return "\n".join([*body, *_cost_lines(_stages(resolved), records), ""])


def _start(parent: AcceptedVersion | None) -> str:
    return f"fine-tuned from version {parent.version} of {parent.cycle}" if parent else "from scratch"


def _stages(resolved: ResolvedCycle) -> Workflow:
    """The stages that the cycle's own configuration had."""
    return refresh_cycle(resolved.configuration["funnel"]["rungs"])


def _data_lines(records: Records) -> list[str]:
    events = _figures(records, "events", EventsFigures)
    if events is None:
        return ["data       nothing ingested yet"]
    reasons = by_frequency(events.rejected_by_reason)[:REASONS_SHOWN]
    worst = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    new = f"{events.accepted:,} lines accepted, {events.rejected:,} rejected"
    lines = [f"data       {new}{f' ({worst})' if worst else ''}"]
    sequences = _figures(records, "sequences", SequencesFigures)
    vocabulary = _figures(records, "vocabulary", VocabularyFigures)
    if sequences is not None:
        rate = f"; cold-start rate {vocabulary.cold_start_rate:.1%}" if vocabulary else ""
        lines.append(
            f"           {sequences.events:,} events up to the split in {sequences.rows:,} sequences, "
            f"{sequences.bytes_per_token:.1f} bytes a token{rate}"
        )
    ranked = measured(records)
    if ranked is not None:
        lines.append(
            f"           {ranked.window.labels:,} labels of {ranked.window.label_users:,} users in the window"
        )
    return lines


def _mrr_table(records: Records) -> str:
    """MRR of the full model beside the yardsticks; where none was evaluated, of the last rung."""
    ranked = measured(records)
    if ranked is None:
        return "MRR        not measured: no model was ranked"
    rows = [row for row in ranked.judged if row.kind != "slice"]
    models = [name for name in in_order(row.model for row in rows) if name.variant in RUNG_VARIANTS]
    first = rows[0]
    delay = f"{hours_words(first.delay_hours)} delay"
    table = _table(f"MRR, {first.protocol}, {delay}, with 95 % intervals")
    table.add_column("labels")
    for name in models:
        table.add_column(name.words, justify="right", no_wrap=True)
    for kind, group in dict.fromkeys((row.kind, row.group) for row in rows):
        cells = {row.model: row for row in rows if (row.kind, row.group) == (kind, group)}
        table.add_row(
            f"{Group(kind, group).words} ({cells[models[0]].examples:,})",
            *(_interval(cells[name].values["mrr"]) for name in models),
        )
    return _text(table).rstrip()


def _interval(estimate: Estimate) -> str:
    """Value and interval, short enough for five of them a line: 0.0604 [.052, .070]."""
    if any(number is None for number in estimate):
        return "none"
    low, high = (f"{number:.3f}".removeprefix("0") for number in estimate[1:])
    return f"{estimate.value:.4f} [{low}, {high}]"


def _verdict_lines(records: Records) -> list[str]:
    lines = []
    for name, record in records.items():
        if not isinstance(record.figures, RungFigures | FunnelFigures):
            continue
        outcomes = [verdict.outcome for verdict in verdicts_of(record)]
        counts = [(outcomes.count(outcome), outcome) for outcome in ("pass", "inconclusive", "fail")]
        words = ", ".join(f"{count} {outcome}" for count, outcome in counts if count)
        lines.append(f"{name:<10} {record.figures.outcome}{f' ({words})' if words else ''}")
        if record.refused:
            lines += [f"           {line}" for line in textwrap.wrap(record.refused, WIDTH - 11)]
    registered = _figures(records, "register", RegisterFigures)
    if registered is not None:
        promoted = _figures(records, "promote", PromoteFigures)
        alias = ", champion" if promoted and promoted.moved else f"; {promoted.why}" if promoted else ""
        lines.append(f"registered version {registered.version} of {registered.model}{alias}")
    elif any(record.refused for record in records.values()):
        lines.append("registered nothing: the candidate was refused")
    return lines


def _cost_lines(stages: Workflow, records: Records) -> list[str]:
    """Seconds of every stage, several a line."""
    costs = [
        f"{stage.name} {records[stage.name].seconds:.0f} s"
        for stage in stages.stages
        if stage.name in records
    ]
    total = sum(record.seconds for record in records.values())
    lines, current = [], "cost      "
    for cost in costs:
        if len(current) + len(cost) > WIDTH - 4:
            lines.append(current)
            current = "          "
        current += f" {cost} ·"
    return [*lines, f"{current} {total:.0f} s of stages"]


def _figures(records: Records, stage: str, kind: type[T]) -> T | None:
    """A stage's figures; None when it did not run."""
    return figures_of(records[stage], kind) if stage in records else None


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _text(table: Table) -> str:
    buffer = StringIO()
    Console(file=buffer, width=WIDTH, color_system=None).print(table)
    return buffer.getvalue()
