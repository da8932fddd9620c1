"""Whole histories up to the split, from the table `sequences`: each event once.

`model.data.sequences` keeps only rows that have something to train on; what a user had before reaches
further back.

Shape legend
    U  users    E  their events up to the split
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from expectations.tables import SEQUENCES
from model.arrays import Ints, flat, lengths, numbers
from model.data.cycle_tables import CycleTables


@dataclass(frozen=True)
class UserLog:
    """Events of all users, user after user, each user's in stored order: 9 bytes an event."""

    user_id: pa.Array
    """[U], ascending."""
    offset: Ints
    """int64 [U + 1]; events of user u are offset[u] to offset[u + 1]."""
    item_index: NDArray[np.int32]
    """int32 [E]"""
    action: NDArray[np.int8]
    """int8 [E]"""
    reward: NDArray[np.float32]
    """float32 [E]; 0 for an event that is not high-value."""


def load_user_log(tables: CycleTables) -> UserLog:
    """Every event of `sequences` that is a loss position, which each event is exactly once.

    Raises DatasetError and TableError as `CycleTables.batches`.
    """
    users, chunks, counts, columns = [], [], [], []
    for batch in tables.batches(
        SEQUENCES, ("user_id", "chunk", "loss_start", "item_index", "action", "reward")
    ):
        length, start = lengths(batch["item_index"]), numbers(batch["loss_start"], np.int64)
        row = np.repeat(np.arange(length.size), length)
        own = np.arange(row.size) - (np.cumsum(length) - length)[row] >= start[row]
        users.append(batch["user_id"])
        chunks.append(numbers(batch["chunk"], np.int64))
        counts.append(length - start)
        columns.append(
            [
                flat(batch[name], kind)[own]
                for name, kind in (("item_index", np.int32), ("action", np.int8), ("reward", np.float32))
            ]
        )
    rows = pa.table({"user_id": pa.chunked_array(users), "chunk": np.concatenate(chunks)})
    order = (
        pc.sort_indices(rows, [("user_id", "ascending"), ("chunk", "ascending")]).to_numpy().astype(np.int64)
    )
    count = np.concatenate(counts)
    first = np.cumsum(count) - count
    event = np.repeat(first[order] - (np.cumsum(count[order]) - count[order]), count[order])
    event += np.arange(event.size)
    ordered = rows["user_id"].combine_chunks().take(pa.array(order))
    user_id, user = np.unique(ordered.to_numpy(zero_copy_only=False), return_inverse=True)
    events = np.bincount(user, weights=count[order], minlength=user_id.size).astype(np.int64)
    item_index, action, reward = (np.concatenate(column)[event] for column in zip(*columns, strict=True))
    return UserLog(pa.array(user_id), np.concatenate([[0], np.cumsum(events)]), item_index, action, reward)
