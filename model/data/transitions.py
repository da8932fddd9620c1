"""Transitions: how often one item follows another in the `sequences` of a cycle.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from expectations.tables import SEQUENCES
from model.arrays import flat, lengths, numbers
from model.data.delta import PinnedTable


def read_transitions(lake: str, source: str, cycle: str, version: int, items: int) -> sparse.csr_array:
    """Counts of (event, next event of the same user) up to the split, float64 [N, N] sparse.

    Streamed from `sequences` at a Delta version. Every event is a loss position in exactly one row, and
    the event before a row's first loss position is in that row's context. (Rows cut without any context
    lose the transition between two chunks.) Raises TableError when the table cannot be read.
    """
    counts = sparse.csr_array((items, items), dtype=np.float64)
    table = PinnedTable(lake, source, SEQUENCES, version)
    for batch in table.batches(("item_index", "loss_start"), cycle=cycle):
        item, length = flat(batch["item_index"], np.int64), lengths(batch["item_index"])
        start = np.cumsum(length) - length
        index = np.arange(item.size) - np.repeat(start, length)  # within its row
        loss_start = np.repeat(numbers(batch["loss_start"], np.int64), length)
        second = np.flatnonzero(index >= np.maximum(loss_start, 1))
        pairs = (np.ones(second.size), (item[second - 1], item[second]))
        counts = counts + sparse.coo_array(pairs, shape=(items, items)).tocsr()
    return counts
