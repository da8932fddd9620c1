"""The two stages that judge data: what they record, what they refuse, and what they leave behind."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, SEQUENCES, VOCABULARY, location
from pipeline.cycle import accepted
from pipeline.cycle.definition import Cycle, Parent
from pipeline.cycle.records import StageContext, StageRecord
from pipeline.settings import Settings
from pipeline.stages.validate import ExpectationsFailed, validate_events, validate_sequences
from spark_jobs.histories import tokens
from spark_jobs.histories.spans import up_to
from spark_jobs.sequences import sequences
from spark_jobs.vocabulary import vocabulary
from tests.factories import CUTOFFS, WINDOW, events_frame, items_frame, tiny_config

DAY = 86_400
FILE = {"file_id": "f" * 64, "file_path": "a.jsonl", "size_bytes": 1, "rejected_count": 1, "line_count": 61,
        "mapping_digest": "m"}  # fmt: skip
SPARK_OPTIONS = {"spark.sql.shuffle.partitions": "1", "spark.sql.codegen.wholeStage": "false"}


def put(settings: Settings, table: str, rows: pa.Table) -> None:
    """Writes a table, or its next version."""
    write_deltalake(location(settings.lake, "tiny", table), rows, mode="overwrite")


def record(stage: str, versions: dict[str, int], figures: dict | None = None) -> StageRecord:
    return StageRecord(stage, "0", {}, versions, figures or {}, None, 1.0, "2024-01-01T00:00:00", 1.0)


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
    put(settings, INGESTED_FILES.name, spark.createDataFrame([ingested], INGESTED_FILES.ddl).toArrow())
    put(settings, REJECTED_EVENTS.name, spark.createDataFrame([rejected], REJECTED_EVENTS.ddl).toArrow())
    put(settings, VOCABULARY.name, vocabulary(until_split, items, None, cycle.name, 3).toArrow())
    put(settings, SEQUENCES.name, sequences(numbered, cycle.name, config.source, config.sequences).toArrow())
    tables = ("events", "items", "ingested_files", "rejected_events", "vocabulary", "sequences")
    records = {"events": record("events", dict.fromkeys(tables, 0))}
    yield StageContext(config, cycle, settings, records, say=lambda text: None)
    for key, value in before.items():
        spark.conf.set(key, value)


def page(context: StageContext, stage: str) -> str:
    return (context.settings.report_folder("tiny", context.cycle.name) / f"{stage}.html").read_text()


def keep(context: StageContext, cycle: str, *records: StageRecord) -> None:
    """Leaves records of another cycle."""
    folder = context.settings.cycle_folder("tiny", cycle)
    folder.mkdir(parents=True, exist_ok=True)
    for one in records:
        (folder / f"stage-{one.stage}.json").write_text(json.dumps(asdict(one)))


def outcomes(result) -> dict[str, str]:
    return {one["name"]: one["outcome"] for one in result.figures["judgements"] if one["outcome"] != "passed"}


def test_sound_events_pass_and_leave_their_window_for_later_cycles(context):
    result = validate_events(context)
    assert outcomes(result) == dict.fromkeys(
        ("volume_drift", "action_mix_drift", "numbering_append_only"), "not_applicable"
    )
    # Days 30 to 40 hold the places 10 to 13 of each user, but for the very first instant.
    assert result.figures["window"] == {
        "days": 10.0,
        "action_counts": {"played": 8, "viewed": 7},
        "events": 15,
    }
    assert result.figures["new_lines"] == {
        "lines": 61, "faulty": 1, "examples": ("1 × not JSON (first: a.jsonl, line 61)",)
    }  # fmt: skip
    assert result.figures["drift"] is None and result.figures["compared_with"] == []
    assert "expectations are met" in page(context, "validate_events")
    json.dumps(result.figures)


def test_a_volume_far_from_earlier_cycles_fails_and_names_the_page(context):
    ten_times = {"days": 10.0, "action_counts": {"viewed": 1500}, "events": 1500}
    keep(context, "2024-01-31", record("validate_events", {}, {"window": ten_times}))
    keep(
        context,
        "2024-02-20",
        record("validate_events", {}, {"window": {**ten_times, "action_counts": {"x": 1}}}),
    )
    with pytest.raises(ExpectationsFailed) as failure:
        validate_events(context)
    text = str(failure.value)
    assert "events.volume_drift (failed, 1 rows), events.action_mix_drift (failed, 1 rows)" in text
    assert str(context.settings.report_folder("tiny", "2024-02-10") / "validate_events.html") in text
    assert "\n" not in text
    assert "2 of" in page(context, "validate_events") and "0.01 times the median" in page(
        context, "validate_events"
    )


def test_sound_sequences_pass_then_lost_rows_and_the_future_are_found(context, spark):
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
    broken = replace(context, records={**context.records, "sequences": record("sequences", {"sequences": 1})})
    with pytest.raises(
        ExpectationsFailed, match=r"sequences\.nothing_past_the_split .*loss_positions_add_up"
    ):
        validate_sequences(broken)
    assert rows[0]["user_id"] in page(context, "validate_sequences")


def test_the_parents_numbering_and_tokens_are_compared(context):
    parent = Parent(1, "2024-02-10", context.cycle.split, "ab" * 32)
    second = Cycle("tiny", CUTOFFS[0] + timedelta(days=5), WINDOW, parent)
    keep(context, "2024-02-10", record("items", {"items": 0, "vocabulary": 0}))
    made = replace(context.cycle, cutoff=datetime(2024, 2, 10, tzinfo=UTC))
    accepted.keep(context.settings, made, parent.checkpoint_digest)
    stored = {name: 0 for name in ("events", "items", "ingested_files", "rejected_events")}
    seen = {"days": 10.0, "action_counts": {"viewed": 7, "played": 8}, "events": 15}
    keep(context, "2024-01-31", record("validate_events", {}, {"window": seen}))
    result = validate_events(replace(context, cycle=second, records={"events": record("events", stored)}))
    assert result.figures["compared_with"] == ["2024-01-31"]
    assert 0.5 < result.figures["drift"]["volume_ratio"] <= 1
    judged = {one["name"]: one["outcome"] for one in result.figures["judgements"]}
    assert judged["numbering_append_only"] == "passed"
