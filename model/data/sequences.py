"""The training sequences of one cycle, read from Delta into flat arrays.

Comes in: the cycle's tables. Goes out: `Sequences`. It knows neither batches nor labels.

Memory: 17 bytes a stored token, 2 for every context field, 4 for every high-value event, 16 for
every event of a tail, and about 70 a row; half as much again while the arrays are joined. Rows
without a high-value event in the interval are dropped as they are read.

Shape legend
    S  rows of `sequences` kept    E  their events    T  their high-value events    A  tail events
    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations.tables import SEQUENCES
from model.data.cycle_tables import CycleTables, DatasetError, Ints, flat, lengths, numbers, places
from model.data.packing import Events, Placed


@dataclass(frozen=True)
class Sequences:
    """Rows of `sequences`, in order of user and chunk; [S] each unless said otherwise."""

    events: Events
    first: Ints
    """int64; place of the row's first event among the E."""
    length: Ints
    """int64; events of the row."""
    begins: NDArray[np.bool_]
    """bool; whether the row is the beginning of a history, so that a start token stands before it."""
    loss_start: Ints
    """int64; index within the row of its first loss position."""
    first_target: Ints
    """int64; place of the row's first entry in `target_position`."""
    targets: Ints
    """int64; how many they are."""
    target_position: NDArray[np.int32]
    """int32 [T]; index within the row of every high-value event."""
    first_tail: Ints
    """int64; place of the row's first entry in the tail arrays."""
    tails: Ints
    """int64; how many they are."""
    tail_item_index: NDArray[np.int32]
    """int32 [A]"""
    tail_event_at_us: Ints
    """int64 [A]"""
    tail_reward: NDArray[np.float32]
    """float32 [A]"""
    seen: NDArray[np.bool_]
    """bool [N]; items with an event up to the split, in rows kept or dropped."""

    @property
    def rows(self) -> int:
        """S"""
        return self.first.size

    def placed(self, chosen: Ints, row: Ints | None = None, slot: Ints | None = None) -> Placed:
        """Some rows as sequences of a batch; without `row` and `slot`, where they stand is left at 0."""
        nowhere = np.zeros(len(chosen), dtype=np.int64)
        return Placed(
            first=self.first[chosen],
            length=self.length[chosen],
            begins=self.begins[chosen],
            row=nowhere if row is None else row,
            slot=nowhere if slot is None else slot,
        )


def load_sequences(
    tables: CycleTables, context_fields: Sequence[str], after_us: int | None, split_us: int, items: int
) -> Sequences:
    """Rows that hold a high-value event, or have one in their tail, later than `after_us`.

    `after_us` None keeps every row that has any. `items` is N. Raises DatasetError as
    `CycleTables.batches`, for an event later than `split_us`, and when no row is left.
    """
    seen = np.zeros(items, dtype=bool)
    parts: list[tuple[NDArray, ...]] = []
    users: list[pa.Array] = []
    rows = 0
    columns = (
        "user_id", "chunk", "loss_start", "item_index", "action", "event_at_us", "reward", *context_fields,
        "target_positions", "tail_item_index", "tail_event_at_us", "tail_reward",
    )  # fmt: skip
    for batch in tables.batches(SEQUENCES, columns):
        rows += batch.num_rows
        seen[places(batch["item_index"].flatten(), items, SEQUENCES)] = True
        latest = _latest_high_value(batch, split_us)
        kept = latest > (np.iinfo(np.int64).min if after_us is None else after_us)
        if kept.any():
            batch = batch.filter(pa.array(kept))
            users.append(batch["user_id"])
            parts.append(_columns(batch, context_fields))
    if not parts:
        since = "at all" if after_us is None else f"after {np.datetime64(after_us, 'us')} UTC"
        raise DatasetError(f"none of the {rows} sequences of cycle {tables.cycle} has a label event {since}")
    return _joined(parts, users, seen)


def _latest_high_value(batch: pa.RecordBatch, split_us: int) -> Ints:
    """Time of each row's last high-value event, tail included; the smallest int64 where there is none."""
    length, targets = lengths(batch["item_index"]), lengths(batch["target_positions"])
    tails = lengths(batch["tail_item_index"])
    at_us, tail_us = flat(batch["event_at_us"], np.int64), flat(batch["tail_event_at_us"], np.int64)
    for times in (at_us, tail_us):
        if times.size and times.max() > split_us:
            latest, split = np.datetime64(int(times.max()), "us"), np.datetime64(split_us, "us")
            raise DatasetError(
                f"sequences hold an event at {latest} UTC, later than the split {split}; "
                "nothing after the split may be trained on"
            )
    latest = np.full(batch.num_rows, np.iinfo(np.int64).min)
    has = targets > 0
    last = flat(batch["target_positions"], np.int64)[np.cumsum(targets)[has] - 1]
    latest[has] = at_us[(np.cumsum(length) - length)[has] + last]
    latest[tails > 0] = tail_us[np.cumsum(tails)[tails > 0] - 1]
    return latest


def _columns(batch: pa.RecordBatch, context_fields: Sequence[str]) -> tuple[NDArray, ...]:
    length = lengths(batch["item_index"])
    context = np.zeros((length.sum(), len(context_fields)), dtype=np.int16)
    for number, name in enumerate(context_fields):
        if batch[name].null_count:
            raise DatasetError(f"sequences have no {name}, which model.context_fields names")
        context[:, number] = flat(batch[name], np.int16)
    return (
        length,
        numbers(batch["chunk"], np.int64),
        numbers(batch["loss_start"], np.int64),
        flat(batch["item_index"], np.int32),
        flat(batch["action"], np.int8),
        flat(batch["event_at_us"], np.int64),
        flat(batch["reward"], np.float32),
        context,
        lengths(batch["target_positions"]),
        flat(batch["target_positions"], np.int32),
        lengths(batch["tail_item_index"]),
        flat(batch["tail_item_index"], np.int32),
        flat(batch["tail_event_at_us"], np.int64),
        flat(batch["tail_reward"], np.float32),
    )


def _joined(parts: list[tuple[NDArray, ...]], users: list[pa.Array], seen: NDArray[np.bool_]) -> Sequences:
    """Arrays of all parts. The order of files and rows is Spark's and may differ from run to run;
    rows are numbered by user and chunk, events stay where they were read."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    (length, chunk, loss_start, item_index, action, event_at_us, reward, context, targets, target_position,
     tails, tail_item_index, tail_event_at_us, tail_reward) = columns  # fmt: skip
    keys = pa.table({"user_id": pa.chunked_array(users), "chunk": chunk})
    by_user = [("user_id", "ascending"), ("chunk", "ascending")]
    order = pc.sort_indices(keys, by_user).to_numpy().astype(np.int64)

    def starts(counts: Ints) -> Ints:
        return (np.cumsum(counts) - counts)[order]

    return Sequences(
        events=Events(item_index, action, event_at_us, reward, context),
        first=starts(length),
        length=length[order],
        begins=chunk[order] == 0,
        loss_start=loss_start[order],
        first_target=starts(targets),
        targets=targets[order],
        target_position=target_position,
        first_tail=starts(tails),
        tails=tails[order],
        tail_item_index=tail_item_index,
        tail_event_at_us=tail_event_at_us,
        tail_reward=tail_reward,
        seen=seen,
    )
