"""Judges a cycle's tables by their expectations; a failure ends the run before anything is trained.

In: the tables at the versions that this cycle pinned, and what earlier cycles saw in their windows.
Out: figures for the records (window, drift, judgements) and a page with every judgement. A failing
or crashed expectation raises, so that no record is written and readers stay on the last versions
that passed. What must be true is said in `expectations.suites`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations import report
from expectations.drift import drift, window
from expectations.expectation import SuiteResult
from expectations.figures import Window
from expectations.instants import aware
from expectations.new_lines import new_lines
from expectations.runner import judge
from expectations.suites import events as events_suite
from expectations.suites import items as items_suite
from expectations.suites import sequences as sequences_suite
from expectations.suites import vocabulary as vocabulary_suite
from expectations.tables import EVENTS, INGESTED_FILES, ITEMS, REJECTED_EVENTS, SEQUENCES, VOCABULARY, Table
from pipeline.cycle import accepted
from pipeline.cycle.definition import Parent
from pipeline.cycle.records import StageContext, StageResult, read_records
from spark_jobs.lake import delta
from spark_jobs.landing.event_lines import DUPLICATE, EARLIEST, LATEST
from spark_jobs.landing.reading import EXCLUDED

HARMLESS = (DUPLICATE, EXCLUDED)
"""Reasons of a refusal that say nothing against the log."""


class ExpectationsFailed(RuntimeError):
    """Data that must not be used; the message names what failed and where the failing keys are."""


def validate_events(context: StageContext) -> StageResult:
    """The stage: judges `events` and `items`. Raises ExpectationsFailed."""
    cycle, config = context.cycle, context.config
    events, items = _table(context, EVENTS), _table(context, ITEMS)
    ingested, rejected = _table(context, INGESTED_FILES), _table(context, REJECTED_EVENTS)
    now = window(events, cycle.split, cycle.cutoff)
    judged_before = _judged_before(context)
    earlier = _earlier_windows(context, judged_before)
    measured = events_suite.Measured(
        new=new_lines(ingested, rejected, list(judged_before), HARMLESS),
        window=now,
        drift=drift(now, list(earlier.values())),
    )
    limits = events_suite.Limits(
        actions=config.source.actions,
        earliest=aware(config.source.earliest or EARLIEST),
        latest=aware(config.source.latest or LATEST),
        **config.expectations.model_dump(exclude={"drift_cycles"}),
    )
    batches = events_suite.batches(context.session(), events, ingested, rejected, cycle.cutoff, measured)
    expected = events_suite.expectations(limits, measured)
    context.say(f"{now.events:,} events in the window")
    judged = [judge(EVENTS.name, batches, expected, events_suite.AGGREGATES)]
    items_before = _of_version(context, ITEMS, cycle.before)
    judged.append(
        judge(
            ITEMS.name,
            items_suite.batches(items, events, items_before),
            items_suite.expectations(has_parent=items_before is not None),
            items_suite.AGGREGATES,
        )
    )
    figures = {
        "window": asdict(now) | {"events": now.events},
        "new_lines": asdict(measured.new),
        "drift": asdict(measured.drift) if measured.drift else None,
        "compared_with": list(earlier),
    }
    return _conclude(context, "validate_events", judged, figures)


def validate_sequences(context: StageContext) -> StageResult:
    """The stage: judges this cycle's rows of `vocabulary` and `sequences`. Raises ExpectationsFailed."""
    cycle, config = context.cycle, context.config
    events, items = _table(context, EVENTS), _table(context, ITEMS)
    vocabulary = _table(context, VOCABULARY).where(F.col("cycle") == cycle.name)
    vocabulary_before = _of_version(context, VOCABULARY, cycle.before)
    if vocabulary_before is not None:
        vocabulary_before = vocabulary_before.where(F.col("cycle") == cycle.before.cycle)
    min_events = config.vocabulary.min_events
    judged = [
        judge(
            VOCABULARY.name,
            vocabulary_suite.batches(
                vocabulary, vocabulary_before, items, events, cycle.name, cycle.split, min_events
            ),
            vocabulary_suite.expectations(vocabulary_before is not None, min_events),
            vocabulary_suite.AGGREGATES,
        )
    ]
    limits = sequences_suite.Limits(
        split=cycle.split,
        items=items.count(),
        actions=len(config.source.actions),
        max_length=config.sequences.max_length,
        context_length=config.sequences.context_length,
        max_targets=config.sequences.max_targets,
    )
    rows = _table(context, SEQUENCES).where(F.col("cycle") == cycle.name)
    batches = sequences_suite.batches(rows, events, items, limits)
    expected = sequences_suite.expectations(limits)
    judged.append(judge(SEQUENCES.name, batches, expected, sequences_suite.AGGREGATES))
    return _conclude(context, "validate_sequences", judged, {})


def _conclude(
    context: StageContext, stage: str, judged: Sequence[SuiteResult], figures: dict[str, Any]
) -> StageResult:
    """Writes the page and returns the stage's result. Raises ExpectationsFailed when one is red."""
    cycle = context.cycle
    folder = context.settings.report_folder(cycle.source, cycle.name)
    pinned = {result.table: context.versions[result.table] for result in judged}
    facts = {
        "source": cycle.source,
        "cycle": cycle.name,
        "split": f"{cycle.split:%Y-%m-%d %H:%M} UTC",
        "cutoff": f"{cycle.cutoff:%Y-%m-%d %H:%M} UTC",
        "table versions": ", ".join(f"{table} {version}" for table, version in pinned.items()),
    }
    page = report.write(folder, stage, judged, facts)
    for result in judged:
        context.say(f"{result.table}: {report.counted(result)} in {result.seconds:.1f} s")
    if any(result.red for result in judged):
        raise ExpectationsFailed(_message(judged, page))
    return StageResult(
        figures=figures | {"judgements": [asdict(row) for row in report.rows(judged)], "page": page.name}
    )


def _message(judged: Sequence[SuiteResult], page: Path) -> str:
    told = []
    for result in judged:
        for judgement in result.red:
            rows = "" if judgement.failing_count is None else f", {judgement.failing_count:,} rows"
            told.append(f"{result.table}.{judgement.expectation.name} ({judgement.outcome}{rows})")
    shown = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
    return f"data expectations are not met: {shown}; failing keys: {page}"


def _table(context: StageContext, table: Table, versions: dict[str, int] | None = None) -> DataFrame:
    pinned = (context.versions if versions is None else versions)[table.name]
    return delta.read(context.session(), context.settings.lake, context.cycle.source, table, pinned)


def _of_version(context: StageContext, table: Table, version: Parent | None) -> DataFrame | None:
    """A table as a registered version was made from it; None without one."""
    if version is None:
        return None
    return _table(context, table, accepted.table_versions(context.settings, context.cycle.source, version))


def _judged_before(context: StageContext) -> dict[str, dict[str, Any]]:
    """What every other cycle whose events passed recorded of them, by cycle, oldest first."""
    folder = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    others = sorted(path for path in folder.parent.glob("*") if path.name != folder.name)
    records = {path.name: read_records(path).get("validate_events") for path in others}
    return {name: record.figures for name, record in records.items() if record is not None}


def _earlier_windows(context: StageContext, judged_before: dict[str, dict[str, Any]]) -> dict[str, Window]:
    """What the last cycles with an earlier cutoff saw, by cycle, oldest first."""
    earlier = [name for name in judged_before if name < context.cycle.name]
    windows = {name: judged_before[name]["window"] for name in earlier}
    kept = earlier[-context.config.expectations.drift_cycles :]
    return {name: Window(windows[name]["days"], windows[name]["action_counts"]) for name in kept}
