"""Arrow columns as arrays, and ranges laid end to end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from model.arrays import flat, lengths, numbers, stretches

LISTS = [[1, 2], [], [3]]


@pytest.mark.parametrize("chunks", [[LISTS], [LISTS[:1], LISTS[1:]]])
def test_lists_are_flattened_whatever_their_chunks(chunks):
    column = pa.chunked_array(chunks, pa.list_(pa.int32()))
    entries = flat(column, np.int64)
    assert entries.tolist() == [1, 2, 3] and entries.dtype == np.int64
    assert lengths(column).tolist() == [2, 0, 1] and lengths(column).dtype == np.int64


def test_a_slice_of_lists_has_its_own_entries_only():
    column = pa.array(LISTS, pa.list_(pa.int32()))[1:]
    assert flat(column, np.int32).tolist() == [3] and lengths(column).tolist() == [0, 1]


def test_numbers_and_flags_have_the_type_asked_for():
    column = pa.chunked_array([[1], [2]], pa.int32())
    assert numbers(column, np.int64).tolist() == [1, 2] and numbers(column, np.int64).dtype == np.int64
    assert numbers(pa.array([True, False]), np.bool_).tolist() == [True, False]


def test_ranges_are_laid_end_to_end():
    number, index = stretches(np.array([7, 2, 5]), np.array([2, 1, 0]))
    assert number.tolist() == [0, 0, 1] and index.tolist() == [7, 8, 2]
