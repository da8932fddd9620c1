"""A cycle's tables written by delta-rs without Spark: enough to train, rank and judge.

Sixty users walk around a ring of twelve items, one event an hour, all of them high-value; what
comes next follows from what came last, and nothing is more popular than anything else. The last
four events of each lie in the evaluation window.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from expectations import tables
from model.config import TrainingConfig
from pipeline.config import Config
from pipeline.cycle.definition import Cycle
from pipeline.cycle.records import StageContext, StageRecord, StageResult
from pipeline.settings import Settings
from tests.factories import CUTOFFS, WINDOW, tiny_config

RING = 12
USERS = 60
EVENTS = 14
IN_WINDOW = 4
SOURCE = "tiny"
HOUR_US = 3_600_000_000

_ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_ARROW |= {
    f"array<{name}>": pa.list_(kind)
    for name, kind in (
        ("int", pa.int32()),
        ("bigint", pa.int64()),
        ("tinyint", pa.int8()),
        ("smallint", pa.int16()),
        ("float", pa.float32()),
    )
}


def config(**sections: Any) -> Config:
    """The tiny configuration, trained long enough to learn the ring."""
    training = TrainingConfig(
        batch_tokens=256,
        epochs=30,
        finetune_epochs=1,
        learning_rate=5e-3,
        embedding_learning_rate=5e-3,
        threads=1,
        validation_days=0,
        accelerator="cpu",
    )
    parts = {
        "training": training,
        "objective": tiny_config().objective.model_copy(update={"label_window": 1}),
    }
    return tiny_config(**(parts | sections))


def write_cycle(
    settings: Settings,
    cutoff: datetime = CUTOFFS[0],
    seed: int = 0,
    items: int = RING,
    in_vocabulary: int = RING,
) -> StageContext:
    """Writes one cycle's tables and returns the context of its model stages, first cycle and cold."""
    cycle = Cycle(SOURCE, cutoff, WINDOW, None)
    draw = np.random.default_rng(seed)
    split_us = _micros(cycle.split)
    begin_us = split_us - (EVENTS - IN_WINDOW) * HOUR_US + 1
    users, events = [], []
    for user in range(USERS):
        start = draw.integers(0, RING)
        own = [
            {"item": int((start + step) % RING), "at_us": begin_us + step * HOUR_US + user}
            for step in range(EVENTS)
        ]
        users.append((f"{cycle.name}-{user:02d}", own))
        events += [(f"{cycle.name}-{user:02d}", event) for event in own]
    counts = np.bincount(
        [event["item"] for _, event in events if event["at_us"] <= split_us], minlength=items
    )
    vectors = np.random.default_rng(99)  # the same features in every cycle
    width = {"graph": 16, "annotation": 16, "language": 1}
    rows = {
        "items": [
            {"item_id": f"i{item:02d}", "item_index": item, "launched_at": None, "title": f"item {item}"}
            for item in range(items)
        ],
        "vocabulary": [
            {
                "item_token": item,
                "item_index": item,
                "event_count": int(counts[item]),
                "added_in": "",
                "retired": False,
            }
            for item in range(in_vocabulary)
        ],
        "item_features": [
            {"item_index": item} | {name: vectors.normal(size=size).tolist() for name, size in width.items()}
            for item in range(items)
        ],
        "sequences": [
            _row(user, [event for event in own if event["at_us"] <= split_us])
            | {"chunk": 0, "loss_start": 0, "target_positions": list(range(EVENTS - IN_WINDOW))}
            | {"tail_item_index": [], "tail_event_at_us": [], "tail_reward": []}
            for user, own in users
        ],
        "evaluation_sequences": [
            _row(user, own) | {"label_positions": list(range(EVENTS - IN_WINDOW, EVENTS))}
            for user, own in users
        ],
        "events": [
            {"user_id": user, "item_id": f"i{event['item']:02d}", "event_at": _instant(event["at_us"])}
            | {
                "event_date": _instant(event["at_us"]).date(),
                "action": "played",
                "event_id": f"{user}{number}",
            }
            for number, (user, event) in enumerate(events)
        ],
    }
    versions = {name: _write(settings, name, cycle.name, content) for name, content in rows.items()}
    records = {
        name: record(name, StageResult(versions={name: version}, figures={"masking_rate": 0.05}))
        for name, version in versions.items()
    }
    return StageContext(config(), cycle, settings, records, say=lambda text: None)


def record(stage: str, result: StageResult) -> StageRecord:
    """A finished stage."""
    return StageRecord(stage, "", {}, result.versions, result.figures, result.refused, 1.0, "2024-01-01", 0.0)


def after(context: StageContext, stage: str, result: StageResult) -> StageContext:
    """The context of a later stage."""
    return replace(context, records=context.records | {stage: record(stage, result)})


def _row(user: str, own: list[dict[str, int]]) -> dict[str, Any]:
    size = len(own)
    codes = dict.fromkeys(("page", "position", "country"), [0] * size)
    return codes | {
        "user_id": user,
        "first_position": 0,
        "item_index": [event["item"] for event in own],
        "action": [1] * size,
        "event_at_us": [event["at_us"] for event in own],
        "reward": [1.0] * size,
        "device": None,
    }


def _write(settings: Settings, name: str, cycle: str, rows: list[dict[str, Any]]) -> int:
    """Adds rows to a table; columns of the contract that they lack are left out, `cycle` filled in."""
    contract = tables.TABLES[name]
    known = {column.name: _ARROW.get(column.type) for column in contract.columns}
    columns = [column for column in known if column == "cycle" or column in rows[0]]
    content = {name: pa.array([row.get(name, cycle) for row in rows], known[name]) for name in columns}
    address = tables.location(settings.lake, SOURCE, name)
    if "cycle" in contract.partitions or name == "events":
        write_deltalake(address, pa.table(content), mode="append", partition_by=list(contract.partitions))
    else:
        write_deltalake(address, pa.table(content), mode="overwrite")
    return DeltaTable(address).version()


def _micros(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _instant(at_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)


def with_config(context: StageContext, **sections: Any) -> StageContext:
    """The same context with other sections of the configuration."""
    return replace(context, config=config(**sections))
