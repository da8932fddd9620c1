"""Windows of histories: which stretches of events must be encoded to know the wanted states.

In: histories and the ends at which a state is wanted. Out: windows cut as the training rows are,
with the slot of every wanted state, and batches of them. It does not know what the states are for.

A state after `n` events of a user needs a window that ends there. Up to `max_length` events the
window is the whole history behind the start token; beyond that, windows of `max_length` events
repeat `context_length` events of the one before, so that every state has seen between
`context_length` + 1 and `max_length` events. Serving one history uses its last `max_length`
events; the two agree up to `max_length` events, and beyond it differ in how far back they look.

Shape legend
    U  users     E  events     D  wanted states     W  windows     R  rows of a batch     L  slots
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.packing import Events, Placed, assemble
from model.evaluation.examples import Histories
from model.network.batch import Batch

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Stretches of events and the wanted states in them."""

    first: Ints
    """int64 [W]; place of the first event among the E."""
    end: Ints
    """int64 [W]; one past the last event."""
    has_start: NDArray[np.bool_]
    """bool [W]; whether the start token lies before the first event."""
    window: Ints
    """int64 [D]; window of each wanted state."""
    slot: Ints
    """int64 [D]; its slot there."""

    @property
    def lengths(self) -> Ints:
        """Slots of each window, int64 [W]."""
        return self.end - self.first + self.has_start


def plan_windows(
    histories: Histories, user: Ints, end: Ints, max_length: int, context_length: int
) -> Windows:
    """Windows for the states of `user` after the events before `end`; int64 [D] each.

    Three events and max_length 2, context_length 1: the state after two lies in the first window,
    slot 2 behind the start token; the state after three in a second window of events two and three.
    """
    begin = histories.offset[user]
    seen = end - begin
    stride = max_length - context_length
    number = np.where(seen > max_length, 1 + (seen - 1 - max_length) // stride, 0)
    skipped = np.where(number > 0, max_length + (number - 1) * stride - context_length, 0)
    pairs, window = np.unique(np.stack([user, number], axis=1), axis=0, return_inverse=True)
    window = window.reshape(-1)
    first, last = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.int64)
    first[window] = begin + skipped
    np.maximum.at(last, window, end)
    # A capped history has lost its beginning, and the start token with it, unless nothing is left.
    has_start = (pairs[:, 1] == 0) & ((histories.first_position[pairs[:, 0]] == 0) | (last == first))
    has_start[window[(seen == 0)]] = True
    slot = end - first[window] - 1 + has_start[window]
    return Windows(first, last, has_start, window, slot)


def batches(
    histories: Histories, windows: Windows, context_fields: tuple[str, ...], slots: int
) -> Iterator[tuple[Ints, Batch]]:
    """Batches of about `slots` slots with the numbers of their windows, int64 [R].

    Windows are taken in order of length, one a row, so that little is padding and attention costs
    the square of a window's own length.
    """
    context = [histories.context[name] for name in context_fields]
    events = Events(
        histories.item_index,
        histories.action,
        histories.event_at_us,
        histories.reward,
        np.stack(context, axis=1) if context else np.zeros((histories.item_index.size, 0), np.int64),
    )
    lengths = windows.lengths
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < order.size:
        stop = start + 1
        while stop < order.size and (stop + 1 - start) * lengths[order[stop]] <= slots:
            stop += 1
        chosen = order[start:stop]
        rows = np.arange(chosen.size)
        placed = Placed(
            first=windows.first[chosen],
            length=windows.end[chosen] - windows.first[chosen],
            begins=windows.has_start[chosen],
            row=rows,
            slot=np.zeros_like(rows),
        )
        yield chosen, assemble(events, placed, chosen.size, int(lengths[chosen].max()))
        start = stop
