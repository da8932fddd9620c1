"""What the terminal shows: the map of stages, the cycles of a source, the outcome of a cycle.

Made from the records of cycles and the registry; every number was recorded by a stage.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from expectations.tables import TABLES, location
from expectations.wording import by_frequency
from model.data.delta import PinnedTable
from model.evaluation.figures import Estimate
from model.evaluation.metrics import Group
from model.evaluation.names import CANDIDATE, Variant, in_order
from pipeline.cycle.context import find_figures
from pipeline.cycle.definition import AcceptedVersion, ResolvedCycle, read_cycle
from pipeline.cycle.figures import (
    EvaluateFigures,
    FunnelFigures,
    PromoteFigures,
    RegisterFigures,
    RungFigures,
    ValidateEventsFigures,
)
from pipeline.cycle.passed_tables import address, passed_tables
from pipeline.cycle.records import Records, read_records
from pipeline.report.outcome import accepted_data, judged_model, refused_where, refusing_record
from pipeline.report.quality import condition_words, measured
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import refresh_cycle
from pipeline.workflows.stage import Workflow
from spark_jobs.figures import EventsFigures, ItemsFigures, SequencesFigures, VocabularyFigures

if TYPE_CHECKING:
    from pipeline.maintenance.replay import Replayed

WIDTH = 120
INDENT = " " * 11
"""Width of the column of titles; lines without one begin after it."""
REASONS_SHOWN = 3
"""Reasons of rejected lines that a cycle's screen names at most."""
FILES_SHOWN = 3
"""Files that a line of the screen names at most."""


def map_screen(stages: Workflow) -> str:
    """The map of stages."""
    table = _table("The stages of a refresh cycle, in order")
    for title in ("stage", "what it does", "reads", "writes", "engine"):
        table.add_column(title)
    for row in stages.listing():
        table.add_row(*row)
    return _text(table)


def screen(settings: Settings, source: str | None = None) -> str:
    """Every source, or the one given, with its champion, its cycles and their versions."""
    root = settings.home / "cycles"
    sources = [source] if source else sorted(path.name for path in root.glob("*") if path.is_dir())
    if not sources:
        return f"No cycle has run under {settings.home}. Start one with: make demo"
    return "\n".join(_source_table(settings, name) for name in sources)


def cycle_screen(settings: Settings, source: str, names: list[str]) -> str:
    """One screen for some cycles of a source: counts, MRR beside the yardsticks, verdicts, costs."""
    cycles = [_cycle(settings, source, name) for name in names]
    commands = [
        ("Airflow and MLflow pages", "make ui    (make stop ends them)"),
        ("all cycles", f"python -m pipeline status --source {source}"),
        *((f"report of {name}", str(settings.report_folder(source, name) / "cycle.html")) for name in names),
    ]
    return "\n".join([*cycles, *(f"  {title:<26} {command}" for title, command in commands)])


def tables_screen(settings: Settings, source: str) -> str:
    """The version of every table that readers outside may use, and where it is."""
    passed = passed_tables(settings, source)
    if not passed:
        return f"No table of {source} has passed a suite under {settings.home}. Run a cycle first."
    table = _table(f"{source}: the last version of every table that passed")
    for title in ("table", "version", "rows", "passed by"):
        table.add_column(title, justify="right" if title == "version" else "left", overflow="fold")
    for name, told in passed.items():
        gone = PinnedTable(settings.lake, source, TABLES[name], told.version).missing_files()
        if gone:
            words = f"nobody yet: version {told.version} lost {len(gone):,} of its files, the next cycle writes others"
            table.add_row(name, "none", "", words)
            continue
        judge = (
            f"{told.suite} of cycle {told.cycle}" if told.suite else f"cycle {told.cycle}, without a suite"
        )
        accepted = f", {told.accepted}" if told.accepted else ""
        table.add_row(name, str(told.version), told.where or "all", judge + accepted)
    where = location(settings.lake, source, "")
    return (
        f"{_text(table)}\nThe tables are in {where}, and the same for programs in {address(settings, source)}"
    )


def replay_screen(source: str, version: int, found: Sequence[Replayed]) -> str:
    """What became of every table of a version that was made again."""
    table = _table(f"{source}: version {version}, made again from its record")
    for title in ("table", "version", "made again", ""):
        table.add_column(title, justify="right" if title == "version" else "left", overflow="fold")
    for told in found:
        table.add_row(told.table, "" if told.version is None else str(told.version), told.outcome, told.words)
    return _text(table)


def _source_table(settings: Settings, source: str) -> str:
    from pipeline.registry import tracking

    champion = tracking.champion_version(settings, source)
    table = _table(f"{source}: champion is version {champion}" if champion else f"{source}: no champion")
    for title in ("cycle", "fine-tuned from", "outcome", "version", "MRR", "seconds"):
        table.add_column(title, justify="right" if title in ("MRR", "seconds") else "left")
    for folder in sorted((settings.home / "cycles" / source).glob("*")):
        resolved = read_cycle(settings, source, folder.name)
        if resolved is None:
            continue
        records, parent = _records(settings, resolved), resolved.cycle.parent
        evaluated = find_figures(records, "evaluate", EvaluateFigures)
        mrr = evaluated.measures.mrr.get(CANDIDATE) if evaluated else None
        table.add_row(
            folder.name,
            _version(parent) if parent else "from scratch",
            _outcome(records),
            _registered(records, champion),
            f"{mrr:.4f}" if mrr is not None else "",
            f"{_total_seconds(records):.0f}",
        )
    return _text(table)


def _outcome(records: Records) -> str:
    refusing = refusing_record(records)
    if refusing is not None:
        return f"refused {refused_where(refusing)}"
    if "register" in records:
        return "accepted"
    return f"unfinished, last stage {list(records)[-1]}" if records else "resolved, no stage finished"


def _registered(records: Records, champion: int | None) -> str:
    registered = find_figures(records, "register", RegisterFigures)
    if registered is None:
        return ""
    return f"{registered.version}{' (champion)' if registered.version == champion else ''}"


def _cycle(settings: Settings, source: str, name: str) -> str:
    resolved = read_cycle(settings, source, name)
    if resolved is None:
        return f"Cycle {name} of {source} has not run."
    records, cycle = _records(settings, resolved), resolved.cycle
    start = f"fine-tuned from {_version(cycle.parent)}" if cycle.parent else "trained from scratch"
    head = f"Cycle {name} of {source}   split {cycle.split:%Y-%m-%d}, cutoff {cycle.cutoff:%Y-%m-%d}, {start}"
    sections = (_data_lines(records), _mrr_lines(records), _verdict_lines(records), _cost_lines(records))
    lines = [line for section in sections if section for line in (*section, "")]
    return "\n".join([head, "─" * len(head), *lines])


def _records(settings: Settings, resolved: ResolvedCycle) -> Records:
    """Finished stages of a cycle in the map's order; without rungs that its configuration no longer has."""
    cycle = resolved.cycle
    finished = read_records(settings.cycle_folder(cycle.source, cycle.name))
    stages = refresh_cycle(resolved.configuration["funnel"]["rungs"]).stages
    return {stage.name: finished[stage.name] for stage in stages if stage.name in finished}


def _version(version: AcceptedVersion) -> str:
    return f"version {version.version}, cycle {version.cycle}"


def _data_lines(records: Records) -> list[str]:
    events = find_figures(records, "events", EventsFigures)
    if events is None:
        return [_titled("data", "nothing ingested yet")]
    reasons = by_frequency(events.rejected_by_reason)[:REASONS_SHOWN]
    examples = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    counts = f"{events.accepted:,} lines accepted, {events.rejected:,} rejected"
    lines = [_titled("data", f"{counts} ({examples})" if examples else counts)]
    lines += [
        f"{INDENT}{files:,} ingested file{'' if files == 1 else 's'} left or read again: {reason}"
        for reason, files in events.outdated_by_reason.items()
    ]
    if events.files_withdrawn:
        lines.append(f"{INDENT}{events.files_withdrawn:,} withdrawn, not read")
    if events.new_columns:
        lines.append(f"{INDENT}columns that no file had before: {', '.join(events.new_columns)}")
    for words in events.retyped:
        lines += _wrapped(words)
    if events.empty_files:
        lines += _wrapped(empty_words(events.empty_files))
    lines += [
        f"{INDENT}not met: {', '.join(word.expectations)}; {word.words}" for word in accepted_data(records)
    ]
    if events.repeated:
        lines.append(f"{INDENT}{events.repeated:,} accepted lines repeat another of their file exactly")
    if events.replaced:
        lines.append(f"{INDENT}{events.replaced:,} events of earlier files replaced by later lines")
    validation = find_figures(records, "validate_events", ValidateEventsFigures)
    if validation is not None and validation.late is not None and validation.late.late:
        lines += _wrapped(validation.late.words)
    for words in validation.cautions if validation else ():
        lines += _wrapped(words)
    items = find_figures(records, "items", ItemsFigures)
    if items is not None:
        lines += [f"{INDENT}{words}" for words in catalogue_words(items)]
    sequences = find_figures(records, "sequences", SequencesFigures)
    vocabulary = find_figures(records, "vocabulary", VocabularyFigures)
    if sequences is not None:
        rate = f"; cold-start rate {vocabulary.cold_start_rate:.1%}" if vocabulary else ""
        lines.append(
            f"{INDENT}{sequences.events:,} events up to the split in {sequences.rows:,} sequences, "
            f"{sequences.bytes_per_token:.1f} bytes a token{rate}"
        )
    ranked = measured(records)
    if ranked is not None:
        window = ranked.window
        lines.append(f"{INDENT}{window.labels:,} labels of {window.label_users:,} users in the window")
    return lines


def catalogue_words(items: ItemsFigures) -> list[str]:
    """What is wrong with item, tag and edge files, a sentence each; empty where nothing is."""
    words = [
        f"{lines.faulty:,} of {lines.lines:,} lines of {lines.kind} files refused"
        for lines in items.catalogue
        if lines.faulty
    ]
    if items.empty_files:
        words.append(empty_words(items.empty_files))
    words += [
        f"{lines.without_a_field:,} of {lines.lines:,} lines of {lines.kind} files used without a field"
        for lines in items.catalogue
        if lines.without_a_field
    ]
    if not words:
        return []
    told = items.rejected_by_reason | items.kept_without_by_reason
    reasons = [f"{count:,} {reason}" for reason, count in by_frequency(told)[:REASONS_SHOWN]]
    return [*words, *([f"({'; '.join(reasons)})"] if reasons else [])]


def empty_words(names: Sequence[str]) -> str:
    """Which files have no line, the first of them by name."""
    more = len(names) - FILES_SHOWN
    return f"without a line: {', '.join(names[:FILES_SHOWN])}" + (f" and {more:,} more" if more > 0 else "")


def _mrr_lines(records: Records) -> list[str]:
    """MRR of the candidate beside the yardsticks; where it has none, of the last rung."""
    ranked = measured(records)
    if ranked is None:
        return [_titled("MRR", "not measured: no model was ranked")]
    rows = [row for row in ranked.judged if row.kind != "slice"]
    # Variants of a rung do not fit on the screen; the report has them.
    models = [name for name in in_order(row.model for row in rows) if name.variant is Variant.OWN]
    table = _table(f"MRR with 95 % intervals: {condition_words(rows[0])}")
    table.add_column("model", no_wrap=True)
    groups = list(dict.fromkeys((row.kind, row.group) for row in rows))
    cells = {(row.kind, row.group, row.model): row for row in rows}
    for kind, group in groups:
        labels = "all" if kind == "all" else Group(kind, group).words
        count = cells[kind, group, models[0]].examples
        table.add_column(f"{labels} ({count:,})", justify="right", no_wrap=True)
    for name in models:
        table.add_row(name.words, *(_interval(cells[*group, name].values["mrr"]) for group in groups))
    return [line.rstrip() for line in _text(table).rstrip().splitlines()]


def _interval(estimate: Estimate) -> str:
    """Value and interval: `0.0604 [.052, .070]`."""
    if any(number is None for number in estimate):
        return "none"
    low, high = (f"{number:.3f}".removeprefix("0") for number in estimate[1:])
    return f"{estimate.value:.4f} [{low}, {high}]"


def _verdict_lines(records: Records) -> list[str]:
    """Every gate's outcome, why the candidate was refused, and what was registered."""
    lines = []
    for record in records.values():
        if isinstance(record.figures, RungFigures | FunnelFigures):
            lines.append(_titled(judged_model(record.figures).words, _gate(record.figures)))
        elif record.refused:
            lines.append(_titled(CANDIDATE.words, f"refused {refused_where(record)}"))
        if record.refused:
            lines += _wrapped(record.refused)
    registered = find_figures(records, "register", RegisterFigures)
    if registered is not None:
        promoted = find_figures(records, "promote", PromoteFigures)
        alias = ""
        if promoted is not None:
            alias = ", champion" if promoted.champion == registered.version else f"; {promoted.why}"
        lines.append(_titled("registered", f"version {registered.version} of {registered.model}{alias}"))
    elif refusing_record(records) is not None:
        lines.append(_titled("registered", "nothing: the candidate was refused"))
    return lines


def _gate(figures: RungFigures | FunnelFigures) -> str:
    """A gate's outcome with counts of its checks."""
    outcomes = [verdict.outcome for verdict in figures.verdicts]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {outcome}"
        for outcome in ("pass", "inconclusive", "fail")
        if outcome in outcomes
    )
    return f"{figures.outcome} ({counts})" if counts else figures.outcome


def _cost_lines(records: Records) -> list[str]:
    """Seconds of every stage, several a line."""
    costs = [f"{record.stage} {record.seconds:.0f} s ·" for record in records.values()]
    costs.append(f"{_total_seconds(records):.0f} s of stage time")
    # No-break spaces keep a stage, its seconds and the dot on one line.
    first, *others = _wrapped(" ".join(cost.replace(" ", "\u00a0") for cost in costs))
    return [line.replace("\u00a0", " ") for line in (_titled("cost", first.strip()), *others)]


def _wrapped(words: str) -> list[str]:
    """Words on as many indented lines as they need."""
    return textwrap.wrap(words, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def _total_seconds(records: Records) -> float:
    return sum(record.seconds for record in records.values())


def _titled(title: str, words: str) -> str:
    return f"{title:<{len(INDENT)}}{words}"


def _table(title: str | None) -> Table:
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
