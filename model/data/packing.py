"""Packing: which sequences share a row, and the event tensors of a batch of rows (without labels).

Shape legend
    S  sequences    E  events of all sequences    C  context fields
    R  rows of a batch    L  slots of a row    m  sequences of a batch
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from expectations.instants import SECOND_US
from model.arrays import Flags, Ints, stretches
from model.network.batch import Batch


@dataclass(frozen=True)
class Events:
    """Columns of the events of all sequences, end to end: 17 bytes an event, and 2 per context field."""

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
    """int64 [S]; sequences in order of row and of slot."""
    slot: Ints
    """int64 [S]; first slot of each in its row."""
    bounds: Ints
    """int64 [rows + 1]; row r holds `sequence[bounds[r]:bounds[r + 1]]`."""
    used_slots: int
    """Slots that hold an event or a start token."""

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return self.bounds.size - 1

    @property
    def efficiency(self) -> float:
        """Fraction of the slots that is not padding."""
        return self.used_slots / (self.rows * self.row_length) if self.rows else 1.0


def pack(slots: Ints, row_length: int, stream: np.random.Generator) -> Packing:
    """First-fit-decreasing packing; `slots` int64 [S] are the slots that each sequence needs, at least 1.

    Every row takes the longest sequences that still fit; `stream` shuffles sequences of equal length. Rows
    with the same pattern of lengths are laid out together, so there is no loop over sequences and the cost
    is linear in S. Raises ValueError when a sequence is longer than a row.

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
    """The next row as pairs of index into `lengths` (descending) and number of sequences."""
    pattern, room = [], row_length
    for which, length in enumerate(lengths):
        count = min(left[which], room // length)
        if count:
            pattern.append((which, count))
            room -= count * length
    return pattern


@dataclass(frozen=True)
class Placed:
    """The sequences of a batch with their rows and slots; [m] each, in order of row."""

    first: Ints
    """int64; index of the first event among the E."""
    length: Ints
    """int64; number of events."""
    begins: Flags
    """bool; whether a start token precedes the first event."""
    row: Ints
    """int64, ascending from 0."""
    slot: Ints
    """int64; first slot, that of the start token where there is one."""


def assemble(events: Events, placed: Placed, rows: int, row_length: int) -> Batch:
    """The batch of some placed sequences, without labels: `rows` × `row_length` slots.

    The first event of a sequence has gap 0, even if the sequence is a later chunk of a history.
    """
    owner, event = stretches(placed.first, placed.length)
    index = event - placed.first[owner]  # within its sequence
    start_slot = placed.row * row_length + placed.slot  # flat, [m]
    at = (start_slot + placed.begins)[owner] + index  # flat slot of every event
    number = np.arange(placed.row.size) - np.searchsorted(placed.row, placed.row) + 1  # within its row

    def laid_out(values: NDArray, kind: type, fields: tuple[int, ...] = ()) -> torch.Tensor:
        flat = np.zeros((rows * row_length, *fields), dtype=kind)
        flat[at] = values
        return torch.from_numpy(flat.reshape(rows, row_length, *fields))

    event_at_us = events.event_at_us[event]
    gap_us = np.diff(event_at_us, prepend=event_at_us[:1])
    gap_us[index == 0] = 0
    is_start = np.zeros(rows * row_length, dtype=bool)
    is_start[start_slot[placed.begins]] = True
    segment = laid_out(number[owner], np.int64)
    segment.view(-1)[torch.from_numpy(start_slot[placed.begins])] = torch.from_numpy(number[placed.begins])
    no_label = torch.empty((0, 1), dtype=torch.int64)
    return Batch(
        item_index=laid_out(events.item_index[event], np.int64),
        is_start=torch.from_numpy(is_start.reshape(rows, row_length)),
        action=laid_out(events.action[event], np.int64),
        context=laid_out(events.context[event], np.int64, events.context.shape[1:]),
        reward=laid_out(events.reward[event], np.float32),
        gap_seconds=laid_out(gap_us / SECOND_US, np.float32),
        event_at_seconds=laid_out(event_at_us / SECOND_US, np.float64),
        segment=segment,
        label_slot=torch.empty(0, dtype=torch.int64),
        label_item=no_label,
        label_weight=no_label.to(torch.float32),
    )
