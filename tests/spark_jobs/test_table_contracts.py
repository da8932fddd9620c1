"""Every table that Spark writes keeps its contract: enforced, repeatable, readable at every version."""

from __future__ import annotations

from datetime import UTC, date, datetime

from expectations import tables
from tests.spark_jobs.table_contract import (
    AppendedTable,
    CycleTable,
    GrowingTable,
    TableContract,
    UpsertedTable,
)

NOT_BY_SPARK = {"ranks"}
"""Written by delta-rs, in `model.evaluation.ranks`."""

REJECTED = {"file_id": "f1", "file_path": "a.jsonl", "line_number": 1, "raw": "{", "reason": "not valid JSON"}
TOKENS = {
    "cycle": "2026-03-01",
    "user_id": "ann",
    "first_position": 0,
    "item_index": [3, 1],
    "action": [0, 1],
    "event_at_us": [-1, 5],
    "reward": [0.0, 1.5],
    "page": [0, 7],
}
UNEQUAL_ARRAYS = {"reward": [0.0]}


class TestEvents(
    AppendedTable,
    table=tables.EVENTS,
    row={
        "event_id": "e1",
        "user_id": "ann",
        "item_id": "up",
        "event_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "action": "view",
        "file_id": "f1",
        "line_number": 1,
        "event_date": date(2026, 1, 1),
    },
    other={"event_id": "e2", "watch_seconds": 2.5, "page": "home", "position": 0},
    violations={
        "keys_not_empty": {"event_id": "e3", "user_id": ""},
        "event_date_of_event_at": {"event_id": "e3", "event_date": date(2026, 1, 2)},
        "watch_not_negative": {"event_id": "e3", "watch_seconds": -0.5},
        "completion_not_negative": {"event_id": "e3", "completion_fraction": -0.1},
    },
):
    """Written by `spark_jobs.events`."""


class TestRejectedEvents(
    AppendedTable,
    table=tables.REJECTED_EVENTS,
    row=REJECTED,
    other={"line_number": 2},
):
    """Written by `spark_jobs.events`."""


class TestIngestedFiles(
    AppendedTable,
    table=tables.INGESTED_FILES,
    row={
        "file_id": "f1",
        "file_path": "a.jsonl",
        "size_bytes": 10,
        "line_count": 3,
        "accepted_count": 2,
        "rejected_count": 1,
        "mapping_digest": "0f",
        "cycle": "2026-03-01",
    },
    other={"file_id": "f2"},
    violations={"lines_add_up": {"file_id": "f3", "line_count": 4}},
):
    """Written by `spark_jobs.events`."""


class TestItems(
    UpsertedTable,
    table=tables.ITEMS,
    row={"item_id": "up", "item_index": 0, "tags": [], "edges": []},
    other={
        "item_id": "heat",
        "item_index": 1,
        "title": "Heat",
        "launched_at": datetime(1995, 12, 15, tzinfo=UTC),
        "tags": [{"tag": "bank", "tagged_at": None}],
        "edges": [{"relation": "cast", "entity": "Al"}],
    },
    violations={"item_index_not_negative": {"item_id": "new", "item_index": -1}},
):
    """Written by `spark_jobs.items`."""


class TestRejectedItems(
    UpsertedTable,
    table=tables.REJECTED_ITEMS,
    row=REJECTED,
    other={"line_number": 2},
):
    """Written by `spark_jobs.items`."""


class TestTextVectors(
    GrowingTable,
    table=tables.TEXT_VECTORS,
    row={"text_digest": "d1", "encoder": "e", "vector": [0.5, -0.5]},
    other={"text_digest": "d2"},
):
    """Written by `spark_jobs.item_features`."""


class TestItemFeatures(
    CycleTable,
    table=tables.ITEM_FEATURES,
    row={"cycle": "2026-03-01", "item_index": 0, "language": [], "graph": [0.5], "annotation": [0.0]},
    other={"cycle": "2026-04-01"},
):
    """Written by `spark_jobs.item_features`."""


class TestVocabulary(
    CycleTable,
    table=tables.VOCABULARY,
    row={
        "cycle": "2026-03-01",
        "item_token": 0,
        "item_index": 4,
        "event_count": 9,
        "added_in": "2026-03-01",
        "retired": False,
    },
    other={"cycle": "2026-04-01"},
    violations={"item_token_not_negative": {"item_token": -1}},
):
    """Written by `spark_jobs.vocabulary`."""


class TestSequences(
    CycleTable,
    table=tables.SEQUENCES,
    row=TOKENS
    | {
        "chunk": 0,
        "loss_start": 0,
        "target_positions": [1],
        "tail_item_index": [2],
        "tail_event_at_us": [9],
        "tail_reward": [1.0],
    },
    other={"cycle": "2026-04-01", "chunk": 1, "first_position": 6, "loss_start": 1},
    violations={
        "arrays_match": UNEQUAL_ARRAYS,
        "loss_start_inside": {"chunk": 1, "loss_start": 2},
        "tails_match": {"tail_reward": []},
        "first_chunk_starts_at_zero": {"first_position": 1},
    },
):
    """Written by `spark_jobs.sequences`."""


class TestEvaluationSequences(
    CycleTable,
    table=tables.EVALUATION_SEQUENCES,
    row=TOKENS | {"label_positions": [1]},
    other={"cycle": "2026-04-01"},
    violations={"arrays_match": UNEQUAL_ARRAYS, "has_a_label": {"label_positions": []}},
):
    """Written by `spark_jobs.evaluation_sequences`."""


class TestItemSignals(
    CycleTable,
    table=tables.ITEM_SIGNALS,
    row={
        "cycle": "2026-03-01",
        "after_split": False,
        "item_index": 4,
        "bucket_end_us": 600,
        "events": 2,
        "first_event_at_us": -5,
        "decayed": [0.5, 1.75],
        "decayed_high_value": 0.0,
    },
    other={"cycle": "2026-04-01", "after_split": True},
    violations={
        "item_index_not_negative": {"item_index": -1},
        "events_before_the_end": {"first_event_at_us": 600},
        "has_half_lives": {"decayed": []},
        "decayed_not_negative": {"decayed": [0.5, -0.1]},
    },
):
    """Written by `spark_jobs.item_signals`."""


class TestSuccessors(
    CycleTable,
    table=tables.SUCCESSORS,
    row={
        "cycle": "2026-03-01",
        "after_split": False,
        "user_id": "ann",
        "position": 2,
        "item_index": 1,
        "event_at_us": -1,
        "previous_items": [1, 0],
    },
    other={"cycle": "2026-04-01", "after_split": True},
    violations={
        "item_index_not_negative": {"item_index": -1},
        "has_previous_items": {"position": 1},
    },
):
    """Written by `spark_jobs.successors`."""


def suites(base=TableContract):
    for suite in base.__subclasses__():
        yield from [suite] if hasattr(suite, "table") else suites(suite)


def test_every_table_of_spark_has_its_suite():
    assert {suite.table.name for suite in suites()} == set(tables.TABLES) - NOT_BY_SPARK
