"""The table `items`: names, titles and launches of every item ever seen.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from expectations.instants import column_microseconds
from expectations.tables import ITEMS, Table
from model.arrays import Column, Ints, numbers
from model.data.delta import PinnedTable, TableError

COLUMNS = ("item_index", "item_id", "title", "launched_at")
UNKNOWN_LAUNCH = int(np.iinfo(np.int64).min)
"""Launch time of an item whose launch is unknown: it is eligible at every instant."""


@dataclass(frozen=True)
class Items:
    """Every item ever seen, in order of `item_index`."""

    item_id: pa.Array
    """string [N]."""
    title: pa.Array
    """string [N], null where there is none."""
    launched_at_us: Ints
    """int64 [N]; microseconds since 1970-01-01 UTC, UNKNOWN_LAUNCH where the launch is unknown."""

    @property
    def count(self) -> int:
        """N."""
        return self.launched_at_us.size


def read_items(lake: str, source: str, version: int) -> Items:
    """`items` at a Delta version. Raises TableError as `items_of`, and when it cannot be read."""
    return items_of(PinnedTable(lake, source, ITEMS, version).read(COLUMNS))


def items_of(rows: pa.Table) -> Items:
    """Items from rows of COLUMNS in any order.

    Raises TableError unless item_index counts from 0 without a gap.
    """
    rows = rows.sort_by("item_index")
    if not np.array_equal(rows["item_index"].to_numpy(), np.arange(rows.num_rows)):
        raise TableError(
            f"item_index of {ITEMS.name} does not count 0 … {rows.num_rows - 1} without a gap; "
            "run the stage items again"
        )
    launched = column_microseconds(rows["launched_at"].combine_chunks()).fill_null(UNKNOWN_LAUNCH)
    return Items(
        item_id=rows["item_id"].combine_chunks(),
        title=rows["title"].combine_chunks(),
        launched_at_us=numbers(launched, np.int64),
    )


def item_indices(column: Column, items: int, table: Table) -> Ints:
    """A column of item_index values, int64. Raises TableError for one outside [0, items)."""
    index = numbers(column, np.int64)
    unknown = index[(index < 0) | (index >= items)]
    if unknown.size:
        raise TableError(f"{table.name} names item_index {unknown[0]}, but {ITEMS.name} has {items} rows")
    return index
