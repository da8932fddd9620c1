"""What a person sees on the terminal: cycles, versions, what is live, what a cycle came to.

In: the records of cycles and the registry. Out: text. It computes nothing: every number was
recorded by a stage.
"""

from __future__ import annotations

import textwrap
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from model.evaluation.names import CANDIDATE, IN_WORDS
from pipeline.cycle.definition import read_cycle
from pipeline.cycle.records import StageRecord, read_records
from pipeline.report.quality import measured_stage, model_words
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import STAGES, listing

WIDTH = 120


def map_screen() -> str:
    """The map of stages."""
    table = _table("The stages of a refresh cycle, in order")
    for title in ("stage", "what it does", "reads", "writes", "engine"):
        table.add_column(title)
    for row in listing():
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
    for title in ("cycle", "parent", "outcome", "version", "MRR", "seconds"):
        table.add_column(title, justify="right" if title in ("MRR", "seconds") else "left")
    for folder in sorted((settings.home / "cycles" / source).glob("*")):
        record, stages = read_cycle(settings, source, folder.name), read_records(folder)
        if record is None:
            continue
        parent = record["parent"]
        mrr = _figure(stages, "evaluate", "mrr", {}).get(CANDIDATE)
        table.add_row(
            folder.name,
            f"version {parent['version']}, {parent['cycle']}" if parent else "cold start",
            _outcome(stages),
            _version(stages, champion),
            f"{mrr:.4f}" if mrr is not None else "",
            f"{sum(stage.seconds for stage in stages.values()):.0f}",
        )
    return _text(table)


def _outcome(stages: dict[str, StageRecord]) -> str:
    refused = next((name for name, stage in stages.items() if stage.refused), None)
    if refused:
        return f"refused by {refused}"
    if "register" in stages:
        return "accepted"
    done = [stage.name for stage in STAGES if stage.name in stages]
    return f"unfinished, {done[-1]} was the last" if done else "resolved, no stage finished"


def _version(stages: dict[str, StageRecord], champion: int | None) -> str:
    version = _figure(stages, "register", "version", None)
    return "" if version is None else f"{version}{' (champion)' if version == champion else ''}"


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
    stages = read_records(settings.cycle_folder(source, name))
    record = read_cycle(settings, source, name)
    if record is None:
        return f"Cycle {name} of {source} has not run."
    parent = record["parent"]
    origin = f"fine-tuned from version {parent['version']} of {parent['cycle']}" if parent else "cold start"
    head = (
        f"Cycle {name} of {source}   split {record['split'][:10]}, cutoff {record['cutoff'][:10]}, {origin}"
    )
    body = [
        head,
        "─" * len(head),
        *_data_lines(stages),
        "",
        _mrr_table(stages),
        "",
        *_verdict_lines(stages),
        "",
    ]
    return "\n".join([*body, *_cost_lines(stages), ""])


def _data_lines(stages: dict[str, StageRecord]) -> list[str]:
    events = stages["events"].figures if "events" in stages else {}
    reasons = events.get("rejected_by_reason", {})
    worst = ", ".join(
        f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=lambda one: -one[1])[:3]
    )
    new = f"{events.get('accepted', 0):,} lines accepted, {events.get('rejected', 0):,} rejected"
    lines = [f"data       {new}{f' ({worst})' if worst else ''}"]
    sequences, vocabulary = (
        stages[one].figures if one in stages else {} for one in ("sequences", "vocabulary")
    )
    if sequences:
        lines.append(
            f"           {sequences.get('events', 0):,} events up to the split in {sequences.get('rows', 0):,} sequences, "
            f"{sequences.get('bytes_per_token', 0):.1f} bytes a token; cold-start rate "
            f"{vocabulary.get('cold_start_rate', 0):.1%}"
        )
    measured = measured_stage(stages)
    if measured is not None:
        labels, users = (measured.figures[name] for name in ("labels", "label_users"))
        lines.append(f"           {labels:,} labels of {users:,} users in the window")
    return lines


def _mrr_table(stages: dict[str, StageRecord]) -> str:
    """MRR of the full model beside the yardsticks; where none was evaluated, of the last rung."""
    measured = measured_stage(stages)
    if measured is None:
        return "MRR        not measured: no model was ranked"
    rows = measured.figures["metrics"]
    first = rows[0]
    judged = [
        row
        for row in rows
        if (row["protocol"], row["delay_hours"]) == (first["protocol"], first["delay_hours"])
        and row["kind"] != "slice"
    ]
    # What else a rung is compared with is in the report; six models would not fit in a line.
    shown = (measured.figures["model"], *IN_WORDS) if measured.stage != "evaluate" else tuple(IN_WORDS)
    models = [name for name in shown if any(row["model"] == name for row in judged)]
    table = _table(f"MRR, {first['protocol']}, delay {first['delay_hours']:g} h, with 95 % intervals")
    table.add_column("labels")
    for name in models:
        table.add_column(model_words(name), justify="right", no_wrap=True)
    for group in dict.fromkeys((row["kind"], row["group"]) for row in judged):
        cells = {row["model"]: row for row in judged if (row["kind"], row["group"]) == group}
        title = "all" if group[0] == "all" else f"task {group[1]}"
        table.add_row(
            f"{title} ({cells[models[0]]['examples']:,})", *(_interval(cells[name]["mrr"]) for name in models)
        )
    return _text(table).rstrip()


def _interval(values: list[float | None]) -> str:
    """Value and interval, short enough for five of them a line: 0.0604 [.052, .070]."""
    if any(value is None for value in values):
        return "none"
    low, high = (f"{value:.3f}".removeprefix("0") for value in values[1:])
    return f"{values[0]:.4f} [{low}, {high}]"


def _verdict_lines(stages: dict[str, StageRecord]) -> list[str]:
    lines = []
    for name in ("rung_1", "rung_2", "funnel"):
        if name not in stages:
            continue
        verdicts = stages[name].figures.get("verdicts", [])
        counts = {
            outcome: sum(one["outcome"] == outcome for one in verdicts)
            for outcome in ("pass", "inconclusive", "fail")
        }
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        lines.append(f"{name:<10} {stages[name].figures.get('outcome', '')}{f' ({told})' if told else ''}")
        if stages[name].refused:
            lines += [f"           {line}" for line in textwrap.wrap(stages[name].refused, WIDTH - 11)]
    if "register" in stages:
        moved = _figure(stages, "promote", "moved", False)
        why = _figure(stages, "promote", "why", "")
        lines.append(
            f"registered version {stages['register'].figures['version']} of {stages['register'].figures['model']}"
            + (", champion" if moved else f"; {why}" if why else "")
        )
    elif any(stage.refused for stage in stages.values()):
        lines.append("registered nothing: the candidate was refused")
    return lines


def _cost_lines(stages: dict[str, StageRecord]) -> list[str]:
    """Seconds of every stage, several a line."""
    costs = [f"{stage.name} {stages[stage.name].seconds:.0f} s" for stage in STAGES if stage.name in stages]
    total = sum(stage.seconds for stage in stages.values())
    lines, current = [], "cost      "
    for cost in costs:
        if len(current) + len(cost) > WIDTH - 4:
            lines.append(current)
            current = "          "
        current += f" {cost} ·"
    return [*lines, f"{current} {total:.0f} s of stages"]


def _figure(stages: dict[str, StageRecord], stage: str, name: str, default: Any) -> Any:
    return stages[stage].figures.get(name, default) if stage in stages else default


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
