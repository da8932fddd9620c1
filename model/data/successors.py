"""The table `successors`: what followed what, and the counts of it as of an instant.

Two counts are kept. N(x, j): how often j came directly after x. K(x, j): how often j came among the next
events after x, weighted 0.85 for each event between, and half of that for j before x. An item never
follows itself.

Shape legend
    E  events that follow another event of their user    D  earlier items of an event    N  items ever seen
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from model.arrays import Floats, Ints, flat, lengths, numbers, stretches

COLUMNS = ("item_index", "event_at_us", "previous_items")
SKIP_DECAY = 0.85
"""Weight of a pair of events relative to one with one event less between."""
BACKWARD = 0.5
"""Weight of a pair in reverse order."""
NONE = -1
RECENT_SHARE = 1 / 48
"""Events are merged into the matrices when their number exceeds this share of all."""


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
    width = max((part.shape[1] for part in parts if len(part)), default=1)
    previous = np.full((sum(map(len, parts)), width), NONE, dtype=np.int32)
    start = 0
    for part in parts:
        previous[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    item_index, event_at_us = np.concatenate(items), np.concatenate(times)
    # Spark may write rows of one instant in any order; counts do not depend on it, sums in float might.
    order = np.lexsort((previous[:, 0], item_index, event_at_us)) if start else np.empty(0, np.int64)
    return SuccessorLog(item_index[order], event_at_us[order], previous[order])


@dataclass(frozen=True)
class Recent:
    """What a `Counts` adds to its matrices for some queries (an item x and an instant each)."""

    total: Floats
    """float64 [Q]; to the row sum of x."""
    query: Ints
    """int64 [z]; number of the query …"""
    target: Ints
    """int64 [z]; … the item j that its row counts …"""
    weight: Floats
    """float64 [z]; … and by how much."""


class Counts:
    """N and K as of any instant of a stretch of time that only moves forward.

    Pairs up to the stretch's begin are merged into matrices, later ones are looked up one by one, so that
    every query has the counts of its own instant. Memory: 16 bytes for each distinct pair of items.
    """

    def __init__(self, log: SuccessorLog, items: int) -> None:
        self._log, self.items, self._merged = log, items, 0
        self._followed, self._near = Matrix(items), Matrix(items)
        self._most_recent = max(1024, int(log.item_index.size * RECENT_SHARE))

    @property
    def merged_before_us(self) -> int:
        """Time of the last event in the matrices; the smallest int64 where there is none."""
        return int(self._log.event_at_us[self._merged - 1]) if self._merged else int(np.iinfo(np.int64).min)

    def widened(self, items: int) -> Counts:
        """The same counts for `items` items, of which the further ones are in no event of the log. What is merged
        is shared, and neither changes the other."""
        wider = copy.copy(self)
        wider.items = items
        wider._followed, wider._near = self._followed.widened(items), self._near.widened(items)
        return wider

    def move(self, begin_us: int, end_us: int) -> None:
        """Makes ready for queries as of instants in [begin, end]; begin must not be before that of the last call."""
        begin, end = np.searchsorted(self._log.event_at_us, [begin_us, end_us], side="left")
        if begin - self._merged > self._most_recent:
            self._followed.merge(*_followed_pairs(self._log, self._merged, begin)[:3])
            self._near.merge(*_near_pairs(self._log, self._merged, begin)[:3])
            self._merged = int(begin)
        stride = self._log.event_at_us.size + 1
        self._followed.recent(*_followed_pairs(self._log, self._merged, end), stride)
        self._near.recent(*_near_pairs(self._log, self._merged, end), stride)

    def followed(self, item: Ints, at_us: Ints) -> tuple[Matrix, Recent]:
        """N for queries (item, instant), int64 [Q] each: the matrix, and what is to be added."""
        return self._followed, self._followed.since(item, self._ends(at_us))

    def near(self, item: Ints, at_us: Ints) -> tuple[Matrix, Recent]:
        """K, as `followed`."""
        return self._near, self._near.since(item, self._ends(at_us))

    def _ends(self, at_us: Ints) -> Ints:
        return np.searchsorted(self._log.event_at_us, at_us, side="left")


class Matrix:
    """One kind of counts: a matrix, and the pairs since it was merged."""

    def __init__(self, items: int) -> None:
        self.merged = sparse.csr_array((items, items))
        """float64 [N, N]; so exact that when pairs are merged changes no signal."""
        self.total: Floats = np.zeros(items)
        """float64 [N]; its row sums."""

    def widened(self, items: int) -> Matrix:
        """The same rows, and empty ones up to `items`; shares the counts."""
        wider, before = copy.copy(self), self.merged
        rows = np.pad(before.indptr, (0, items - before.shape[0]), mode="edge")
        wider.merged = sparse.csr_array((before.data, before.indices, rows), shape=(items, items))
        wider.total = np.pad(self.total, (0, items - before.shape[0]))
        return wider

    def merge(self, source: Ints, target: Ints, weight: Floats) -> None:
        """Adds pairs for good."""
        pairs = sparse.coo_array((weight, (source, target)), shape=self.merged.shape)
        self.merged = self.merged + pairs.tocsr()
        np.add.at(self.total, source, weight)

    def recent(self, source: Ints, target: Ints, weight: Floats, event: Ints, stride: int) -> None:
        """Replaces the pairs that are looked up one by one; `event` is the number of the event behind each."""
        key = source * stride + event
        order = np.argsort(key, kind="stable")
        self._stride, self._key = stride, key[order]
        self._target, self._weight = target[order], weight[order]
        self._sum = np.concatenate([[0.0], np.cumsum(self._weight)])

    def since(self, item: Ints, end: Ints) -> Recent:
        """What the pairs of events before `end` add to the rows `item`, int64 [Q] each."""
        low = np.searchsorted(self._key, item * self._stride, side="left")
        high = np.searchsorted(self._key, item * self._stride + end, side="left")
        query, pair = stretches(low, high - low)
        return Recent(self._sum[high] - self._sum[low], query, self._target[pair], self._weight[pair])


def _near_pairs(log: SuccessorLog, start: int, end: int) -> tuple[Ints, Ints, Floats, Ints]:
    """Pairs (x, j) of log[start:end] with their weights in K and their events, both directions."""
    previous = log.previous[start:end].astype(np.int64)
    item = np.broadcast_to(log.item_index[start:end, None].astype(np.int64), previous.shape)
    kept = (previous != NONE) & (previous != item)
    weight = np.broadcast_to(SKIP_DECAY ** np.arange(previous.shape[1]), previous.shape)[kept]
    event = np.broadcast_to(np.arange(start, end)[:, None], previous.shape)[kept]
    before, after = previous[kept], item[kept]
    return (
        np.concatenate([before, after]),
        np.concatenate([after, before]),
        np.concatenate([weight, BACKWARD * weight]),
        np.concatenate([event, event]),
    )


def _followed_pairs(log: SuccessorLog, start: int, end: int) -> tuple[Ints, Ints, Floats, Ints]:
    """Pairs (x, j) of log[start:end] in which j came directly after x, each of weight 1, and their events."""
    before, after = log.previous[start:end, 0].astype(np.int64), log.item_index[start:end].astype(np.int64)
    kept = before != after
    return before[kept], after[kept], np.ones(int(kept.sum())), np.arange(start, end)[kept]
