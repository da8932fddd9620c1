"""The tables of one cycle that training may open, at pinned versions.

Only the tables in READABLE can be opened, whatever the caller asks for: training cannot see the
evaluation sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from expectations.tables import (
    ITEM_FEATURES,
    ITEM_SIGNALS,
    ITEMS,
    SEQUENCES,
    SUCCESSORS,
    VOCABULARY,
    Table,
)
from model.data.delta import PinnedTable, TableError

READABLE = (SEQUENCES, VOCABULARY, ITEM_FEATURES, ITEMS, ITEM_SIGNALS, SUCCESSORS)
"""The only tables that training may open; of a table with rows after the split, those up to the split."""
AFTER_SPLIT = "after_split"
"""Partition of tables that reach up to the cutoff; training opens only its part up to the split."""
ROWS_AT_ONCE = 2048
"""Rows held as Arrow data while they are copied into arrays; a row can be a whole history."""


class DatasetError(TableError):
    """Data that cannot be trained on; the message says what is wrong and where."""


@dataclass(frozen=True)
class CycleTables:
    """Where a cycle's tables are, and at which versions they are read."""

    lake: str
    """Root of the lake, a folder or an object-store URI."""
    source: str
    cycle: str
    versions: Mapping[str, int]
    """Delta version by table."""

    def batches(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The table's rows in batches of at most ROWS_AT_ONCE; those of this cycle if it is partitioned.

        Raises DatasetError for a table that training may not open, that has no version, or that has no
        rows, and TableError when the version cannot be read.
        """
        if table not in READABLE:
            raise DatasetError(f"training may not read {table.name}")
        if table.name not in self.versions:
            raise DatasetError(f"cycle {self.cycle} has no version of {table.name}; run its stage first")
        pinned = PinnedTable(self.lake, self.source, table, self.versions[table.name])
        partition = {"cycle": self.cycle} if "cycle" in table.partitions else {}
        if AFTER_SPLIT in table.partitions:
            partition[AFTER_SPLIT] = False
        is_empty = True
        for batch in pinned.batches(columns, rows_at_once=ROWS_AT_ONCE, **partition):
            is_empty = False
            yield batch
        if is_empty:
            what = f"no rows of cycle {self.cycle}" if partition else "no rows"
            raise DatasetError(f"{pinned.address} has {what} at version {pinned.version}")
