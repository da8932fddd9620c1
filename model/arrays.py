"""Array types, and Arrow columns as NumPy arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

Column = pa.Array | pa.ChunkedArray


def numbers(column: Column, kind: type[np.generic]) -> NDArray:
    """A column without nulls, as `kind`; zero-copy where Arrow allows it."""
    return column.to_numpy(zero_copy_only=False).astype(kind, copy=False)


def flat(column: Column, kind: type[np.generic]) -> NDArray:
    """The entries of a column of lists, end to end."""
    return numbers(_whole(column).flatten(), kind)


def lengths(column: Column) -> Ints:
    """Number of entries of each list of a column, int64."""
    return np.diff(_whole(column).offsets.to_numpy()).astype(np.int64)


def stretches(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """The ranges [first, first + count), end to end: for each entry its range's number and its index.

    first (7, 2), count (2, 1) → numbers (0, 0, 1), indices (7, 8, 2).
    """
    number = np.repeat(np.arange(len(first)), count)
    return number, first[number] + np.arange(len(number)) - np.repeat(np.cumsum(count) - count, count)


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
