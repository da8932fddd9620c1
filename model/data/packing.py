"""Sequences packed end to end into rows, and the event tensors of the rows of a batch.

Comes in: flat event arrays and where each sequence lies in them. Goes out: which sequences share a
row, and a `Batch` without labels. It knows neither tables nor what a label is.

Shape legend
    S  sequences    E  events of all sequences    C  context fields
    R  rows of a batch    L  slots of a row    m  sequences of a batch
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.network.batch import Batch

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Events:
    """Columns of events, end to end; a sequence is a stretch of them.

    17 bytes an event, and 2 for every context field.
    """

    item_index: NDArray[np.int32]
    """int32 [E]"""
    action: NDArray[np.int8]
    """int8 [E]"""
    event_at_us: Ints
    """int64 [E]; microseconds since 1970-01-01 UTC, ascending within a sequence."""
    reward: NDArray[np.float32]
    """float32 [E]; reward weight, 0 when the event is not high-value."""
    context: NDArray[np.int16]
    """int16 [E, C]"""


@dataclass(frozen=True)
class Packing:
    """Which sequences share a row, row by row."""

    row_length: int
    """L"""
    sequence: Ints
    """int64 [S]; sequences in order of row and of place in it."""
    slot: Ints
    """int64 [S]; first slot of each of them in its row."""
    bounds: Ints
    """int64 [rows + 1]; row r holds `sequence[bounds[r]:bounds[r + 1]]`."""
    used_slots: int
    """Slots that hold an event or a start token."""

    @property
    def rows(self) -> int:
        """Rows of one epoch."""
        return self.bounds.size - 1

    @property
    def efficiency(self) -> float:
        """Share of the slots that is not padding."""
        return self.used_slots / (self.rows * self.row_length) if self.rows else 1.0


def pack(slots: Ints, row_length: int, stream: np.random.Generator) -> Packing:
    """First-fit-decreasing packing; `slots` int64 [S] is what each sequence needs, 1 or more.

    Every row is filled with the longest sequences that still fit; which of the sequences of equal
    length comes where is drawn from `stream`. Rows of the same make-up are laid out together, so
    the cost is linear in S and free of a loop over sequences. Raises ValueError when a sequence is
    longer than a row.

    Lengths 5, 4, 3, 2, 2 in rows of 8 → (5, 3), (4, 2, 2).
    """
    if slots.size and slots.max() > row_length:
        raise ValueError(f"a sequence needs {slots.max()} slots; a row has {row_length}")
    order = stream.permutation(slots.size)
    order = order[np.argsort(-slots[order], kind="stable")]
    lengths, counts = np.unique(slots, return_counts=True)
    lengths, left = lengths[::-1].tolist(), counts[::-1].tolist()  # longest first, as in `order`
    taken = np.concatenate([[0], np.cumsum(left)])[:-1].tolist()
    chosen, sizes = [], []
    while any(left):
        pattern = _fill_row(lengths, left, row_length)
        repeats = min(left[which] // count for which, count in pattern)
        columns = []
        for which, count in pattern:
            end = taken[which] + repeats * count
            columns.append(order[taken[which] : end].reshape(repeats, count))
            taken[which], left[which] = end, left[which] - repeats * count
        rows = np.concatenate(columns, axis=1)  # [repeats, sequences of a row]
        chosen.append(rows.ravel())
        sizes.append(np.full(repeats, rows.shape[1]))
    sequence = np.concatenate(chosen) if chosen else np.empty(0, np.int64)
    bounds = np.concatenate([[0], np.cumsum(np.concatenate(sizes) if sizes else [])]).astype(np.int64)
    ends = np.cumsum(slots[sequence])
    begins = ends - slots[sequence]
    slot = begins - np.repeat(begins[bounds[:-1]], np.diff(bounds)) if sequence.size else begins
    return Packing(row_length, sequence, slot, bounds, int(slots.sum()))


def _fill_row(lengths: list[int], left: list[int], row_length: int) -> list[tuple[int, int]]:
    """(which length, how many) of the next row; lengths descend."""
    pattern, room = [], row_length
    for which, length in enumerate(lengths):
        count = min(left[which], room // length)
        if count:
            pattern.append((which, count))
            room -= count * length
    return pattern


@dataclass(frozen=True)
class Placed:
    """Sequences of a batch and where they stand; [m] each, row by row."""

    first: Ints
    """int64; place of the first event among the E."""
    length: Ints
    """int64; events."""
    begins: NDArray[np.bool_]
    """bool; whether a start token stands before the first event."""
    row: Ints
    """int64, ascending from 0."""
    slot: Ints
    """int64; first slot, that of the start token where there is one."""


def stretches(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Entries of the stretches [first, first + count): number of the stretch, and place, of each.

    first (7, 2), count (2, 1) → stretches (0, 0, 1), places (7, 8, 2).
    """
    owner = np.repeat(np.arange(len(first)), count)
    return owner, first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)


def assemble(events: Events, placed: Placed, rows: int, row_length: int) -> Batch:
    """The batch of some placed sequences, without labels: `rows` × `row_length` slots.

    The first event of a sequence has no gap, also where the sequence is a later chunk of a history.
    """
    owner, place = stretches(placed.first, placed.length)
    index = place - placed.first[owner]
    start_slot = placed.row * row_length + placed.slot  # flat, [m]
    at = (start_slot + placed.begins)[owner] + index  # flat slot of every event
    number = np.arange(placed.row.size) - np.searchsorted(placed.row, placed.row) + 1  # within its row

    def laid(values: NDArray, kind: type, fields: tuple[int, ...] = ()) -> torch.Tensor:
        flat = np.zeros((rows * row_length, *fields), dtype=kind)
        flat[at] = values
        return torch.from_numpy(flat.reshape(rows, row_length, *fields))

    event_at_us = events.event_at_us[place]
    gap_us = np.diff(event_at_us, prepend=event_at_us[:1])
    gap_us[index == 0] = 0
    is_start = np.zeros(rows * row_length, dtype=bool)
    is_start[start_slot[placed.begins]] = True
    segment = laid(number[owner], np.int64)
    segment.view(-1)[torch.from_numpy(start_slot[placed.begins])] = torch.from_numpy(number[placed.begins])
    no_label = torch.empty((0, 1), dtype=torch.int64)
    return Batch(
        item_index=laid(events.item_index[place], np.int64),
        is_start=torch.from_numpy(is_start.reshape(rows, row_length)),
        action=laid(events.action[place], np.int64),
        context=laid(events.context[place], np.int64, events.context.shape[1:]),
        reward=laid(events.reward[place], np.float32),
        gap_seconds=laid(gap_us / 1e6, np.float32),
        event_at_seconds=laid(event_at_us / 1e6, np.float64),
        segment=segment,
        label_slot=torch.empty(0, dtype=torch.int64),
        label_item=no_label,
        label_weight=no_label.to(torch.float32),
    )
