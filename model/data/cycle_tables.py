"""Tables of one cycle at pinned Delta versions, as training reads them: by delta-rs, a few rows at a time.

Comes in: the lake's address, the cycle, a version a table. Goes out: Arrow batches, and helpers that
turn their columns into flat numpy arrays. No Spark, no JVM. Only the tables in READABLE can be
opened: the evaluation sequences are not among them, whatever is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.dataset
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from expectations.tables import ITEM_FEATURES, ITEMS, SEQUENCES, VOCABULARY, Table, location

Ints = NDArray[np.int64]

READABLE = (SEQUENCES, VOCABULARY, ITEM_FEATURES, ITEMS)
"""The only tables that training may open."""
ROWS_AT_ONCE = 2048
"""Rows of a table held as Arrow while they are copied into arrays."""


class DatasetError(ValueError):
    """Data that cannot be trained on; the message says what was looked for and what was found."""


@dataclass(frozen=True)
class CycleTables:
    """Where a cycle's tables are, and at which version each is read."""

    lake: str
    """Root of the lake, a folder or an object-store URI."""
    source: str
    cycle: str
    versions: Mapping[str, int]
    """Delta version by table."""

    def batches(self, table: Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The table's rows, of this cycle where it has cycles, a few at a time.

        Raises DatasetError for a table that training may not open, that has no version or is not
        there, and for a cycle that has no rows in it.
        """
        if table not in READABLE:
            raise DatasetError(f"training may not read {table.name}")
        if table.name not in self.versions:
            raise DatasetError(f"cycle {self.cycle} has no version of {table.name}; run its stage first")
        version = self.versions[table.name]
        address = location(self.lake, self.source, table.name)
        try:
            dataset = DeltaTable(address, version=version).to_pyarrow_dataset()
        except DeltaError as error:
            reason = str(error).splitlines()[0]
            raise DatasetError(f"{address} cannot be read at version {version}: {reason}") from None
        of_cycle = "cycle" in table.partitions
        rows = 0
        for batch in dataset.scanner(
            columns=list(columns),
            filter=pyarrow.dataset.field("cycle") == self.cycle if of_cycle else None,
            batch_size=ROWS_AT_ONCE,
            batch_readahead=2,
            fragment_readahead=2,
        ).to_batches():
            rows += batch.num_rows
            if batch.num_rows:
                yield batch
        if not rows:
            what = f"no rows of cycle {self.cycle}" if of_cycle else "no rows"
            raise DatasetError(f"{address} has {what} at version {version}")


def places(column: pa.Array, items: int, table: Table) -> Ints:
    """item_index values, int64. Raises DatasetError for one that `items` rows cannot have."""
    index = numbers(column, np.int64)
    if index.size and (index.min() < 0 or index.max() >= items):
        raise DatasetError(f"{table.name} names item_index {index.max()}, but `items` has {items} rows")
    return index


def lengths(column: pa.ListArray) -> Ints:
    """int64; entries of every list."""
    return np.diff(column.offsets.to_numpy()).astype(np.int64)


def flat(column: pa.ListArray, kind: type) -> NDArray:
    """The lists' entries, end to end."""
    return numbers(column.flatten(), kind)


def numbers(column: pa.Array, kind: type) -> NDArray:
    """A column without nulls."""
    return column.to_numpy(zero_copy_only=False).astype(kind, copy=False)
