"""A small lake: rows of `sequences` cut in plain Python, tables written by delta-rs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from expectations.instants import DAY_US as DAY
from expectations.instants import HOUR_US as HOUR
from expectations.instants import SECOND_US as SECOND
from expectations.tables import (
    ITEM_FEATURES,
    ITEM_SIGNALS,
    ITEMS,
    SEQUENCES,
    SUCCESSORS,
    VOCABULARY,
    Table,
    location,
)
from model.data.delta import arrow_type
from tests.model.signal_rows import item_signal_rows, successor_rows

CYCLE = "1970-01-31"
SOURCE = "tiny"

Event = tuple[int, int, float]
"""(item_index, event_at_us, reward)"""


def write(lake: Path, table: Table, rows: list[dict[str, Any]], source: str = SOURCE) -> int:
    """Appends rows to a table and returns its version; a column that a row lacks is null."""
    columns = [column for column in table.columns if "struct" not in column.type]
    data = pa.table(
        {c.name: pa.array([row.get(c.name) for row in rows], arrow_type(c.type)) for c in columns}
    )
    address = location(str(lake), source, table.name)
    write_deltalake(address, data, mode="append", partition_by=list(table.partitions) or None)
    return DeltaTable(address).version()


def chunks(
    user: str,
    events: list[Event],
    max_length: int = 16,
    context_length: int = 8,
    max_targets: int = 8,
    cycle: str = CYCLE,
) -> list[dict[str, Any]]:
    """Rows of `sequences` for one user's events in time order, as the Spark job cuts them."""
    rows, begin, number = [], 0, 0
    while begin < len(events):
        first = max(0, begin - context_length) if number else 0
        end = min(len(events), first + max_length)
        row = events[first:end]
        tail = [event for event in events[end:] if event[2] > 0][:max_targets]
        rows.append(
            {
                "cycle": cycle,
                "user_id": user,
                "chunk": number,
                "first_position": first,
                "item_index": [item for item, _, _ in row],
                "action": [item % 3 for item, _, _ in row],
                "event_at_us": [at for _, at, _ in row],
                "reward": [reward for _, _, reward in row],
                "page": [item % 5 for item, _, _ in row],
                "loss_start": begin - first,
                "target_positions": [index for index, event in enumerate(row) if event[2] > 0],
                "tail_item_index": [item for item, _, _ in tail],
                "tail_event_at_us": [at for _, at, _ in tail],
                "tail_reward": [reward for _, _, reward in tail],
            }
        )
        begin, number = end, number + 1
    return rows


def histories(
    users: int = 30, items: int = 40, days: int = 20, seed: int = 1, hours: int = 8
) -> dict[str, list[Event]]:
    """Users who walk through the items in order, with ties, at most `hours` apart; two events in three are
    high-value."""
    stream = random.Random(seed)
    by_user = {}
    for user in range(users):
        at, item = stream.randrange(days // 2 * DAY), stream.randrange(items)
        events = []
        for _ in range(stream.randint(1, 60)):
            item = (item + stream.choice((1, 1, 1, 2))) % items
            events.append((item, at, float(stream.choice((0, 1, 2)))))
            if stream.random() < 0.7:
                at += stream.randrange(SECOND, hours * HOUR)
        by_user[f"u{user:03d}"] = [event for event in events if event[1] <= days * DAY]
    return by_user


def write_cycle(
    lake: Path,
    users: dict[str, list[Event]],
    items: int,
    in_vocabulary: int,
    cycle: str = CYCLE,
    retired: tuple[int, ...] = (),
    launched: dict[int, int] | None = None,
    features_seed: int = 0,
    split_us: int | None = None,
) -> dict[str, int]:
    """Writes the tables that training reads; the first `in_vocabulary` items have the row of their index.

    The split, by default the last event, parts the rows of signals; those after it are written too. Returns
    the version of each table.
    """
    launched = launched or {}
    if split_us is None:
        split_us = max((event[1] for events in users.values() for event in events), default=0)
    stream = np.random.default_rng(features_seed)
    rows = [row for user, events in users.items() for row in chunks(user, events, cycle=cycle)]
    random.Random(3).shuffle(rows)
    vectors = stream.normal(size=(items, 8)).astype(np.float32)
    known_items = [
        {"item_id": f"i{n}", "item_index": n, "launched_at": launched.get(n)} for n in range(items)
    ]
    vocabulary = [
        {"cycle": cycle, "item_token": n, "item_index": n, "event_count": 5, "added_in": cycle}
        | {"retired": n in retired}
        for n in range(in_vocabulary)
    ]
    features = [
        {"cycle": cycle, "item_index": n, "language": vector[:2], "graph": vector, "annotation": vector[:4]}
        for n, vector in enumerate(vectors)
    ]
    if not (lake / SOURCE / ITEMS.name).exists():
        write(lake, ITEMS, known_items[::-1])
    return {
        "sequences": write(lake, SEQUENCES, rows),
        "items": 0,
        "vocabulary": write(lake, VOCABULARY, vocabulary),
        "item_features": write(lake, ITEM_FEATURES, features),
        "item_signals": write(lake, ITEM_SIGNALS, item_signal_rows(users, split_us, cycle)),
        "successors": write(lake, SUCCESSORS, successor_rows(users, split_us, cycle)),
    }
