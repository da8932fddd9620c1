"""Windows: the stretches of histories to encode so that every requested state is computed.

Windows are cut as training rows are. Up to `max_length` events, the state after n events is in a window
that holds the start token and the whole history; beyond that, windows of `max_length` events repeat
`context_length` events of the previous one, so that every state has seen between `context_length` + 1
and `max_length` events. A served history is cut to its last `max_length` events: the two agree up to
`max_length` events, and beyond that differ in how far back they look.

Shape legend
    U  users     E  events     D  requested states     W  windows     R  rows of a batch     L  slots
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from model.arrays import Flags, Ints
from model.data.histories import Histories
from model.data.packing import Events, Placed, assemble
from model.network.batch import Batch


@dataclass(frozen=True)
class Windows:
    """Stretches of events, and where the requested states are in them."""

    first: Ints
    """int64 [W]; index of the first event among the E."""
    end: Ints
    """int64 [W]; one past the last event."""
    has_start: Flags
    """bool [W]; whether the start token precedes the first event."""
    window: Ints
    """int64 [D]; window of each requested state."""
    slot: Ints
    """int64 [D]; its slot in the window."""

    @property
    def lengths(self) -> Ints:
        """Slots of each window, int64 [W]."""
        return self.end - self.first + self.has_start


def plan_windows(
    histories: Histories, user: Ints, end: Ints, max_length: int, context_length: int
) -> Windows:
    """Windows for the states of `user` after the events before `end`; int64 [D] each.

    Three events, max_length 2, context_length 1: the state after two events is in the first window, at
    slot 2 after the start token; the state after three is in a second window of events two and three.
    Raises ValueError unless context_length < max_length: windows would then reach into other users' events.
    """
    if not 0 <= context_length < max_length:
        raise ValueError(
            f"context_length must be at least 0 and below max_length ({max_length}), given {context_length}"
        )
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
    # A capped history has lost its beginning and so its start token, unless no event is left.
    has_start = (pairs[:, 1] == 0) & ((histories.first_position[pairs[:, 0]] == 0) | (last == first))
    has_start[window[(seen == 0)]] = True
    slot = end - first[window] - 1 + has_start[window]
    return Windows(first, last, has_start, window, slot)


def batches(
    histories: Histories, windows: Windows, context_fields: tuple[str, ...], slots: int
) -> Iterator[tuple[Ints, Batch]]:
    """Batches of about `slots` slots, each with the indices of its windows, int64 [R].

    Windows are batched in order of length, one per row, so that there is little padding and attention
    costs the square of a window's own length.
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
