"""Everything that a cycle's models read about items, from `items`, `vocabulary` and `item_features`.

Memory: 33 bytes per item, 4 per number of its modalities' vectors, and the text of its id and title.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from expectations.instants import SECOND_US
from expectations.tables import ITEMS, VOCABULARY
from model.config import FRESHNESS
from model.data import items as items_table
from model.data import vocabulary as vocabulary_table
from model.data.cycle_tables import CycleTables
from model.data.item_features import fill_features
from model.data.items import UNKNOWN_LAUNCH, Items, items_of
from model.data.vocabulary import Vocabulary, vocabulary_of
from model.network.catalogue import Catalogue
from model.network.freshness import launch_features
from model.network.item_signals import ItemSignals


@dataclass(frozen=True)
class CycleItems:
    """Every item ever seen, as one cycle knows it."""

    items: Items
    vocabulary: Vocabulary
    catalogue: Catalogue
    """Tokens, features and launches as the network reads them."""

    def with_signals(self, signals: ItemSignals) -> CycleItems:
        """The same items, and what their recent events say."""
        return replace(self, catalogue=replace(self.catalogue, signals=signals))

    def with_ages(self, exists_since: torch.Tensor, young_until: torch.Tensor) -> CycleItems:
        """The same items with the time since which each exists, and until which it is young; float64 [N] seconds,
        NaN where unknown."""
        ages = {"exists_since_seconds": exists_since, "young_until_seconds": young_until}
        return replace(self, catalogue=replace(self.catalogue, **ages))


def load_items(
    tables: CycleTables,
    features: Sequence[tuple[str, int]],
    earlier: CycleTables | None = None,
) -> CycleItems:
    """Reads the items of a cycle.

    `features` are names and widths as in `ModelConfig.features`: columns of `item_features`, or the launch
    phases of `model.network.freshness`. An item without a row in `item_features` has zeros. With
    `earlier`, items that had features in that cycle keep those. Raises TableError when a table cannot be
    read or its rows do not fit, and DatasetError as `CycleTables.batches`.
    """
    items = items_of(pa.Table.from_batches(tables.batches(ITEMS, items_table.COLUMNS)))
    vocabulary = vocabulary_of(tables.batches(VOCABULARY, vocabulary_table.COLUMNS), items.count)
    known = items.launched_at_us != UNKNOWN_LAUNCH
    launched = torch.from_numpy(np.where(known, items.launched_at_us / SECOND_US, np.nan))
    modalities = {name: width for name, width in features if name != FRESHNESS}
    matrices = {name: np.zeros((items.count, width), dtype=np.float32) for name, width in modalities.items()}
    for cycle in (tables, earlier) if modalities else ():
        if cycle is not None:
            fill_features(cycle, items.item_id, matrices)
    vectors = {name: torch.from_numpy(matrix) for name, matrix in matrices.items()}
    if len(modalities) < len(features):
        vectors[FRESHNESS] = launch_features(launched)
    launches = launched if known.any() else None
    catalogue = Catalogue(
        torch.from_numpy(vocabulary.item_token), vectors, launches, exists_since_seconds=launches
    )
    return CycleItems(items, vocabulary, catalogue)
