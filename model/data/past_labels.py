"""High-value events before the split, from `sequences`: labels on which a yardstick may be tuned.

Shape legend
    E  high-value events
"""

from __future__ import annotations

import numpy as np

from expectations.tables import SEQUENCES
from model.arrays import flat, lengths, numbers
from model.data.delta import PinnedTable
from model.data.events import EventLog


def read_past_labels(lake: str, source: str, cycle: str, version: int, after_us: int) -> EventLog:
    """High-value events later than `after_us` and up to the split, E of them, from `sequences` at a Delta
    version.

    Each counts once: in the chunk of its user's history in which it is a loss position. Raises TableError
    when the table cannot be read.
    """
    items, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    columns = ("item_index", "event_at_us", "loss_start", "target_positions")
    for batch in PinnedTable(lake, source, SEQUENCES, version).batches(columns, cycle=cycle):
        length, targets = lengths(batch["item_index"]), lengths(batch["target_positions"])
        index = flat(batch["target_positions"], np.int64)  # within its row
        event = index + np.repeat(np.cumsum(length) - length, targets)
        at_us = flat(batch["event_at_us"], np.int64)[event]
        is_own = index >= np.repeat(numbers(batch["loss_start"], np.int64), targets)
        kept = is_own & (at_us > after_us)
        items.append(flat(batch["item_index"], np.int64)[event[kept]])
        times.append(at_us[kept])
    item_index, event_at_us = np.concatenate(items), np.concatenate(times)
    order = np.lexsort((item_index, event_at_us))
    return EventLog(item_index[order], event_at_us[order])
