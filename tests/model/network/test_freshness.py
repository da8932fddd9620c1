"""Scores by the age of an item, as an inner product."""

from __future__ import annotations

import math

import pytest
import torch

from model.config import FRESHNESS, FRESHNESS_WIDTH, ModelConfig
from model.network.catalogue import Catalogue
from model.network.freshness import PERIODS_DAYS, Freshness, clock, launch_features
from model.network.recommender import Recommender, score
from tests.model import tiny

DAY = 86_400.0
NOW = 1.7e9
LAUNCHES = torch.tensor([NOW - 400 * DAY, NOW - 3 * DAY, NOW + 2 * DAY, torch.nan], dtype=torch.float64)


def _amplitudes(seed: int) -> Freshness:
    generator = torch.Generator().manual_seed(seed)
    freshness = Freshness(8).double()
    with torch.no_grad():
        freshness.amplitudes.weight.normal_(generator=generator)
        freshness.amplitudes.bias.normal_(generator=generator)
    return freshness


def test_the_product_is_a_function_of_age():
    freshness, hidden = _amplitudes(1), torch.randn(8, dtype=torch.float64)
    user = freshness(hidden, clock(torch.tensor(NOW)))
    a, b, level = freshness.amplitudes(torch.nn.functional.gelu(hidden)).split([16, 16, 1])
    products = launch_features(LAUNCHES).double() @ user
    for launch, product in zip(LAUNCHES[:3].tolist(), products.tolist(), strict=False):
        age = 2 * math.pi * (NOW - launch) / DAY / torch.tensor(PERIODS_DAYS, dtype=torch.float64)
        expected = (a * age.cos() + b * age.sin()).sum() + level
        # Phases are float32: 33 products of numbers of order 1.
        assert product == pytest.approx(expected.item(), abs=33 * 4 * torch.finfo(torch.float32).eps)
    assert products[3] == 0


def test_shifting_launch_and_event_alike_changes_nothing():
    freshness, hidden = _amplitudes(2), torch.randn(8, dtype=torch.float64)
    products = [
        torch.cat([clock(LAUNCHES[:3] + shift), torch.ones(3, 1).double()], -1)
        @ freshness(hidden, clock(torch.tensor(NOW + shift)))
        for shift in (0.0, 500 * DAY)
    ]
    torch.testing.assert_close(*products, atol=1e-9, rtol=0)


def test_an_untrained_model_ignores_age():
    assert (Freshness(8)(torch.randn(3, 8), clock(torch.full((3,), NOW))) == 0).all()


def test_without_a_time_only_the_constant_term_remains():
    user = _amplitudes(3)(torch.randn(8, dtype=torch.float64), clock(torch.tensor(torch.nan)))
    assert (user[:-1] == 0).all() and user[-1] != 0


def test_unknown_launches_are_zeros():
    features = launch_features(LAUNCHES)
    assert features.shape == (4, FRESHNESS_WIDTH) and features.dtype == torch.float32
    assert (features[3] == 0).all() and (features[:3, -1] == 1).all()


def _model_and_catalogue() -> tuple[Recommender, Catalogue]:
    model = tiny.recommender(4, freshness=True, output_width=32 + FRESHNESS_WIDTH)
    plain = tiny.catalogue(4)
    return model, Catalogue(plain.item_token, plain.features | {FRESHNESS: launch_features(LAUNCHES)})


def test_widths_are_the_configured_ones_with_freshness_too():
    model, catalogue = _model_and_catalogue()
    model.check(catalogue)
    assert model.item_vectors(torch.arange(4), catalogue).shape == (4, 65)
    hidden = model.encode(tiny.batch([[[1, 2]]]), catalogue)
    assert model.user_vectors(hidden[0, 1:]).shape == (2, 65)
    with pytest.raises(ValueError, match="the model needs {'language': 6, 'graph': 3, 'launch': 33}"):
        model.check(tiny.catalogue(4))
    with pytest.raises(ValueError, match="output_width is 64; with freshness allowed is 65 or more"):
        ModelConfig(freshness=True, output_width=64)


def test_a_recommender_learns_to_rank_the_newest_item_first():
    """The items differ in their launch alone."""
    model, catalogue = _model_and_catalogue()
    alike = {name: torch.ones(4, width) for name, width in tiny.MODALITIES}
    cold = Catalogue(torch.full((4,), -1), alike | {FRESHNESS: catalogue.features[FRESHNESS]})
    batch = tiny.batch([[[3, 3]]], {1: [(1, 1.0)]})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    eligible = torch.tensor([0, 1])
    for step in range(20):
        loss, _ = model.training_loss(batch, cold, eligible, tiny.objective(), 0.0, 1, step)
        optimizer.zero_grad()
        loss.backward()
        model.item_tower.table.weight.grad = None
        optimizer.step()
    user = model.user_vectors(model.encode(batch, cold)[0, 1])
    scores = score(user, model.item_vectors(torch.arange(4), cold))
    assert scores[1] > scores[0] + 1
