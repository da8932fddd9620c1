"""Ranks of the exported labels under a peer's scores; every peer's script counts them alike.

    interactions.parquet   user_id, item_index, event_at: all events up to the split
    labels.parquet         user_id, position, item_index, catalogue_size: labels of users who have a history
    PEER.parquet           user_id, position, rank, rank_unseen
    PEER.json              seconds of training and of ranking

Peers score an item only if they were trained on it. Items without a score share the ranks after all scored ones, and items
of equal scores share theirs. `rank_unseen` is the rank when items of the user's history have no score.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd


class Labels:
    """The exported labels of one folder, by user, and the ranks that were found for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = pd.read_parquet(folder / "labels.parquet").reset_index(drop=True)
        self.rows = self.table.groupby("user_id", sort=True).indices
        item, size = self.table["item_index"].to_numpy(), self.table["catalogue_size"].to_numpy()
        self.item, self.size = item.astype(np.int64), size.astype(np.int64)
        self.rank, self.rank_unseen = np.zeros(len(item)), np.zeros(len(item))

    def score(self, user: object, items: np.ndarray, scores: np.ndarray, seen: np.ndarray) -> None:
        """Ranks one user's labels. `items`: int64 [N], distinct; `scores`: float [N]; `seen`: the history's items."""
        rows = self.rows[user]
        keep = ~np.isin(items, seen)
        self.rank[rows] = ranks(self.item[rows], self.size[rows], items, scores)
        self.rank_unseen[rows] = ranks(self.item[rows], self.size[rows], items[keep], scores[keep])

    def write(self, peer: str, started: float, trained: float) -> None:
        """Leaves PEER.parquet and PEER.json; `started` and `trained` are instants of `time.monotonic`. Raises ValueError
        when a user's labels were never ranked."""
        if not self.rank.all():
            raise ValueError(f"{peer} did not rank {int((self.rank == 0).sum())} of {len(self.rank)} labels")
        table = self.table[["user_id", "position"]]
        table = table.assign(rank=self.rank, rank_unseen=self.rank_unseen)
        table.to_parquet(self.folder / f"{peer}.parquet")
        seconds = {"training": trained - started, "ranking": time.monotonic() - trained}
        (self.folder / f"{peer}.json").write_text(json.dumps(seconds))


def ranks(label: np.ndarray, size: np.ndarray, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Rank of each label among `size` items, float64 [X]; a tie counts half.

    `label`, `size`: int64 [X]; `items`: int64 [N], the scored ones; `scores`: float [N].
    """
    order = np.argsort(items)
    place = np.minimum(np.searchsorted(items[order], label), max(len(items) - 1, 0))
    scored = (items[order][place] == label) if len(items) else np.zeros(len(label), bool)
    result = len(items) + (size - len(items) + 1) / 2
    if scored.any():
        ascending = np.sort(scores)
        own = scores[order[place[scored]]]
        below, up_to = np.searchsorted(ascending, own, "left"), np.searchsorted(ascending, own, "right")
        result[scored] = len(items) - (below + up_to - 1) / 2
    return result
