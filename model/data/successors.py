"""The table `successors`: what followed what, and the counts of it as of an instant.

Two counts are kept. N(x, j): how often j came directly after x. K(x, j): how often j came among the next
events after x, weighted 0.85 for each event between, and half of that for j before x. An item never
follows itself.

Shape legend
    E  events that follow another event of their user    D  earlier items of an event    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from model.arrays import Floats, Ints, flat, lengths, numbers

COLUMNS = ("item_index", "event_at_us", "previous_items")
SKIP_DECAY = 0.85
"""Weight of a pair of events relative to one with one event less between."""
BACKWARD = 0.5
"""Weight of a pair in reverse order."""
NONE = -1
RECENT_SHARE = 1 / 48
"""Pairs are merged into the large matrices when their number exceeds this share of all."""


@dataclass(frozen=True)
class SuccessorLog:
    """Events that follow another event of their user, of all users, in order of time."""

    item_index: NDArray[np.int32]
    """int32 [E]"""
    event_at_us: Ints
    """int64 [E], ascending; microseconds since 1970-01-01 UTC."""
    previous: NDArray[np.int32]
    """int32 [E, D]; the user's earlier items, nearest first, NONE where there are fewer."""


def successor_log(batches: Iterable[pa.RecordBatch]) -> SuccessorLog:
    """The log from rows of `successors` with COLUMNS, in any order."""
    items, times, parts = [np.empty(0, np.int32)], [np.empty(0, np.int64)], []
    for batch in batches:
        items.append(numbers(batch["item_index"], np.int32))
        times.append(numbers(batch["event_at_us"], np.int64))
        count = lengths(batch["previous_items"])
        padded = np.full((count.size, int(count.max(initial=0))), NONE, dtype=np.int32)
        padded[np.arange(padded.shape[1]) < count[:, None]] = flat(batch["previous_items"], np.int32)
        parts.append(padded)
    width = max((part.shape[1] for part in parts), default=1)
    previous = np.full((sum(map(len, parts)), width), NONE, dtype=np.int32)
    start = 0
    for part in parts:
        previous[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    item_index, event_at_us = np.concatenate(items), np.concatenate(times)
    # Spark may write rows of one instant in any order; counts do not depend on it, sums in float might.
    order = np.lexsort((previous[:, 0], item_index, event_at_us)) if start else np.empty(0, np.int64)
    return SuccessorLog(item_index[order], event_at_us[order], previous[order])


class Counts:
    """N and K as of an instant that only moves forward.

    Memory: 24 bytes for each distinct pair of items. Pairs since the last merge are kept in a list, so
    that moving forward costs the new pairs, and a merge a pass over the matrices some 48 times in all.
    """

    def __init__(self, log: SuccessorLog, items: int) -> None:
        self._log, self._items = log, items
        self._merged = self._end = 0
        self._followed = _empty(items)
        self._near = _empty(items)
        self.followed_total: Floats = np.zeros(items)
        """float64 [N]; Σ_j N(x, j)."""
        self.near_total: Floats = np.zeros(items)
        """float64 [N]; Σ_j K(x, j)."""
        self._most_recent = max(1024, int(log.item_index.size * RECENT_SHARE))

    def advance(self, at_us: int) -> None:
        """Counts the events strictly before an instant, which must not be earlier than the last one."""
        end = int(np.searchsorted(self._log.event_at_us, at_us, side="left"))
        if end <= self._end:
            return
        source, _, weight = _near_pairs(self._log, self._end, end)
        np.add.at(self.near_total, source, weight)
        source, _ = _followed_pairs(self._log, self._end, end)
        np.add.at(self.followed_total, source, 1.0)
        self._end = end
        if self._end - self._merged > self._most_recent:
            self._followed, self._near = (
                kept + recent
                for kept, recent in zip((self._followed, self._near), self._recent(None), strict=True)
            )
            self._merged = self._end

    @property
    def counted_before_us(self) -> int:
        """Time of the last event that is counted; the smallest int64 where none is."""
        return int(self._log.event_at_us[self._end - 1]) if self._end else int(np.iinfo(np.int64).min)

    def rows(self, items: Ints) -> tuple[sparse.csr_array, sparse.csr_array]:
        """Rows of N and of K: distinct items int64 [M] → float32 [M, N] sparse each."""
        followed, near = self._followed[items], self._near[items]
        if self._merged < self._end:
            recent = self._recent(items)
            followed, near = followed + recent[0], near + recent[1]
        return followed, near

    def _recent(self, items: Ints | None) -> tuple[sparse.csr_array, sparse.csr_array]:
        """N and K of the pairs since the last merge; of some items' rows alone where given."""
        source, target, weight = _near_pairs(self._log, self._merged, self._end)
        before, after = _followed_pairs(self._log, self._merged, self._end)
        rows = self._items
        if items is not None:
            place = np.full(self._items, NONE)
            place[items] = np.arange(items.size)
            kept, followed = place[source] >= 0, place[before] >= 0
            source, target, weight = place[source[kept]], target[kept], weight[kept]
            before, after = place[before[followed]], after[followed]
            rows = items.size
        ones = np.ones(before.size, dtype=np.float32)
        return _matrix(before, after, ones, rows, self._items), _matrix(
            source, target, weight.astype(np.float32), rows, self._items
        )


def _near_pairs(log: SuccessorLog, start: int, end: int) -> tuple[Ints, Ints, Floats]:
    """Pairs (x, j) of log[start:end] with their weights in K, both directions."""
    previous = log.previous[start:end].astype(np.int64)
    item = np.broadcast_to(log.item_index[start:end, None].astype(np.int64), previous.shape)
    kept = (previous != NONE) & (previous != item)
    weight = np.broadcast_to(SKIP_DECAY ** np.arange(previous.shape[1]), previous.shape)[kept]
    before, after = previous[kept], item[kept]
    return (
        np.concatenate([before, after]),
        np.concatenate([after, before]),
        np.concatenate([weight, BACKWARD * weight]),
    )


def _followed_pairs(log: SuccessorLog, start: int, end: int) -> tuple[Ints, Ints]:
    """Pairs (x, j) of log[start:end] in which j came directly after x."""
    before, after = log.previous[start:end, 0].astype(np.int64), log.item_index[start:end].astype(np.int64)
    kept = before != after
    return before[kept], after[kept]


def _matrix(row: Ints, column: Ints, value: NDArray[np.float32], rows: int, columns: int) -> sparse.csr_array:
    return sparse.coo_array((value, (row, column)), shape=(rows, columns)).tocsr()


def _empty(items: int) -> sparse.csr_array:
    return sparse.csr_array((items, items), dtype=np.float32)
