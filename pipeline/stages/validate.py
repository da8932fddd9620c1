"""Judges a cycle's tables by their expectations; a failure ends the run before anything is trained.

    python -m pipeline validate_events --source my.toml --cutoff 2026-03-01
    python -m pipeline validate_sequences --source my.toml --cutoff 2026-03-01

Reads the tables at the versions that this cycle pinned, those of the version that it continues, and the
windows of earlier cycles. Leaves a page with every judgement in the cycle's report folder, and where it passed, the
versions that readers outside may use (`pipeline.cycle.passed_tables`). An expectation that fails or crashes raises, so that no record is written and readers stay on the last versions that
passed, unless a person has accepted this very data (`pipeline.cycle.acceptance`). The expectations are in
`expectations.suites`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations import report
from expectations.crash_points import reach
from expectations.drift import drift, window
from expectations.expectation import SuiteResult
from expectations.figures import Window
from expectations.instants import aware
from expectations.new_lines import new_lines
from expectations.runner import judge
from expectations.suites import events as events_suite
from expectations.suites import item_signals as item_signals_suite
from expectations.suites import items as items_suite
from expectations.suites import sequences as sequences_suite
from expectations.suites import successors as successors_suite
from expectations.suites import vocabulary as vocabulary_suite
from expectations.tables import (
    EVENTS,
    INGESTED_FILES,
    ITEM_SIGNALS,
    ITEMS,
    REJECTED_EVENTS,
    SEQUENCES,
    SUCCESSORS,
    VOCABULARY,
    Table,
)
from pipeline.cycle import acceptance, accepted
from pipeline.cycle.context import StageContext, figures_of
from pipeline.cycle.definition import AcceptedVersion
from pipeline.cycle.figures import AcceptedData, ValidateEventsFigures, ValidateSequencesFigures
from pipeline.cycle.passed import passed_version
from pipeline.cycle.passed_tables import Judged, publish
from pipeline.cycle.records import StageResult, read_records
from spark_jobs.figures import ItemsFigures, ItemSignalsFigures
from spark_jobs.lake import delta
from spark_jobs.landing.erased import ERASED
from spark_jobs.landing.event_lines import CONFLICTS, DUPLICATE, EARLIEST, LATEST, REPEATED, REPLACED
from spark_jobs.landing.reading import EXCLUDED

HARMLESS = (DUPLICATE, REPEATED, REPLACED, EXCLUDED, ERASED)
"""Reasons for rejecting a line that say nothing against the log."""


class ExpectationsFailed(RuntimeError):
    """Data that must not be used; the message names what failed and the page that lists the failing keys."""


def validate_events(context: StageContext) -> StageResult:
    """The stage: judges `events` and `items`. Raises ExpectationsFailed."""
    judged_before = _judged_before(context)
    earlier = _earlier_windows(context, judged_before)
    measured = _measure_events(context, list(earlier.values()))
    context.say(f"{measured.window.events:,} events in the window")
    judged = [_judge_events(context, measured), _judge_items(context)]
    page, word = _conclude(context, judged)
    figures = ValidateEventsFigures(
        window=measured.window,
        new_lines=measured.new,
        drift=measured.drift,
        compared_with=tuple(earlier),
        judgements=report.rows(judged),
        page=page.name,
        accepted=word,
    )
    return StageResult(figures)


def validate_sequences(context: StageContext) -> StageResult:
    """The stage: judges this cycle's rows of `vocabulary`, `sequences`, `item_signals` and `successors`.
    Raises ExpectationsFailed."""
    judged = [
        _judge_vocabulary(context),
        _judge_sequences(context),
        _judge_item_signals(context),
        _judge_successors(context),
    ]
    page, word = _conclude(context, judged)
    return StageResult(ValidateSequencesFigures(report.rows(judged), page.name, word))


def _measure_events(context: StageContext, earlier: Sequence[Window]) -> events_suite.Measured:
    """What is measured before events are judged."""
    cycle = context.cycle
    passed = passed_version(context.settings, cycle.source, but=cycle.name)
    ingested, rejected = _table(context, INGESTED_FILES), _table(context, REJECTED_EVENTS)
    now = window(_table(context, EVENTS), cycle.split, cycle.cutoff)
    return events_suite.Measured(
        new=new_lines(ingested, rejected, cycle.name, passed, HARMLESS, CONFLICTS),
        window=now,
        drift=drift(now, earlier),
    )


def _judge_events(context: StageContext, measured: events_suite.Measured) -> SuiteResult:
    source, expectations = context.config.source, context.config.expectations
    limits = events_suite.Limits(
        actions=source.actions,
        earliest=aware(source.earliest or EARLIEST),
        latest=aware(source.latest or LATEST),
        **expectations.model_dump(exclude={"drift_cycles", "max_faulty_catalogue_fraction"}),
    )
    batches = events_suite.batches(
        context.session(),
        _table(context, EVENTS),
        _table(context, INGESTED_FILES),
        _table(context, REJECTED_EVENTS),
        context.cycle.cutoff,
        measured,
    )
    expected = events_suite.expectations(limits, measured)
    return judge(EVENTS.name, batches, expected, events_suite.AGGREGATES)


def _judge_items(context: StageContext) -> SuiteResult:
    before = _of_version(context, ITEMS, context.cycle.reference)
    catalogue = {
        counted.kind: items_suite.Lines(counted.lines, counted.faulty, counted.unreadable)
        for counted in context.figures(ITEMS.name, ItemsFigures).catalogue
    }
    batches = items_suite.batches(_table(context, ITEMS), _table(context, EVENTS), before, catalogue)
    largest = context.config.expectations.max_faulty_catalogue_fraction
    expected = items_suite.expectations(before is not None, catalogue, largest)
    return judge(ITEMS.name, batches, expected, items_suite.AGGREGATES)


def _judge_vocabulary(context: StageContext) -> SuiteResult:
    cycle, min_events = context.cycle, context.config.vocabulary.min_events
    rows = _table(context, VOCABULARY).where(F.col("cycle") == cycle.name)
    before = _of_version(context, VOCABULARY, cycle.reference)
    if before is not None:
        before = before.where(F.col("cycle") == cycle.reference.cycle)
    items, events = _table(context, ITEMS), _table(context, EVENTS)
    batches = vocabulary_suite.batches(rows, before, items, events, cycle.name, cycle.split, min_events)
    expected = vocabulary_suite.expectations(before is not None, min_events)
    return judge(VOCABULARY.name, batches, expected, vocabulary_suite.AGGREGATES)


def _judge_sequences(context: StageContext) -> SuiteResult:
    cycle, config, items = context.cycle, context.config, _table(context, ITEMS)
    limits = sequences_suite.Limits(
        split=cycle.split,
        items=items.count(),
        actions=len(config.source.actions),
        max_length=config.sequences.max_length,
        context_length=config.sequences.context_length,
        max_targets=config.sequences.max_targets,
    )
    rows = _table(context, SEQUENCES).where(F.col("cycle") == cycle.name)
    batches = sequences_suite.batches(rows, _table(context, EVENTS), items, limits)
    expected = sequences_suite.expectations(limits)
    return judge(SEQUENCES.name, batches, expected, sequences_suite.AGGREGATES)


def _judge_item_signals(context: StageContext) -> SuiteResult:
    cycle, items = context.cycle, _table(context, ITEMS)
    figures = context.figures(ITEM_SIGNALS.name, ItemSignalsFigures)
    limits = item_signals_suite.Limits(
        split=cycle.split,
        cutoff=cycle.cutoff,
        items=items.count(),
        half_lives_days=figures.half_lives_days,
        bucket_us=context.config.signals.bucket_us,
    )
    rows = _table(context, ITEM_SIGNALS).where(F.col("cycle") == cycle.name)
    batches = item_signals_suite.batches(rows, _table(context, EVENTS), items, limits)
    expected = item_signals_suite.expectations(limits)
    return judge(ITEM_SIGNALS.name, batches, expected, item_signals_suite.AGGREGATES)


def _judge_successors(context: StageContext) -> SuiteResult:
    cycle, items = context.cycle, _table(context, ITEMS)
    limits = successors_suite.Limits(
        split=cycle.split, cutoff=cycle.cutoff, items=items.count(), reach=context.config.signals.reach
    )
    rows = _table(context, SUCCESSORS).where(F.col("cycle") == cycle.name)
    batches = successors_suite.batches(rows, _table(context, EVENTS), items, limits)
    expected = successors_suite.expectations(limits)
    return judge(SUCCESSORS.name, batches, expected, successors_suite.AGGREGATES)


def _conclude(context: StageContext, judged: Sequence[SuiteResult]) -> tuple[Path, AcceptedData | None]:
    """Writes the page; returns its path, and the word by which a red suite passes. Raises ExpectationsFailed
    when an expectation crashed, or failed and nobody has accepted that."""
    cycle, stage = context.cycle, context.stage.name
    folder = context.settings.report_folder(cycle.source, cycle.name)
    records = context.settings.cycle_folder(cycle.source, cycle.name)
    failed, crashed = (
        [
            f"{result.table}.{one.expectation.name}"
            for result in judged
            for one in result.red
            if one.outcome == kind
        ]
        for kind in ("failed", "crashed")
    )
    red = bool(failed or crashed)
    word = acceptance.find(records, stage, context.inputs_digest, failed) if red and not crashed else None
    pinned = {result.table: context.versions[result.table] for result in judged}
    facts = {
        "source": cycle.source,
        "cycle": cycle.name,
        "split": f"{cycle.split:%Y-%m-%d %H:%M} UTC",
        "cutoff": f"{cycle.cutoff:%Y-%m-%d %H:%M} UTC",
        "table versions": ", ".join(f"{table} {version}" for table, version in pinned.items()),
    }
    page = report.write(folder, stage, judged, facts, word.words if word else None)
    reach("after-page")
    for result in judged:
        context.say(f"{result.table}: {report.counted(result)} in {result.seconds:.1f} s")
    if red and word is None:
        acceptance.found_red(records, stage, context.inputs_digest, failed, crashed)
        raise ExpectationsFailed(_message(judged, page))
    if word is not None:
        context.say(f"not met: {', '.join(failed)}; {word.words}")
    acceptance.passed(records, stage)
    judged_now = Judged(cycle.name, stage, dict(context.versions), word.words if word else None)
    publish(context.settings, cycle.source, context.session(), judged_now)
    reach("after-passed")
    return page, word


def _message(judged: Sequence[SuiteResult], page: Path) -> str:
    red = []
    for result in judged:
        for judgement in result.red:
            rows = "" if judgement.failing_count is None else f", {judgement.failing_count:,} rows"
            red.append(f"{result.table}.{judgement.expectation.name} ({judgement.outcome}{rows})")
    shown = ", ".join(red[:5]) + (f" and {len(red) - 5} more" if len(red) > 5 else "")
    return f"data expectations are not met: {shown}; failing keys: {page}"


def _table(context: StageContext, table: Table, versions: Mapping[str, int] | None = None) -> DataFrame:
    pinned = (context.versions if versions is None else versions)[table.name]
    return delta.read(context.session(), context.settings.lake, context.cycle.source, table, pinned)


def _of_version(context: StageContext, table: Table, version: AcceptedVersion | None) -> DataFrame | None:
    """A table at the Delta version from which a registered version was made; None without one."""
    if version is None:
        return None
    return _table(context, table, accepted.table_versions(context.settings, context.cycle.source, version))


def _judged_before(context: StageContext) -> dict[str, ValidateEventsFigures]:
    """Figures of this stage from every other cycle in which it passed, by cycle, oldest first."""
    own = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    others = sorted(path for path in own.parent.glob("*") if path.name != own.name)
    records = {path.name: read_records(path).get("validate_events") for path in others}
    return {
        name: figures_of(record, ValidateEventsFigures)
        for name, record in records.items()
        if record is not None
    }


def _earlier_windows(
    context: StageContext, judged_before: Mapping[str, ValidateEventsFigures]
) -> dict[str, Window]:
    """Windows of the last `drift_cycles` cycles before this one, by cycle, oldest first."""
    earlier = [name for name in judged_before if name < context.cycle.name]
    last = earlier[-context.config.expectations.drift_cycles :]
    return {name: judged_before[name].window for name in last}
