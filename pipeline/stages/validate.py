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
from dataclasses import replace
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations import new_lines, report
from expectations.crash_points import reach
from expectations.days import days
from expectations.drift import drift, window
from expectations.expectation import SuiteResult
from expectations.figures import FileLines, LateEvents, Window
from expectations.first_files import first_cautions
from expectations.instants import aware
from expectations.lateness import late_events
from expectations.losses import Limits, Losses, Past
from expectations.losses_of_columns import compared
from expectations.runner import judge
from expectations.suites import events as events_suite
from expectations.suites import item_signals as item_signals_suite
from expectations.suites import items as items_suite
from expectations.suites import losses as losses_suite
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
from pipeline.cycle.definition import AcceptedVersion, read_cycle
from pipeline.cycle.figures import AcceptedData, ValidateEventsFigures, ValidateSequencesFigures
from pipeline.cycle.passed import passed_version
from pipeline.cycle.passed_tables import Judged, publish
from pipeline.cycle.records import Records, StageResult, read_records, table_versions
from spark_jobs.figures import ItemsFigures, ItemSignalsFigures, SequencesFigures
from spark_jobs.histories.high_value import with_reward
from spark_jobs.lake import delta
from spark_jobs.landing.event_lines import EARLIEST, LATEST, mapped_optional
from spark_jobs.landing.reasons import REASONS

OfNew = tuple[DataFrame, DataFrame, str, int | None, new_lines.Reasons]
"""Arguments of `new_lines.new_files` and its like."""
_OF_OTHER_SUITES = {"drift_cycles", "max_faulty_catalogue_fraction", "max_lost_catalogue_fraction", "losses"}
"""Keys of `[expectations]` that are no bound of the suite on events."""
LOSSES = "losses"
"""Name of the suite on what became of landed lines; the others are named after their table."""


class ExpectationsFailed(RuntimeError):
    """Data that must not be used; the message names what failed and the page that lists the failing keys."""


def validate_events(context: StageContext) -> StageResult:
    """The stage: judges `events` and `items`. Raises ExpectationsFailed."""
    judged_before = _judged_before(context)
    earlier = _earlier_windows(context, judged_before)
    of_new = _of_new(context)
    files = new_lines.new_files(*of_new)
    measured = _measure_events(context, list(earlier.values()), files, of_new)
    losses = _measure_losses(context, files, judged_before, of_new)
    context.say(f"{measured.window.events:,} events in the window")
    for words in losses.cautions:
        context.say(f"without a past to compare with: {words}")
    judged = [_judge_events(context, measured), _judge_losses(context, losses), _judge_items(context)]
    page, word = _conclude(context, judged, losses.cautions)
    figures = ValidateEventsFigures(
        window=measured.window,
        new_lines=measured.new,
        drift=measured.drift,
        compared_with=tuple(earlier),
        judgements=report.rows(judged),
        page=page.name,
        accepted=word,
        files=files[-context.config.expectations.losses.past_files :],
        days_after_the_last=losses.days.after_the_last,
        late=losses.late,
        cautions=losses.cautions,
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


def _measure_events(
    context: StageContext, earlier: Sequence[Window], files: Sequence[FileLines], of_new: OfNew
) -> events_suite.Measured:
    """What is measured before events are judged."""
    new = new_lines.counted(files)
    now = window(_table(context, EVENTS), context.cycle.split, context.cycle.cutoff)
    return events_suite.Measured(
        new=replace(new, examples=new_lines.examples(*of_new)) if new.faulty else new,
        window=now,
        drift=drift(now, earlier),
        unreadable=tuple(f"{file.path}: {file.unreadable_because}" for file in files if not file.readable),
    )


def _of_new(context: StageContext) -> OfNew:
    """What says which files are new, and which reasons make a line faulty."""
    cycle = context.cycle
    passed = passed_version(context.settings, cycle.source, but=cycle.name)
    tables = (_table(context, INGESTED_FILES), _table(context, REJECTED_EVENTS))
    return *tables, cycle.name, passed, REASONS


def _measure_losses(
    context: StageContext,
    files: tuple[FileLines, ...],
    judged_before: Mapping[str, ValidateEventsFigures],
    of_new: OfNew,
) -> Losses:
    """What was lost of the new files and of the window's days, and what was lost before."""
    cycle, source, bounds = context.cycle, context.config.source, context.config.expectations.losses
    rejected, columns = _table(context, REJECTED_EVENTS), mapped_optional(source)
    rewarded = with_reward(_table(context, EVENTS), source)
    earlier = {name: before for name, before in judged_before.items() if name < cycle.name}
    sound = [before for before in earlier.values() if before.accepted is None]
    typed = tuple(file for before in earlier.values() for file in before.files)
    late, no_late = None, "no earlier cycle to compare with"
    if earlier:
        late, no_late = _measure_late(context, rewarded, list(earlier)[-1], of_new)
    past = tuple(file for before in sound for file in before.files)
    return Losses(
        files=files,
        days=days(rewarded, rejected, cycle.split, cycle.cutoff, bounds.past_days, columns, REASONS),
        late=late,
        past=Past(
            files=past,
            days_after_the_last=tuple(
                before.days_after_the_last for before in sound if before.days_after_the_last is not None
            ),
        ),
        no_late=no_late,
        cautions=() if len(past) >= bounds.min_past_files else first_cautions(files, columns),
        columns=compared(files, typed, bounds, context.config.expectations.max_faulty_fraction),
    )


def _measure_late(
    context: StageContext, events: DataFrame, earlier: str, of_new: OfNew
) -> tuple[LateEvents | None, str]:
    """Events that came after an earlier cycle although they happened before its cutoff; None, and why, where
    what that cycle had cannot be told."""
    cycle, settings = context.cycle, context.settings
    resolved = read_cycle(settings, cycle.source, earlier)
    versions = table_versions(read_records(settings.cycle_folder(cycle.source, earlier)))
    if resolved is None or EVENTS.name not in versions:
        return None, f"the record of cycle {earlier} does not say what it had"
    ingested, _, name, passed, _ = of_new
    try:
        known = _table(context, EVENTS, versions)
    except delta.TableError:
        return None, f"the events of cycle {earlier} are no longer kept"
    continued = cycle.parent.split if cycle.parent else None
    new_files = ingested.where(new_lines.is_new(ingested, name, passed))
    return late_events(events, new_files, known, resolved.cycle.cutoff, cycle.cutoff, continued), ""


def _judge_events(context: StageContext, measured: events_suite.Measured) -> SuiteResult:
    source, expectations = context.config.source, context.config.expectations
    limits = events_suite.Limits(
        actions=source.actions,
        earliest=aware(source.earliest or EARLIEST),
        latest=aware(source.latest or LATEST),
        **expectations.model_dump(exclude=_OF_OTHER_SUITES),
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


def _judge_losses(context: StageContext, losses: Losses) -> SuiteResult:
    source, expectations = context.config.source, context.config.expectations
    limits = Limits(
        bounds=expectations.losses,
        max_faulty_fraction=expectations.max_faulty_fraction,
        columns=mapped_optional(source),
        format=source.events.format or "table",
    )
    batches = losses_suite.batches(context.session(), limits, losses)
    expected = losses_suite.expectations(limits, losses)
    return judge(LOSSES, batches, expected, losses_suite.AGGREGATES)


def _judge_items(context: StageContext) -> SuiteResult:
    before = _of_version(context, ITEMS, context.cycle.reference)
    catalogue = {
        counted.kind: items_suite.Lines(counted.lines, counted.faulty, counted.unreadable)
        for counted in context.figures(ITEMS.name, ItemsFigures).catalogue
    }
    batches = items_suite.batches(_table(context, ITEMS), _table(context, EVENTS), before, catalogue)
    bounds = context.config.expectations
    expected = items_suite.expectations(
        before is not None,
        catalogue,
        bounds.max_faulty_catalogue_fraction,
        bounds.max_lost_catalogue_fraction,
    )
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
        bounds=config.expectations.losses,
    )
    written = context.figures(SEQUENCES.name, SequencesFigures)
    earlier = [
        figures_of(records[SEQUENCES.name], SequencesFigures)
        for name, records in _other_cycles(context).items()
        if name < cycle.name and {SEQUENCES.name, "validate_sequences"} <= records.keys()
    ]
    labels = sequences_suite.Labels(
        positions=written.loss_positions,
        labels=written.targets,
        past=tuple(before.targets / before.loss_positions for before in earlier if before.loss_positions),
    )
    rows = _table(context, SEQUENCES).where(F.col("cycle") == cycle.name)
    batches = sequences_suite.batches(rows, _table(context, EVENTS), items, limits, labels)
    expected = sequences_suite.expectations(limits, labels)
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


def _conclude(
    context: StageContext, judged: Sequence[SuiteResult], cautions: Sequence[str] = ()
) -> tuple[Path, AcceptedData | None]:
    """Writes the page, with words of caution; returns its path, and the word by which a red suite passes. Raises
    ExpectationsFailed when an expectation crashed, or failed and nobody has accepted that."""
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
    pinned = {name: context.versions[name] for result in judged if (name := result.table) != LOSSES}
    facts = {
        "source": cycle.source,
        "cycle": cycle.name,
        "split": f"{cycle.split:%Y-%m-%d %H:%M} UTC",
        "cutoff": f"{cycle.cutoff:%Y-%m-%d %H:%M} UTC",
        "table versions": ", ".join(f"{table} {version}" for table, version in pinned.items()),
    }
    page = report.write(folder, stage, judged, facts, word.words if word else None, cautions)
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
            remedy = judgement.expectation.remedy
            words = f": {judgement.observed}; {remedy}" if remedy and judgement.outcome == "failed" else ""
            red.append(f"{result.table}.{judgement.expectation.name} ({judgement.outcome}{rows}{words})")
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
    """Figures of `validate_events` from every other cycle in which it passed, by cycle, oldest first."""
    return {
        name: figures_of(records["validate_events"], ValidateEventsFigures)
        for name, records in _other_cycles(context).items()
        if "validate_events" in records
    }


def _other_cycles(context: StageContext) -> dict[str, Records]:
    """Records of every other cycle of the source, by cycle, oldest first."""
    own = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    others = sorted(path for path in own.parent.glob("*") if path.name != own.name)
    return {path.name: read_records(path) for path in others}


def _earlier_windows(
    context: StageContext, judged_before: Mapping[str, ValidateEventsFigures]
) -> dict[str, Window]:
    """Windows of the last `drift_cycles` cycles before this one, by cycle, oldest first."""
    earlier = [name for name in judged_before if name < context.cycle.name]
    last = earlier[-context.config.expectations.drift_cycles :]
    return {name: judged_before[name].window for name in last}
