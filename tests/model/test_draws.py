"""Random streams by purpose, seed and step."""

from __future__ import annotations

import torch

from model.draws import Purpose, random_stream, torch_seed


def test_a_stream_depends_only_on_purpose_seed_and_step():
    torch.manual_seed(99)
    again = random_stream(Purpose.MASKS, 1, 5).random(4)
    assert (random_stream(Purpose.MASKS, 1, 5).random(4) == again).all()
    for other in (
        random_stream(Purpose.NEGATIVES, 1, 5),
        random_stream(Purpose.MASKS, 5, 1),
        random_stream(Purpose.MASKS, 1, 6),
    ):
        assert (other.random(4) != again).all()


def test_torch_seed_fits_torch():
    seeds = {torch_seed(Purpose.DROPOUT, 1, step) for step in range(100)}
    assert len(seeds) == 100
    for seed in seeds:
        torch.Generator().manual_seed(seed)
