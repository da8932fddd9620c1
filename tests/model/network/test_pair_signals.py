"""The score's third term: what it is made of, and that it is nothing where there is no pair."""

from __future__ import annotations

import pytest
import torch

from model.network.pair_signals import (
    COUNTS,
    INITIAL_COUNTS,
    NONLINEAR_OUTPUT,
    Pairs,
    PairTerm,
    pair_signal_count,
)

ACTIONS, ITEM_SIGNALS, WIDTH = 3, 5, 8
SIGNALS = pair_signal_count(ACTIONS)


@pytest.fixture(params=[ITEM_SIGNALS, 0])
def term(request) -> PairTerm:
    torch.manual_seed(0)
    return PairTerm(SIGNALS, request.param, WIDTH)


def item_signals(term: PairTerm, rows: int) -> torch.Tensor | None:
    return None if term.from_item is None else torch.randn(rows, ITEM_SIGNALS)


def test_there_is_a_signal_for_each_action_beside_four_of_the_history_and_four_counts():
    assert [pair_signal_count(actions) for actions in (1, 2, 5)] == [9, 10, 13]


def test_an_item_outside_the_history_and_its_successors_gets_nothing(term):
    features = term.features(torch.zeros(4, SIGNALS), item_signals(term, 4))
    assert features.shape == (4, SIGNALS + NONLINEAR_OUTPUT) and not features.any()


def test_features_are_the_signals_and_what_they_change_of_a_hidden_layer(term):
    pairs, items = torch.rand(4, SIGNALS), item_signals(term, 4)
    shift = term.from_pair.bias if items is None else term.from_pair.bias + term.from_item(items)
    gelu = torch.nn.functional.gelu
    hidden = gelu(pairs @ term.from_pair.weight.T + shift) - gelu(shift)
    features = term.features(pairs, items)
    assert torch.equal(features[:, :SIGNALS], pairs)
    assert torch.allclose(features[:, SIGNALS:], hidden @ term.outer.weight.T, atol=1e-6)


def test_training_starts_with_the_counts_weighted_alike(term):
    with torch.no_grad():
        term.weights.weight.zero_()
        weights = term(torch.randn(2, WIDTH))
    counts = slice(SIGNALS - COUNTS, SIGNALS)
    assert torch.equal(weights[:, counts], torch.full((2, COUNTS), INITIAL_COUNTS))
    weights[:, counts] = 0
    assert not weights.any()


def test_pairs_of_some_positions_keep_their_order_and_have_no_labels():
    pairs = Pairs(
        position=torch.tensor([0, 0, 1, 2, 2]),
        item=torch.tensor([4, 5, 6, 4, 7]),
        signals=torch.arange(5.0)[:, None],
        log_weight=torch.arange(5.0),
        label=torch.tensor([[1], [-1], [3]]),
    )
    some = pairs.positions(torch.tensor([0, 2]))
    assert some.position.tolist() == [0, 0, 1, 1] and some.item.tolist() == [4, 5, 4, 7]
    assert some.log_weight.tolist() == [0, 1, 3, 4]
    assert some.signals[:, 0].tolist() == [0, 1, 3, 4] and some.label.tolist() == [[-1], [-1]]
    none = pairs.positions(torch.empty(0, dtype=torch.int64))
    assert none.item.numel() == 0 and none.label.shape == (0, 1)
