"""A cycle's tables written by delta-rs without Spark: enough to train, rank and judge.

Sixty users walk around a ring of twelve items, one event an hour, all of them high-value. The next item
follows from the last one, and no item is more popular than another. Each user's last four events lie in
the evaluation window.

    context = write_cycle(settings)                # of the first cycle, at the stage rung_1
    context = after(context, "rung_1", rung(context))
    evaluate(at(context, "evaluate"))
    next_cycle(context)                            # continues the first cycle's accepted version
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from expectations import tables
from expectations.instants import HOUR_US, from_microseconds, microseconds
from model.config import TrainingConfig
from model.data.delta import arrow_type
from model.evaluation.names import CANDIDATE
from model.training.checkpoint import digest_of_weights
from pipeline.config import Config
from pipeline.cycle import accepted, definition
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.records import StageRecord, StageResult, write_record
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.figures import ItemSignalsFigures, VocabularyFigures
from tests.factories import CUTOFFS, WINDOW, tiny_config
from tests.model.signal_rows import BUCKET_US, HALF_LIVES, item_signal_rows, successor_rows

RING = 12
USERS = 60
EVENTS = 14
IN_WINDOW = 4
SOURCE = "tiny"


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
        # The log is shorter than the window: every item would be young at every label.
        "objective": tiny_config().objective.model_copy(update={"label_window": 1, "young_rate": 0.0}),
    }
    return tiny_config(**(parts | sections))


def write_cycle(
    settings: Settings,
    cutoff: datetime = CUTOFFS[0],
    seed: int = 0,
    items: int = RING,
    in_vocabulary: int = RING,
) -> StageContext:
    """Writes one cycle's tables; the context of its first rung. It is a first cycle, trained from scratch."""
    cycle = Cycle(SOURCE, cutoff, WINDOW, None)
    draw = np.random.default_rng(seed)
    split_us = microseconds(cycle.split)
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
            {
                "user_id": user,
                "item_id": f"i{event['item']:02d}",
                "event_at": from_microseconds(event["at_us"]),
            }
            | {
                "event_date": from_microseconds(event["at_us"]).date(),
                "action": "played",
                "event_id": f"{user}{number}",
            }
            for number, (user, event) in enumerate(events)
        ],
    }
    histories = {user: [(event["item"], event["at_us"], 1.0) for event in own] for user, own in users}
    rows["item_signals"] = item_signal_rows(histories, split_us, cycle.name)
    rows["successors"] = successor_rows(histories, split_us, cycle.name)
    versions = {name: _write(settings, name, cycle.name, content) for name, content in rows.items()}
    figures = VocabularyFigures(cold_start_rate=0.05, masking_rate=0.05, labels=240, cold_labels=12)
    signals = ItemSignalsFigures(HALF_LIVES, BUCKET_US, 0, 0, 0, 0, 0)
    finished = {
        "vocabulary": record("vocabulary", StageResult(figures, versions)),
        "item_signals": record("item_signals", StageResult(signals)),
    }
    own = config()
    return StageContext(workflow(own)["rung_1"], own, cycle, settings, finished, say=lambda text: None)


def record(stage: str, result: StageResult) -> StageRecord:
    """The record of a finished stage."""
    return StageRecord(stage, "", {}, result.versions, result.figures, result.refused, 1.0, "2024-01-01", 0.0)


def at(context: StageContext, stage: str) -> StageContext:
    """The same cycle at another stage, which is given what that stage declares to read."""
    return replace(context, stage=workflow(context.config)[stage])


def after(context: StageContext, stage: str, result: StageResult) -> StageContext:
    """The same cycle with one more finished stage."""
    return replace(context, finished={**context.finished, stage: record(stage, result)})


def with_config(context: StageContext, **sections: Any) -> StageContext:
    """The same context with other sections of the configuration."""
    changed = Config(**{**dict(context.config), **sections})
    return replace(context, config=changed, stage=workflow(changed)[context.stage.name])


def accept(context: StageContext) -> AcceptedVersion:
    """Keeps the cycle as version 1, as `register` does: its records, configuration and checkpoints. Its
    candidate need not have been trained."""
    settings, cycle = context.settings, context.cycle
    folder = settings.cycle_folder(cycle.source, cycle.name)
    for finished in context.finished.values():
        write_record(folder, finished)
    definition.write_cycle(settings, cycle, context.config, cold_start=True)
    candidate = settings.checkpoint_folder(cycle.source, cycle.name, CANDIDATE)
    digest = digest_of_weights(candidate) if candidate.exists() else "no candidate"
    accepted.keep(settings, cycle, digest)
    return AcceptedVersion(1, cycle.name, cycle.split, digest)


def next_cycle(context: StageContext, **options: Any) -> StageContext:
    """Accepts a cycle; the context of the one that is fine-tuned from it and compared with it, under the
    same configuration. `options` as those of `write_cycle`."""
    version = accept(context)
    later = write_cycle(context.settings, CUTOFFS[1], seed=1, **options)
    return replace(
        later, config=context.config, cycle=replace(later.cycle, parent=version, reference=version)
    )


def _row(user: str, own: list[dict[str, int]]) -> dict[str, Any]:
    size = len(own)
    codes = dict.fromkeys(("page", "position", "country", "watch_seconds"), [0] * size)
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
    """Appends rows to a partitioned table, or replaces another; returns its version. `cycle` is filled in;
    a column of the contract that the rows lack is not written."""
    contract = tables.TABLES[name]
    known = {column.name: column.type for column in contract.columns}
    columns = [column for column in known if column == "cycle" or column in rows[0]]
    content = {
        name: pa.array([row.get(name, cycle) for row in rows], arrow_type(known[name])) for name in columns
    }
    address = tables.location(settings.lake, SOURCE, name)
    if "cycle" in contract.partitions or name == "events":
        write_deltalake(address, pa.table(content), mode="append", partition_by=list(contract.partitions))
    else:
        write_deltalake(address, pa.table(content), mode="overwrite")
    return DeltaTable(address).version()
