"""The table `sequences`: a cycle's training sequences, read into flat arrays.

Memory: 17 bytes per stored token, 2 per context field, 4 per high-value event, 16 per event of a
tail, and about 70 per row; half as much again while the arrays are joined. Rows without a high-value
event in the interval are dropped as they are read.

Shape legend
    S  rows kept    E  their events    T  their high-value events    A  events of their tails
    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations.instants import iso
from expectations.tables import SEQUENCES
from model.arrays import Flags, Ints, flat, lengths, numbers
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.items import item_indices
from model.data.packing import Events, Placed

NEVER = int(np.iinfo(np.int64).max)
"""Time of the first event of an item that has none."""


@dataclass(frozen=True)
class Sequences:
    """Rows of `sequences` in order of user and chunk; arrays are [S] where no shape is given."""

    events: Events
    first: Ints
    """int64; index of the row's first event among the E."""
    length: Ints
    """int64; events of the row."""
    begins: Flags
    """bool; whether the row begins a history, and so has a start token before it."""
    loss_start: Ints
    """int64; index within the row of its first loss position."""
    first_target: Ints
    """int64; index of the row's first entry in `target_position`."""
    targets: Ints
    """int64; number of its entries there."""
    target_position: NDArray[np.int32]
    """int32 [T]; index within its row of every high-value event."""
    first_tail: Ints
    """int64; index of the row's first entry in the tail arrays."""
    tails: Ints
    """int64; number of its entries there."""
    tail_item_index: NDArray[np.int32]
    """int32 [A]"""
    tail_event_at_us: Ints
    """int64 [A]"""
    tail_reward: NDArray[np.float32]
    """float32 [A]"""
    user_id: pa.Array
    """string [S]"""
    first_position: Ints
    """int64; position in the user's whole history of the row's first event."""
    first_seen_us: Ints
    """int64 [N]; time of the item's first event up to the split, in kept and in dropped rows; NEVER for an
    item without one."""

    @property
    def rows(self) -> int:
        """S"""
        return self.first.size

    @property
    def seen(self) -> Flags:
        """bool [N]; items with an event up to the split."""
        return self.first_seen_us < NEVER

    def placed(self, chosen: Ints, row: Ints | None = None, slot: Ints | None = None) -> Placed:
        """Some rows as sequences of a batch; `row` and `slot` are 0 where not given."""
        zeros = np.zeros(len(chosen), dtype=np.int64)
        return Placed(
            first=self.first[chosen],
            length=self.length[chosen],
            begins=self.begins[chosen],
            row=zeros if row is None else row,
            slot=zeros if slot is None else slot,
        )


def load_sequences(
    tables: CycleTables, context_fields: Sequence[str], after_us: int | None, split_us: int, items: int
) -> Sequences:
    """Rows with a high-value event later than `after_us`, in the row or in its tail.

    `after_us` None keeps every row that has any. `items` is N. Raises DatasetError as
    `CycleTables.batches`, for an event later than `split_us`, and when no row is kept; TableError for
    an unknown item_index.
    """
    first_seen_us = np.full(items, NEVER)
    parts: list[tuple[NDArray, ...]] = []
    users: list[pa.Array] = []
    rows = 0
    columns = (
        "user_id", "chunk", "first_position", "loss_start", "item_index", "action", "event_at_us", "reward", *context_fields,
        "target_positions", "tail_item_index", "tail_event_at_us", "tail_reward",
    )  # fmt: skip
    for batch in tables.batches(SEQUENCES, columns):
        rows += batch.num_rows
        index = item_indices(batch["item_index"].flatten(), items, SEQUENCES)
        np.minimum.at(first_seen_us, index, flat(batch["event_at_us"], np.int64))
        latest = _latest_high_value(batch, split_us)
        kept = latest > (np.iinfo(np.int64).min if after_us is None else after_us)
        if kept.any():
            batch = batch.filter(pa.array(kept))
            users.append(batch["user_id"])
            parts.append(_columns(batch, context_fields))
    if not parts:
        since = "" if after_us is None else f" after {iso(after_us)}"
        raise DatasetError(
            f"none of the {rows} sequences of cycle {tables.cycle} has a high-value event{since}"
        )
    return _joined(parts, users, first_seen_us)


def _latest_high_value(batch: pa.RecordBatch, split_us: int) -> Ints:
    """Time of each row's last high-value event, tail included; the smallest int64 for a row without one."""
    length, targets = lengths(batch["item_index"]), lengths(batch["target_positions"])
    tails = lengths(batch["tail_item_index"])
    at_us, tail_us = flat(batch["event_at_us"], np.int64), flat(batch["tail_event_at_us"], np.int64)
    for times in (at_us, tail_us):
        if times.size and times.max() > split_us:
            raise DatasetError(
                f"sequences hold an event at {iso(int(times.max()))}, later than the split {iso(split_us)}; "
                "nothing after the split may be trained on"
            )
    latest = np.full(batch.num_rows, np.iinfo(np.int64).min)
    has = targets > 0
    last = flat(batch["target_positions"], np.int64)[np.cumsum(targets)[has] - 1]
    latest[has] = at_us[(np.cumsum(length) - length)[has] + last]
    latest[tails > 0] = tail_us[np.cumsum(tails)[tails > 0] - 1]
    return latest


def _columns(batch: pa.RecordBatch, context_fields: Sequence[str]) -> tuple[NDArray, ...]:
    """The arrays of a batch, in the order that `_joined` takes them."""
    length = lengths(batch["item_index"])
    context = np.zeros((length.sum(), len(context_fields)), dtype=np.int16)
    for number, name in enumerate(context_fields):
        if batch[name].null_count:
            raise DatasetError(f"sequences have no {name}; remove it from model.context_fields")
        context[:, number] = flat(batch[name], np.int16)
    return (
        length,
        numbers(batch["chunk"], np.int64),
        numbers(batch["first_position"], np.int64),
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


def by_user_and_chunk(users: list[pa.Array], chunk: Ints) -> tuple[pa.Array, Ints]:
    """Rows in order of user and chunk: their users, string [S], and the number of each, int64 [S]."""
    rows = pa.table({"user_id": pa.chunked_array(users), "chunk": chunk})
    order = pc.sort_indices(rows, [("user_id", "ascending"), ("chunk", "ascending")])
    return rows["user_id"].combine_chunks().take(order), order.to_numpy().astype(np.int64)


def _joined(parts: list[tuple[NDArray, ...]], users: list[pa.Array], first_seen_us: Ints) -> Sequences:
    """The arrays of all batches. Spark may write files and rows in another order in every run, so rows are
    sorted by user and chunk; events stay in the order in which they were read."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    (length, chunk, first_position, loss_start, item_index, action, event_at_us, reward, context, targets, target_position,
     tails, tail_item_index, tail_event_at_us, tail_reward) = columns  # fmt: skip
    user_id, order = by_user_and_chunk(users, chunk)

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
        user_id=user_id,
        first_position=first_position[order],
        first_seen_us=first_seen_us,
    )
