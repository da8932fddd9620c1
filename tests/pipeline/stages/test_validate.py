"""The two stages that judge data: what they record, what they refuse, and the pages they leave."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from expectations.figures import NewLines, Window
from expectations.suites.items import SAID
from expectations.tables import (
    EVENTS,
    INGESTED_FILES,
    ITEM_SIGNALS,
    REJECTED_EVENTS,
    SEQUENCES,
    SUCCESSORS,
    VOCABULARY,
    location,
)
from pipeline.cycle import acceptance, accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.corrections import Said
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.figures import ValidateEventsFigures
from pipeline.cycle.records import StageRecord, StageResult, plain_figures, write_record
from pipeline.settings import Settings
from pipeline.stages.validate import ExpectationsFailed, validate_events, validate_sequences
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.figures import CatalogueLines, ItemsFigures, ItemSignalsFigures, SequencesFigures
from spark_jobs.histories import tokens
from spark_jobs.histories.spans import up_to
from spark_jobs.item_signals import item_signals
from spark_jobs.sequences import sequences
from spark_jobs.successors import successors
from spark_jobs.vocabulary import vocabulary
from tests.factories import CUTOFFS, WINDOW, events_frame, items_frame, tiny_config

DAY = 86_400
FILE = {"file_id": "f" * 64, "file_path": "a.jsonl", "size_bytes": 1, "rejected_count": 1, "line_count": 61,
        "mapping_digest": "m"}  # fmt: skip
SPARK_OPTIONS = {"spark.sql.shuffle.partitions": "1", "spark.sql.codegen.wholeStage": "false"}


def put(settings: Settings, table: str, rows: pa.Table) -> None:
    """Writes a table, or its next version."""
    write_deltalake(location(settings.lake, "tiny", table), rows, mode="overwrite")


CATALOGUE = tuple(CatalogueLines(kind, 5, 0, 0) for kind in ("items", "tags", "edges"))
SEQUENCES_FIGURES = SequencesFigures(45, 4, 4, 45, 45, 22, 0, 1, 1.0, 0.0)
ITEMS_FIGURES = ItemsFigures(5, 5, 0, 0, 0, 0, 0, 0, {}, catalogue=CATALOGUE)


def record(stage: str, versions: dict[str, int], figures: object = ITEMS_FIGURES) -> StageRecord:
    return StageRecord(stage, "0", {}, versions, figures, None, 1.0, "2024-01-01T00:00:00", 1.0)


def at(context: StageContext, stage: str) -> StageContext:
    return replace(context, stage=workflow(context.config)[stage])


def judged_window(**action_counts: int) -> StageRecord:
    """What `validate_events` recorded of a ten-day window."""
    figures = ValidateEventsFigures(Window(10.0, action_counts), NewLines(1, 0), None, (), (), "page.html")
    return record("validate_events", {}, figures)


@pytest.fixture(scope="module")
def context(spark, tmp_path_factory) -> StageContext:
    """A home whose tables are those of the first cycle: 4 users with 15 events each over 45 days."""
    before = {key: spark.conf.get(key) for key in SPARK_OPTIONS}
    for key, value in SPARK_OPTIONS.items():
        spark.conf.set(key, value)
    settings = Settings.at(tmp_path_factory.mktemp("home"))
    (settings.home / "jars").symlink_to(Settings.from_environment().jars, target_is_directory=True)
    config, cycle = tiny_config(), Cycle("tiny", CUTOFFS[0], WINDOW, None)
    events = events_frame(
        spark,
        [
            (
                f"u{user}",
                f"i{(user + place) % 5}",
                DAY * (3 * place + user / 4),
                "played" if place % 2 else "viewed",
            )
            for user in range(4)
            for place in range(15)
        ],
    )
    items = items_frame(spark, [f"i{number}" for number in range(5)])
    until_split = up_to(events, cycle.split)
    numbered = tokens.numbered(tokens.tokens(until_split, items, config.source, 32))
    ingested = {**FILE, "accepted_count": 60, "cycle": cycle.name}
    rejected = {
        "file_id": FILE["file_id"],
        "file_path": "a.jsonl",
        "line_number": 61,
        "raw": "{",
        "reason": "not JSON",
    }
    put(settings, EVENTS.name, events.toArrow())
    put(settings, "items", items.toArrow())
    for table, row in ((INGESTED_FILES, ingested), (REJECTED_EVENTS, rejected)):
        whole = dict.fromkeys(table.column_names) | row
        put(settings, table.name, spark.createDataFrame([whole], table.ddl).toArrow())
    put(settings, VOCABULARY.name, vocabulary(until_split, items, None, cycle.name, 3).toArrow())
    put(settings, SEQUENCES.name, sequences(numbered, cycle.name, config.source, config.sequences).toArrow())
    until_cutoff, signals = up_to(events, cycle.cutoff), config.signals
    of_items = item_signals(
        until_cutoff, items, cycle.split, cycle.name, config.source, (1.0, 7.0), signals.bucket_us
    )
    log = tokens.tokens(until_cutoff, items, config.source, 32)
    put(settings, ITEM_SIGNALS.name, of_items.toArrow())
    put(settings, SUCCESSORS.name, successors(log, cycle.split, cycle.name, signals.reach).toArrow())
    tables = ("events", "items", "ingested_files", "rejected_events", "vocabulary", "sequences", "successors")
    figures = ItemSignalsFigures((1.0, 7.0), signals.bucket_us, 60, 5, 60, 20, 1)
    finished = {
        "events": record("events", dict.fromkeys(tables, 0)),
        "items": record("items", {}),
        "sequences": record("sequences", {}, SEQUENCES_FIGURES),
        "item_signals": record("item_signals", {"item_signals": 0}, figures),
    }
    stage = workflow(config)["validate_events"]
    yield StageContext(stage, config, cycle, settings, finished, say=lambda text: None)
    for key, value in before.items():
        spark.conf.set(key, value)


def page(context: StageContext, stage: str) -> str:
    return (context.settings.report_folder("tiny", context.cycle.name) / f"{stage}.html").read_text()


def keep(context: StageContext, cycle: str, *records: StageRecord) -> None:
    """Leaves records of another cycle."""
    for kept in records:
        write_record(context.settings.cycle_folder("tiny", cycle), kept)


def outcomes(result: StageResult) -> dict[str, str]:
    """Outcome by expectation, of those that did not pass."""
    return {row.name: row.outcome for row in result.figures.judgements if row.outcome != "passed"}


def test_sound_events_pass_and_leave_their_window_for_later_cycles(context):
    result = validate_events(context)
    losses = {row.name for row in result.figures.judgements if row.table == "losses"}
    assert {
        name: outcome for name, outcome in outcomes(result).items() if name not in losses
    } == dict.fromkeys(
        ("volume_drift", "action_mix_drift", "numbering_append_only", *(f"{name}_kept" for name in SAID)),
        "not_applicable",
    )
    # Events are on every third day, too few to compare with, and there is no earlier file.
    judged = {row.name: row for row in result.figures.judgements if row.outcome == "passed"}
    assert losses & set(judged) >= {"faulty_lines_of_file", "events_of_file"}
    assert all(row.observed or row.message for row in result.figures.judgements)
    (file,) = result.figures.files
    assert (file.path, file.lines, file.accepted, file.faulty) == ("a.jsonl", 61, 60, 1)
    assert result.figures.late is None and result.figures.days_after_the_last == 0
    # Days 30 to 40 hold events 10 to 13 of each user, without the very first instant.
    figures = result.figures
    assert figures.window == Window(10.0, {"played": 8, "viewed": 7}) and figures.window.events == 15
    assert figures.new_lines == NewLines(61, 1, ("1 × not JSON (first: a.jsonl, line 61)",))
    assert figures.drift is None and figures.compared_with == ()
    assert "expectations are met" in page(context, "validate_events")
    json.dumps(plain_figures(figures))


def test_a_volume_far_from_earlier_cycles_fails_and_names_the_page(context):
    keep(context, "2024-01-31", judged_window(viewed=1500))
    keep(context, "2024-02-20", judged_window(x=1))
    with pytest.raises(ExpectationsFailed) as failure:
        validate_events(context)
    text = str(failure.value)
    assert "events.volume_drift (failed, 1 rows), events.action_mix_drift (failed, 1 rows)" in text
    assert str(context.settings.report_folder("tiny", "2024-02-10") / "validate_events.html") in text
    assert "\n" not in text
    written = page(context, "validate_events")
    assert "2 of" in written and "0.01 times the median" in written
    why = Said("ann@host", "2024-02-11T00:00:00+00:00", "the source was down")
    acceptance.accept(context.settings, "tiny", context.cycle.name, why)
    other = replace(context, inputs_digest="other data")
    with pytest.raises(ExpectationsFailed):
        validate_events(other)
    acceptance.accept(context.settings, "tiny", context.cycle.name, why)
    figures = validate_events(other).figures
    assert figures.accepted.expectations == ("events.volume_drift", "events.action_mix_drift")
    assert "2 of" in page(context, "validate_events")
    assert "accepted by ann@host on 2024-02-11: the source was down" in page(context, "validate_events")
    assert {row.outcome for row in figures.judgements if row.name == "volume_drift"} == {"failed"}


def test_sound_sequences_pass_and_lost_rows_and_late_events_fail(context, spark):
    context = at(context, "validate_sequences")
    assert outcomes(validate_sequences(context)) == dict.fromkeys(
        ("parent_tokens_kept", "parent_added_in_kept"), "not_applicable"
    )
    address = location(context.settings.lake, "tiny", "sequences")
    rows = pa.Table.from_batches(spark.read.format("delta").load(address).toArrow().to_batches()).to_pylist()
    late = [
        {**row, "event_at_us": [*row["event_at_us"][:-1], row["event_at_us"][-1] + 10**13]}
        for row in rows[1:]
    ]
    put(
        context.settings,
        "sequences",
        pa.Table.from_pylist(late, schema=spark.read.format("delta").load(address).toArrow().schema),
    )
    written = {**context.finished, "sequences": record("sequences", {"sequences": 1}, SEQUENCES_FIGURES)}
    broken = replace(context, finished=written)
    with pytest.raises(
        ExpectationsFailed, match=r"sequences\.nothing_past_the_split .*loss_positions_add_up"
    ):
        validate_sequences(broken)
    assert rows[0]["user_id"] in page(context, "validate_sequences")


def test_the_parents_numbering_and_tokens_are_compared(context):
    parent = AcceptedVersion(1, "2024-02-10", context.cycle.split, "ab" * 32)
    second = Cycle("tiny", CUTOFFS[0] + timedelta(days=5), WINDOW, parent, parent)
    keep(context, "2024-02-10", record("items", {"items": 0, "vocabulary": 0}))
    made = replace(context.cycle, cutoff=datetime(2024, 2, 10, tzinfo=UTC))
    accepted.keep(context.settings, made, parent.checkpoint_digest)
    stored = {name: 0 for name in ("events", "items", "ingested_files", "rejected_events")}
    keep(context, "2024-01-31", judged_window(viewed=7, played=8))
    finished = {"events": record("events", stored), "items": record("items", {})}
    result = validate_events(replace(context, cycle=second, finished=finished))
    assert result.figures.compared_with == ("2024-01-31",)
    assert 0.5 < result.figures.drift.volume_ratio <= 1
    judged = {row.name: row.outcome for row in result.figures.judgements}
    assert judged["numbering_append_only"] == "passed"


def test_lost_rows_of_signals_fail(context):
    context = at(context, "validate_sequences")
    written = dict(context.finished)
    for name in ("item_signals", "successors"):
        rows = DeltaTable(location(context.settings.lake, "tiny", name), version=0).to_pyarrow_table()
        put(context.settings, name, rows.slice(1))
        written[name] = replace(context.finished.get(name, record(name, {})), versions={name: 1})
    with pytest.raises(
        ExpectationsFailed, match=r"not met: item_signals\.buckets_add_up .*successors\.neighbours_agree"
    ):
        validate_sequences(replace(context, finished=written))
