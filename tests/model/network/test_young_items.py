"""A request meets an item's second vector while the item is young, and its own afterwards."""

from __future__ import annotations

import pytest
import torch

from model.network.young_items import YoungItems

NAN = float("nan")
VECTORS = torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 6.0], [2.0, 2.0, 7.0]])
LOST = torch.tensor([[10.0, 0.0], [0.0, 20.0]])
"""Of items 2 and 0, in the first two components."""


@pytest.fixture
def young() -> YoungItems:
    """Item 0 is young until 100, item 2 until 200; item 1 has no second vector, although it is young."""
    until = torch.tensor([100.0, 300.0, 200.0], dtype=torch.float64)
    at = torch.tensor([50.0, 150.0, 200.0], dtype=torch.float64)
    return YoungItems.of(VECTORS, torch.tensor([2, 0]), LOST, until, at)


def test_a_request_meets_the_vector_of_its_time(young):
    position, row = torch.arange(3).repeat_interleave(3), torch.arange(3).repeat(3)
    met = young.vectors[young.rows(row, position)].view(3, 3, 3)
    of_0, of_2 = torch.tensor([1.0, 20.0, 5.0]), torch.tensor([12.0, 2.0, 7.0])
    assert torch.equal(met[0], torch.stack([of_0, VECTORS[1], of_2]))
    assert torch.equal(met[1], torch.stack([VECTORS[0], VECTORS[1], of_2]))
    assert torch.equal(met[2], VECTORS)  # young until 200, and so no longer at 200


def test_scores_of_shared_items_change_by_as_much(young):
    users = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, 0.0], [0.0, 3.0, 1.0]])
    row = torch.tensor([1, 2, 0])
    scores = users @ VECTORS[row].T + young.added_scores(users, row)
    position = torch.arange(3).repeat_interleave(3)
    met = young.vectors[young.rows(row.repeat(3), position)].view(3, 3, 3)
    assert torch.allclose(scores, torch.einsum("pd,psd->ps", users, met))


def test_an_item_of_unknown_age_is_not_young():
    until, at = torch.tensor([NAN], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)
    young = YoungItems.of(VECTORS[:1], torch.tensor([0]), LOST[:1], until, at)
    assert young.rows(torch.tensor([0]), torch.tensor([0])).tolist() == [0]
    assert not young.added_scores(VECTORS[:1], torch.tensor([0])).any()
