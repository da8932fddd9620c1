"""What a batch derives from its tensors."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.model import tiny

NOW = 1.7e9


def test_events_are_neither_start_tokens_nor_padding():
    batch = tiny.batch([[[1, 2], [3]], [[4]]])
    assert batch.is_event.int().tolist() == [[0, 1, 1, 0, 1], [0, 1, 0, 0, 0]]
    assert batch.tokens == 7


def test_the_clock_of_a_start_token():
    batch = tiny.batch([[[1, 2], []]])
    first, second = batch.event_at_seconds[0, 1], batch.event_at_seconds[0, 2]
    batch.event_at_seconds[0, 0] = 0
    batch.event_at_seconds[0, 3] = 0
    # A start token takes the first event's time; a start token without events has no time.
    seconds = batch.clock_seconds[0]
    assert seconds[:3].tolist() == [first, first, second] and seconds[3].isnan()
    batch.event_at_seconds[0, 3] = NOW
    assert batch.clock_seconds[0, 3] == NOW


def test_a_moved_batch_keeps_every_field():
    batch = replace(tiny.batch([[[1]]], {1: [(2, 0.5)]}), label_at_seconds=torch.tensor([NOW]))
    moved = batch.to("cpu")
    assert torch.equal(moved.label_item, batch.label_item) and moved.label_at_seconds.tolist() == [NOW]
    assert tiny.batch([[[1]]]).to("cpu").label_at_seconds is None
