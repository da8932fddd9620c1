"""The tables of signals of one cycle: `item_signals` and `successors`, up to the split or up to the cutoff.

    signals = training_signals(tables, shape, items)                    # up to the split, all that training sees
    signals = window_signals(lake, source, cycle, versions, shape, items)    # up to the cutoff, for evaluation

Shape legend
    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from expectations.tables import ITEM_SIGNALS, SUCCESSORS, Table
from model.data import item_signals, successors
from model.data.cycle_tables import CycleTables
from model.data.delta import PinnedTable
from model.data.successors import SuccessorLog
from model.network.item_signals import ItemSignals

Rows = Callable[[Table, Sequence[str]], Iterable[pa.RecordBatch]]


@dataclass(frozen=True)
class SignalsShape:
    """What the rows of `item_signals` hold."""

    half_lives_days: tuple[float, ...]
    bucket_us: int
    """Length of a bucket, microseconds."""


@dataclass(frozen=True)
class Signals:
    """What a model with signals reads beside items and histories."""

    items: ItemSignals
    successors: SuccessorLog


def training_signals(tables: CycleTables, shape: SignalsShape, items: int) -> Signals:
    """Signals up to the split; `items` is N. Raises DatasetError and TableError as `CycleTables.batches`."""
    return _signals(tables.batches, shape, items)


def window_signals(
    lake: str, source: str, cycle: str, versions: Mapping[str, int], shape: SignalsShape, items: int
) -> Signals:
    """Signals up to the cutoff; `items` is N. Raises TableError when a table cannot be read."""

    def rows(table: Table, columns: Sequence[str]) -> Iterable[pa.RecordBatch]:
        return PinnedTable(lake, source, table, versions[table.name]).batches(columns, cycle=cycle)

    return _signals(rows, shape, items)


def _signals(rows: Rows, shape: SignalsShape, items: int) -> Signals:
    return Signals(
        item_signals.item_signals(
            rows(ITEM_SIGNALS, item_signals.COLUMNS), items, shape.half_lives_days, shape.bucket_us
        ),
        successors.successor_log(rows(SUCCESSORS, successors.COLUMNS)),
    )
