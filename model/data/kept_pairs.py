"""Pair lists on disk: the models of a cycle count the pairs of each request once, and none holds all lists in memory.

    kept = KeptPairs(folder)
    lists, counted = kept.lists(requests, partial(pair_parts, log, successors=successors, items=items, bucket_us=bucket_us))

Lists of requests that the folder lacks are counted block by block and appended to its files, whose content is then
mapped into memory. The index is replaced last, in one step: what a killed run has appended before is not in it, and is
overwritten by the next. One process at a time may write a folder. Its name must say all that lists depend on beside
their requests.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expectations.files import write_atomically
from model.arrays import Ints
from model.data.pair_signals import COLUMNS, PairLists, PairPart, Requests

INDEX = "requests.npy"
"""int64 [X, 5]: user, end and time of a request, number of its first pair, and how many it has."""


class KeptPairs:
    """Pair lists in a folder, which is made when the first are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lists(
        self, requests: Requests, count: Callable[[Requests], Iterator[PairPart]]
    ) -> tuple[PairLists, int]:
        """The lists of the requests, and how many of them were not kept yet: those `count` makes."""
        index, wanted = self._index(), np.stack([requests.user, requests.end, requests.at_us], axis=1)
        row = _rows(index[:, :3], wanted)
        missing = np.flatnonzero(row < 0)
        if missing.size:
            # One that is wanted twice is counted once.
            asked = np.unique(wanted[missing], axis=0)
            index = self._append(index, Requests(*asked.T), count)
            row = _rows(index[:, :3], wanted)
        lists = PairLists(index[row, 3], index[row, 4], *self._columns(_pairs(index)))
        return lists, missing.size

    def _index(self) -> Ints:
        path = self.folder / INDEX
        return np.load(path) if path.exists() else np.empty((0, 5), np.int64)

    def _append(
        self, index: Ints, requests: Requests, count: Callable[[Requests], Iterator[PairPart]]
    ) -> Ints:
        self.folder.mkdir(parents=True, exist_ok=True)
        pairs = _pairs(index)
        first, size = np.zeros(requests.user.size, np.int64), np.zeros(requests.user.size, np.int64)
        files = [self._opened(name, pairs * _bytes(name)) for name in COLUMNS]
        try:
            for part in count(requests):
                first[part.request] = pairs + np.cumsum(part.size) - part.size
                size[part.request] = part.size
                pairs += int(part.size.sum())
                for file, column in zip(files, part.columns, strict=True):
                    file.write(column.tobytes())
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        finally:
            for file in files:
                file.close()
        added = np.stack([requests.user, requests.end, requests.at_us, first, size], axis=1)
        index = np.concatenate([index, added])
        content = io.BytesIO()
        np.save(content, index)
        write_atomically(self.folder / INDEX, content.getvalue())
        return index

    def _opened(self, name: str, size: int) -> io.BufferedRandom:
        """A column's file at its end, without what is not in the index."""
        path = self.folder / name
        path.touch()
        file = path.open("r+b")
        file.truncate(size)
        file.seek(size)
        return file

    def _columns(self, pairs: int) -> list[NDArray]:
        shapes = {name: (pairs, *COLUMNS[name].shape) for name in COLUMNS}
        if not pairs:
            return [np.empty(shapes[name], COLUMNS[name].base) for name in COLUMNS]
        return [
            np.asarray(np.memmap(self.folder / name, COLUMNS[name].base, "r", shape=shapes[name]))
            for name in COLUMNS
        ]


def _pairs(index: Ints) -> int:
    """Pairs of all kept requests."""
    return int(index[:, 4].sum())


def _bytes(name: str) -> int:
    """Bytes of a column a pair."""
    return COLUMNS[name].itemsize


def _rows(known: Ints, wanted: Ints) -> Ints:
    """The row of `known` that each row of `wanted` equals, −1 for none; int64 [K, 3] and [X, 3] → [X]."""
    both = np.concatenate([known, wanted])
    if not both.size:
        return np.empty(0, np.int64)
    order = np.lexsort(both.T)
    ordered = both[order]
    differs = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.empty(len(both), np.int64)
    group[order] = np.concatenate([[0], np.cumsum(differs)])
    row = np.full(int(group.max()) + 1, -1)
    row[group[: len(known)]] = np.arange(len(known))
    return row[group[len(known) :]]
