"""The table `item_features`: one frozen vector per item and modality.

Shape legend
    N  items ever seen
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from expectations.tables import ITEM_FEATURES
from model.arrays import flat, lengths
from model.data.cycle_tables import CycleTables
from model.data.delta import TableError
from model.data.items import item_indices


def fill_features(tables: CycleTables, item_id: pa.Array, features: dict[str, NDArray[np.float32]]) -> None:
    """Writes a cycle's vectors into float32 [N, width] matrices by modality; other items keep theirs.

    `item_id` string [N] names items for people. Raises DatasetError as `CycleTables.batches`, and
    TableError for vectors of another width, a number that is not finite, or an unknown item_index.
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
            vectors = flat(batch[name], np.float32).reshape(-1, width)
            broken = index[~np.isfinite(vectors).all(axis=1)]
            if broken.size:
                raise TableError(
                    f"item_features of cycle {tables.cycle} has a {name} vector with a number that is not finite "
                    f"for item {item_id[int(broken[0])].as_py()!r}"
                    + (f" and {broken.size - 1} others of the same batch" if broken.size > 1 else "")
                )
            matrix[index] = vectors
