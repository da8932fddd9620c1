"""What the model is told about items: the frozen catalogue, launches, tombstones, and who is a candidate.

Comes in: `items`, `vocabulary` and `item_features` of one cycle. Goes out: `Items`, and the items
that training may use as candidates. It knows no events beyond which items had one.

Memory: 17 bytes an item, and 4 times the widths of the modalities.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from expectations.tables import ITEM_FEATURES, ITEMS, VOCABULARY
from model.config import FRESHNESS
from model.data.candidates import UNKNOWN_LAUNCH
from model.data.cycle_tables import CycleTables, DatasetError, Ints, flat, lengths, numbers, places
from model.network.batch import OUT_OF_VOCABULARY, Catalogue
from model.network.freshness import launch_features


@dataclass(frozen=True)
class Items:
    """What training must know about every item ever seen, by `item_index`."""

    catalogue: Catalogue
    launched_at_us: Ints
    """int64 [N]; UNKNOWN_LAUNCH where the launch is unknown."""
    retired: NDArray[np.bool_]
    """bool [N]; tombstones: the token is kept, the item no longer scored."""


def load_items(
    tables: CycleTables, features: Sequence[tuple[str, int]], earlier: CycleTables | None = None
) -> Items:
    """Catalogue, launches and tombstones.

    `features` are names with widths, as `ModelConfig.features` lists them: columns of `item_features`,
    or the launch phases of `model.network.freshness`. An item without a row in `item_features` has zeros.
    With `earlier`, items that had features in that cycle keep those. Raises DatasetError as
    `CycleTables.batches`, and for an index or a width that does not fit.
    """
    batches = list(tables.batches(ITEMS, ("item_index", "launched_at")))
    index = np.concatenate([numbers(batch["item_index"], np.int64) for batch in batches])
    items = index.size
    if not np.array_equal(np.sort(index), np.arange(items)):
        raise DatasetError(f"item_index of {tables.source} does not count 0 … {items - 1} without a gap")
    launched_at_us = np.empty(items, dtype=np.int64)
    launched_at_us[index] = np.concatenate([_instants(batch["launched_at"]) for batch in batches])
    known = launched_at_us != UNKNOWN_LAUNCH
    launched = torch.from_numpy(np.where(known, launched_at_us / 1e6, np.nan))
    token = np.full(items, OUT_OF_VOCABULARY, dtype=np.int64)
    retired = np.zeros(items, dtype=bool)
    for batch in tables.batches(VOCABULARY, ("item_index", "item_token", "retired")):
        place = places(batch["item_index"], items, VOCABULARY)
        token[place] = numbers(batch["item_token"], np.int64)
        retired[place] = batch["retired"].to_numpy(zero_copy_only=False)
    columns = {name: width for name, width in features if name != FRESHNESS}
    matrices = {name: np.zeros((items, width), dtype=np.float32) for name, width in columns.items()}
    for of_cycle in (tables, earlier) if columns else ():
        if of_cycle is not None:
            _read_features(of_cycle, matrices)
    vectors = {name: torch.from_numpy(matrix) for name, matrix in matrices.items()}
    if len(columns) < len(features):
        vectors[FRESHNESS] = launch_features(launched)
    catalogue = Catalogue(torch.from_numpy(token), vectors, launched if known.any() else None)
    return Items(catalogue, launched_at_us, retired)


def _read_features(tables: CycleTables, matrices: dict[str, NDArray[np.float32]]) -> None:
    """Fills float32 [N, width] matrices with a cycle's vectors, by name of the modality."""
    for batch in tables.batches(ITEM_FEATURES, ("item_index", *matrices)):
        for name, matrix in matrices.items():
            items, width = matrix.shape
            found = np.unique(lengths(batch[name]))
            if found.tolist() != [width]:
                raise DatasetError(
                    f"item_features has {name} vectors {found.tolist()} wide; model.modalities has {width}"
                )
            place = places(batch["item_index"], items, ITEM_FEATURES)
            matrix[place] = flat(batch[name], np.float32).reshape(-1, width)


def training_candidates(items: Items, seen: NDArray[np.bool_], split_us: int) -> Ints:
    """Items known up to the split, from which negatives are sampled: int64 [candidates], ascending.

    Known is an item in the vocabulary, with an event, or launched by then. One of unknown launch
    without an event may be from the future, and a retired one is no longer scored: neither counts.
    """
    launched = (items.launched_at_us != UNKNOWN_LAUNCH) & (items.launched_at_us <= split_us)
    in_vocabulary = items.catalogue.item_token.numpy() != OUT_OF_VOCABULARY
    return np.flatnonzero((in_vocabulary | seen | launched) & ~items.retired)


def _instants(column: pa.Array) -> Ints:
    """Microseconds since 1970-01-01 UTC; UNKNOWN_LAUNCH for null."""
    at_us = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return numbers(at_us.fill_null(UNKNOWN_LAUNCH), np.int64)
