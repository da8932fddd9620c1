"""User and item vectors: the same in any batch, and blind to what comes later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expectations.instants import HOUR_US
from model.config import FRESHNESS, FRESHNESS_WIDTH
from model.evaluation.examples import history_ends
from model.network.catalogue import Catalogue
from model.serving import encoding
from model.serving.encoding import UNKNOWN_TIME, encode_histories, encode_items
from tests.model import tiny
from tests.model.window_of import examples

USERS = [
    [(1, 0.0), (2, 1.0), (3, 1.0), (4, 30.0)],
    [(5, 10.0)],
    [(item % 12, float(item)) for item in range(40)],  # longer than a window of 16 events
]


def test_vectors_are_those_of_each_history_encoded_alone():
    window, model, catalogue = (
        examples(USERS, [[1, 2, 3], [0], [5, 30, 39]], 12),
        tiny.recommender(8),
        tiny.catalogue(12, 8),
    )
    ends = history_ends(window, "replay", 0.0, 0)
    with torch.no_grad():
        together = encode_histories(model, catalogue, window.histories, window.user, ends, 8)
        alone = [
            encode_histories(model, catalogue, window.histories, window.user[[label]], ends[[label]], 8)
            for label in range(window.size)
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert torch.equal(together[0], together[1])  # a tie in time: both labels see the first event only
    start = model.user_vectors(model.encode(tiny.batch([[[]]]), catalogue))[0, 0]
    torch.testing.assert_close(together[3], start, rtol=1e-4, atol=1e-5)


def test_an_empty_history_depends_on_the_time_of_the_request_alone():
    """The vector does not depend on what the user does later."""
    window = examples([[(1, 10.0)], [(1, 10.0), (2, 15.0)]], [[0], [0, 1]], 12)
    model = tiny.recommender(8, freshness=True, output_width=32 + FRESHNESS_WIDTH)
    torch.nn.init.normal_(model.freshness.amplitudes.weight)
    catalogue = tiny.catalogue(12, 8)
    catalogue.features[FRESHNESS] = torch.zeros(12, FRESHNESS_WIDTH)
    empty = window.histories.offset[window.user]

    def encode(chosen: list[int], requested_at_us: np.ndarray | None) -> torch.Tensor:
        with torch.no_grad():
            return encode_histories(
                model, catalogue, window.histories, window.user[chosen], empty[chosen], 8, requested_at_us
            )

    alone, beside, later = encode([0, 1, 2], np.array([10, 10, 3000]) * HOUR_US)
    unknown = encode([1], None)
    torch.testing.assert_close(alone, beside)
    assert (alone - later).abs().max() > 1e-3 and (alone - unknown[0]).abs().max() > 1e-3
    assert torch.equal(unknown, encode([1], np.array([UNKNOWN_TIME])))


@pytest.mark.parametrize("block", [3, 8192])
def test_items_with_equal_features_and_no_id_row_have_equal_bits_in_any_block(monkeypatch, block):
    monkeypatch.setattr(encoding, "ITEM_BLOCK", block)
    catalogue = tiny.catalogue(12, 8)
    alike = torch.arange(8, 12)
    features = {name: matrix.index_fill(0, alike, 0.0) for name, matrix in catalogue.features.items()}
    model, catalogue = tiny.recommender(8), Catalogue(catalogue.item_token, features)
    with torch.no_grad():
        vectors = encode_items(model, catalogue, np.array([9, 0, 1, 2, 3, 8, 11, 10]))
        expected = model.item_vectors(torch.tensor([0, 1, 2, 3]), catalogue)
    assert (vectors[[0, 5, 6, 7]] == vectors[0]).all()
    torch.testing.assert_close(vectors[1:5], expected, rtol=1e-5, atol=1e-6)


def test_no_items_have_no_vectors():
    assert encode_items(tiny.recommender(8), tiny.catalogue(12, 8), np.empty(0, np.int64)).shape == (0, 32)
