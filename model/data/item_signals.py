"""The table `item_signals`, as the network reads it.

Shape legend
    N  items ever seen    R  rows of all items    H  half-lives
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import torch

from expectations.instants import SECOND_US
from expectations.tables import ITEM_SIGNALS
from model.arrays import flat, numbers
from model.data.items import item_indices
from model.network.item_signals import NO_LOG, ItemSignals

COLUMNS = ("item_index", "bucket_end_us", "events", "first_event_at_us", "decayed", "decayed_high_value")


def item_signals(
    batches: Iterable[pa.RecordBatch], items: int, half_lives_days: tuple[float, ...], bucket_us: int
) -> ItemSignals:
    """Signals from rows with COLUMNS, in any order. `items` is N. Raises TableError for an unknown item_index."""
    parts = [
        (
            item_indices(batch["item_index"], items, ITEM_SIGNALS),
            numbers(batch["bucket_end_us"], np.int64),
            numbers(batch["first_event_at_us"], np.int64),
            np.concatenate(
                [
                    flat(batch["decayed"], np.float64).reshape(batch.num_rows, len(half_lives_days)),
                    numbers(batch["decayed_high_value"], np.float64)[:, None],
                    numbers(batch["events"], np.float64)[:, None],
                ],
                axis=1,
            ),
        )
        for batch in batches
    ]
    none = (
        np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64),
        np.empty((0, len(half_lives_days) + 2)),
    )  # fmt: skip
    item, end_us, first_us, counts = (np.concatenate(column) for column in zip(none, *parts, strict=True))
    order = np.lexsort((end_us, item))
    item, counts = item[order], counts[order]
    with np.errstate(divide="ignore"):
        state = np.maximum(np.log(counts), NO_LOG)
    first_seconds = np.full(items, np.nan)
    first_seconds[item] = first_us[order] / SECOND_US
    unseen = np.full((1, state.shape[1]), NO_LOG)
    return ItemSignals(
        offset=torch.from_numpy(np.searchsorted(item, np.arange(items + 1))),
        end_seconds=torch.from_numpy(end_us[order] / SECOND_US),
        state=torch.from_numpy(np.concatenate([state, unseen]).astype(np.float32)),
        first_seconds=torch.from_numpy(first_seconds),
        half_lives_days=half_lives_days,
        bucket_seconds=bucket_us / SECOND_US,
    )
