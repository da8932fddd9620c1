"""Sizes of a catalogue, and its move to a device."""

from __future__ import annotations

import torch

from model.network.catalogue import OUT_OF_VOCABULARY, Catalogue


def test_sizes_count_items_and_rows_of_the_id_table():
    catalogue = Catalogue(torch.tensor([4, OUT_OF_VOCABULARY, 0]), {})
    assert (catalogue.items, catalogue.vocabulary_size) == (3, 5)
    assert Catalogue(torch.tensor([OUT_OF_VOCABULARY]), {}).vocabulary_size == 0
    assert Catalogue(torch.empty(0, dtype=torch.int64), {}).vocabulary_size == 0


def test_a_moved_catalogue_keeps_every_field():
    launched = torch.tensor([1.0, 2.0], dtype=torch.float64)
    catalogue = Catalogue(torch.tensor([0, 1]), {"language": torch.ones(2, 3)}, launched)
    moved = catalogue.to("cpu")
    assert torch.equal(moved.features["language"], torch.ones(2, 3))
    assert torch.equal(moved.launched_at_seconds, launched)
    assert Catalogue(torch.tensor([0]), {}).to("cpu").launched_at_seconds is None
