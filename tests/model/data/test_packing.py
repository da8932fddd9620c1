"""Packing, and the tensors of a batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.packing import Events, Placed, assemble, pack


def stream(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rows_of(packing, slots):
    return [
        [int(slots[sequence]) for sequence in packing.sequence[begin:end]]
        for begin, end in zip(packing.bounds[:-1], packing.bounds[1:], strict=True)
    ]


def test_rows_are_filled_with_the_longest_that_fit():
    slots = np.array([2, 5, 3, 4, 2])
    packing = pack(slots, 8, stream())
    assert rows_of(packing, slots) == [[5, 3], [4, 2, 2]]
    assert packing.slot.tolist() == [0, 5, 0, 4, 6]
    assert packing.efficiency == 1.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=80), st.integers(20, 40), st.integers(0, 5))
def test_every_sequence_is_packed_once_and_no_slot_twice(lengths, row_length, seed):
    slots = np.array(lengths, dtype=np.int64)
    packing = pack(slots, row_length, stream(seed))
    assert sorted(packing.sequence.tolist()) == list(range(len(lengths)))
    for begin, end in zip(packing.bounds[:-1], packing.bounds[1:], strict=True):
        assert end > begin
        at = 0
        for sequence, slot in zip(packing.sequence[begin:end], packing.slot[begin:end], strict=True):
            assert slot == at
            at += slots[sequence]
        assert at <= row_length
    # First-fit decreasing needs at most 11/9 of the smallest number of rows, plus one.
    assert packing.rows <= 11 / 9 * np.ceil(slots.sum() / row_length) + 1 or max(lengths) > row_length / 2


def test_the_stream_decides_which_sequences_share_a_row():
    slots = np.full(40, 3)
    first, again, other = (pack(slots, 10, stream(seed)) for seed in (1, 1, 2))
    assert (first.sequence == again.sequence).all()
    assert (first.sequence != other.sequence).any()


def test_log_normal_lengths_leave_little_padding():
    lengths = np.minimum(np.ceil(stream().lognormal(3, 1, size=3000)), 256).astype(np.int64) + 1
    assert pack(lengths, 257, stream()).efficiency > 0.97


def test_a_sequence_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="needs 9 slots; a row has 8"):
        pack(np.array([9]), 8, stream())


def test_no_sequences_make_no_rows():
    packing = pack(np.empty(0, np.int64), 8, stream())
    assert packing.rows == 0 and packing.efficiency == 1.0


def test_a_batch_lays_sequences_end_to_end_after_their_start_tokens():
    second = 1_000_000
    events = Events(
        item_index=np.array([9, 5, 6, 7], np.int32),
        action=np.array([0, 1, 2, 0], np.int8),
        event_at_us=np.array([0, 10, 10, 70], np.int64) * second,
        reward=np.array([0, 1, 0, 2], np.float32),
        context=np.array([[1], [2], [3], [4]], np.int16),
    )
    placed = Placed(
        first=np.array([1, 3, 0]),
        length=np.array([2, 1, 1]),
        begins=np.array([True, False, True]),
        row=np.array([0, 0, 1]),
        slot=np.array([0, 3, 0]),
    )
    batch = assemble(events, placed, rows=2, row_length=5)
    assert batch.item_index.tolist() == [[0, 5, 6, 7, 0], [0, 9, 0, 0, 0]]
    assert batch.segment.tolist() == [[1, 1, 1, 2, 0], [1, 1, 0, 0, 0]]
    assert batch.is_start.nonzero().tolist() == [[0, 0], [1, 0]]
    assert batch.action[0].tolist() == [0, 1, 2, 0, 0]
    assert batch.context[0, :, 0].tolist() == [0, 2, 3, 4, 0]
    assert batch.reward[0].tolist() == [0, 1, 0, 2, 0]
    assert batch.gap_seconds[0].tolist() == [0, 0, 0, 0, 0]
    assert batch.event_at_seconds[0].tolist() == [0, 10, 10, 70, 0]
    assert batch.tokens == 6 and len(batch.label_slot) == 0


def test_gaps_are_seconds_since_the_previous_event_of_the_sequence():
    events = Events(
        np.arange(3, dtype=np.int32),
        np.zeros(3, np.int8),
        np.array([5, 7, 10]) * 500_000,
        np.zeros(3, np.float32),
        np.zeros((3, 0), np.int16),
    )
    placed = Placed(np.array([0]), np.array([3]), np.array([False]), np.array([0]), np.array([0]))
    batch = assemble(events, placed, 1, 4)
    assert batch.gap_seconds.tolist() == [[0, 1, 1.5, 0]]
    assert batch.context.shape == (1, 4, 0)
