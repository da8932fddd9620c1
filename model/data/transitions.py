"""Transitions: how often one item follows another in the `sequences` of a cycle.

Shape legend
    N  items ever seen     P  distinct pairs of items
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from expectations.tables import SEQUENCES
from model.arrays import Ints, flat, lengths, numbers, stretches
from model.data.delta import PinnedTable

PAIRS_AT_ONCE = 8_388_608
"""Pairs held uncounted (64 MiB), or as many as are distinct if those are more."""


def read_transitions(lake: str, source: str, cycle: str, version: int, items: int) -> sparse.csr_array:
    """Counts of (event, next event of the same user) up to the split, float64 [N, N] sparse.

    Streamed from `sequences` at a Delta version. Every event is a loss position in exactly one row, and
    the event before a row's first loss position is in that row's context. (Rows cut without any context
    lose the transition between two chunks.) Memory is that of the distinct pairs and of PAIRS_AT_ONCE.
    Raises TableError when the table cannot be read.
    """
    pair, count = np.empty(0, np.int64), np.empty(0, np.int64)
    waiting: list[Ints] = []
    for pairs in _pairs(PinnedTable(lake, source, SEQUENCES, version), cycle, items):
        waiting.append(pairs)
        if sum(map(len, waiting)) >= max(PAIRS_AT_ONCE, pair.size):
            pair, count = _counted(pair, count, waiting)
            waiting = []
    pair, count = _counted(pair, count, waiting)
    starts = np.searchsorted(pair, np.arange(items + 1) * items)
    return sparse.csr_array((count.astype(np.float64), pair % items, starts), shape=(items, items))


def _pairs(table: PinnedTable, cycle: str, items: int) -> Iterator[Ints]:
    """Every two consecutive events of a batch of rows as `first · N + second`, int64."""
    for batch in table.batches(("item_index", "loss_start"), cycle=cycle):
        item, length = flat(batch["item_index"], np.int64), lengths(batch["item_index"])
        row, index = stretches(np.zeros_like(length), length)
        loss_start = numbers(batch["loss_start"], np.int64)
        second = np.flatnonzero(index >= np.maximum(loss_start, 1)[row])
        yield item[second - 1] * items + item[second]


def _counted(pair: Ints, count: Ints, waiting: list[Ints]) -> tuple[Ints, Ints]:
    """Distinct pairs in ascending order and their numbers, int64 [P] each, with those waiting counted in."""
    added, more = np.unique(np.concatenate([np.empty(0, np.int64), *waiting]), return_counts=True)
    merged, place = np.unique(np.concatenate([pair, added]), return_inverse=True)
    total = np.bincount(place.reshape(-1), weights=np.concatenate([count, more]), minlength=merged.size)
    return merged, total.astype(np.int64)
