"""The table `events`, read by days: the event log that yardsticks count, and columns of a span of time.

Shape legend
    N  items ever seen     E  events
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.instants import column_microseconds, day_of
from expectations.tables import EVENTS
from model.arrays import Ints, numbers
from model.data.delta import PinnedTable


@dataclass(frozen=True)
class EventLog:
    """Events of all users in order of time."""

    item_index: Ints
    """int64 [E]."""
    event_at_us: Ints
    """int64 [E], ascending; microseconds since 1970-01-01 UTC."""

    def until(self, instant_us: int) -> EventLog:
        """The events up to and with an instant."""
        end = np.searchsorted(self.event_at_us, instant_us, side="right")
        return EventLog(self.item_index[:end], self.event_at_us[:end])


def batches_of_days(
    lake: str, source: str, version: int, columns: tuple[str, ...], after_us: int | None, until_us: int
) -> Iterator[pa.RecordBatch]:
    """Columns of `events` at a Delta version, on all days (UTC) that (after_us, until_us] touches; None is
    from the first event on.

    The events of those days that lie outside the span are included. Raises TableError when the table
    cannot be read.
    """
    date = pc.field("event_date")
    days = date <= day_of(until_us)
    if after_us is not None:
        days = days & (date >= day_of(after_us))
    return PinnedTable(lake, source, EVENTS, version).batches(columns, where=days)


def read_events(
    lake: str, source: str, version: int, item_id: pa.Array, after_us: int | None, until_us: int
) -> EventLog:
    """Events of (after_us, until_us] from `events` at a Delta version; None is from the first event on.

    `item_id` [N] maps ids to item_index; events of any other item are skipped. Raises TableError when
    the table cannot be read.
    """
    items, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for batch in batches_of_days(lake, source, version, ("item_id", "event_at"), after_us, until_us):
        at_us = numbers(column_microseconds(batch["event_at"]), np.int64)
        index = numbers(pc.index_in(batch["item_id"], value_set=item_id).fill_null(-1), np.int64)
        kept = (at_us <= until_us) & (index >= 0)
        if after_us is not None:
            kept &= at_us > after_us
        items.append(index[kept])
        times.append(at_us[kept])
    item_index, event_at_us = np.concatenate(items), np.concatenate(times)
    order = np.argsort(event_at_us, kind="stable")
    return EventLog(item_index[order], event_at_us[order])
