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
from numpy.typing import NDArray

from expectations.tables import SEQUENCES
from model.arrays import Ints, flat, lengths, numbers, stretches
from model.data.cycle_tables import CycleTables
from model.data.sequences import by_user_and_chunk


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
        row, index = stretches(np.zeros_like(length), length)
        own = index >= start[row]
        users.append(batch["user_id"])
        chunks.append(numbers(batch["chunk"], np.int64))
        counts.append(length - start)
        columns.append(
            [
                flat(batch[name], kind)[own]
                for name, kind in (("item_index", np.int32), ("action", np.int8), ("reward", np.float32))
            ]
        )
    ordered, order = by_user_and_chunk(users, np.concatenate(chunks))
    count = np.concatenate(counts)
    _, event = stretches((np.cumsum(count) - count)[order], count[order])
    user_id, user = np.unique(ordered.to_numpy(zero_copy_only=False), return_inverse=True)
    events = np.bincount(user, weights=count[order], minlength=user_id.size).astype(np.int64)
    item_index, action, reward = (np.concatenate(column)[event] for column in zip(*columns, strict=True))
    return UserLog(pa.array(user_id), np.concatenate([[0], np.cumsum(events)]), item_index, action, reward)
