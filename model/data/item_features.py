"""The table `item_features`: one frozen vector per item and modality.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expectations.tables import ITEM_FEATURES
from model.arrays import flat, lengths
from model.data.cycle_tables import CycleTables
from model.data.delta import TableError
from model.data.items import item_indices


def fill_features(tables: CycleTables, features: dict[str, NDArray[np.float32]]) -> None:
    """Writes a cycle's vectors into float32 [N, width] matrices by modality; other items keep theirs.

    Raises DatasetError as `CycleTables.batches`, and TableError for vectors of another width or an
    unknown item_index.
    """
    for batch in tables.batches(ITEM_FEATURES, ("item_index", *features)):
        for name, matrix in features.items():
            items, width = matrix.shape
            widths = np.unique(lengths(batch[name])).tolist()
            if widths != [width]:
                raise TableError(
                    f"item_features has {name} vectors {widths} wide; model.modalities has {width}"
                )
            index = item_indices(batch["item_index"], items, ITEM_FEATURES)
            matrix[index] = flat(batch[name], np.float32).reshape(-1, width)
