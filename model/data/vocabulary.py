"""The table `vocabulary`: which items have a row in a cycle's ID table.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from expectations.tables import VOCABULARY
from model.arrays import Flags, Ints, numbers
from model.data.delta import PinnedTable
from model.data.items import item_indices
from model.network.catalogue import OUT_OF_VOCABULARY

COLUMNS = ("item_index", "item_token", "event_count", "retired")


@dataclass(frozen=True)
class Vocabulary:
    """One cycle's vocabulary, indexed by `item_index`."""

    item_token: Ints
    """int64 [N]; row of the ID table, OUT_OF_VOCABULARY where there is none."""
    event_count: Ints
    """int64 [N]; events up to the split, 0 outside the vocabulary."""
    retired: Flags
    """bool [N]; tombstones: the item keeps its row but is no longer scored."""

    @property
    def member(self) -> Flags:
        """bool [N]; items that have a row, tombstones included."""
        return self.item_token != OUT_OF_VOCABULARY


def read_vocabulary(lake: str, source: str, cycle: str, version: int, items: int) -> Vocabulary:
    """One cycle's `vocabulary` at a Delta version; `items` is N.

    Raises TableError as `vocabulary_of`, and when it cannot be read.
    """
    table = PinnedTable(lake, source, VOCABULARY, version)
    return vocabulary_of(table.batches(COLUMNS, cycle=cycle), items)


def vocabulary_of(batches: Iterable[pa.RecordBatch], items: int) -> Vocabulary:
    """A vocabulary from batches of COLUMNS; `items` is N. Raises TableError for an unknown item_index."""
    token = np.full(items, OUT_OF_VOCABULARY, dtype=np.int64)
    event_count, retired = np.zeros(items, dtype=np.int64), np.zeros(items, dtype=bool)
    for batch in batches:
        index = item_indices(batch["item_index"], items, VOCABULARY)
        token[index] = numbers(batch["item_token"], np.int64)
        event_count[index] = numbers(batch["event_count"], np.int64)
        retired[index] = numbers(batch["retired"], np.bool_)
    return Vocabulary(token, event_count, retired)
