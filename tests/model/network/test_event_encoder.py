"""Features of an event, and the token they make."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from model.network.event_encoder import GAP_KNOTS, EventEncoder, gap_features, reward_features, week_features
from tests.model import tiny

WIDTH = 32


@pytest.fixture
def encoder() -> EventEncoder:
    torch.manual_seed(0)
    return EventEncoder(tiny.config())


def test_gap_features_are_1_at_a_knot_and_interpolated_between_knots():
    features = gap_features(torch.tensor([0.0, 7.0, 2**3.5 - 1, 1e30]))
    assert features.shape == (4, GAP_KNOTS)
    expected = torch.zeros(4, GAP_KNOTS)
    expected[0, 0] = expected[1, 3] = expected[3, -1] = 1
    expected[2, 3] = expected[2, 4] = 1 / 2
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)


def test_week_features_repeat_after_a_week_and_resolve_seconds():
    now = torch.tensor([1.7e9], dtype=torch.float64)
    week, day, second = 604_800, 86_400, 1
    features = week_features(now)
    torch.testing.assert_close(week_features(now + week), features, atol=1e-9, rtol=0)
    # Harmonics 7, 14 and 21 are the day's: unchanged after a day, unlike the week's.
    after_a_day = week_features(now + day)
    torch.testing.assert_close(after_a_day[:, 3:6], features[:, 3:6], atol=1e-9, rtol=0)
    assert (after_a_day[:, 0] - features[:, 0]).abs() > 0.01
    moved = (week_features(now + second) - features).norm().item()
    speed = 2 * math.pi * second / week * math.sqrt(sum(h**2 for h in (1, 2, 3, 7, 14, 21)))
    assert moved == pytest.approx(speed, rel=1e-3)


def test_reward_features():
    assert reward_features(torch.tensor([0.0, 1.0])).tolist() == [[0, 0], [1, pytest.approx(math.log(2))]]


def test_one_token_per_event_a_start_token_and_zeros_for_padding(encoder: EventEncoder):
    batch = tiny.batch([[[1, 2], [3]], [[4]]])
    tokens = encoder(batch, torch.randn(4, WIDTH))
    assert tokens.shape == (2, 5, WIDTH)
    assert torch.equal(tokens[0, 0], encoder.start) and torch.equal(tokens[1, 0], encoder.start)
    assert (tokens[1, 2:] == 0).all()
    mean_square = tokens[0, 1].square().mean().item()
    assert mean_square == pytest.approx(1, rel=1e-3)


def test_an_item_changes_only_its_own_slot(encoder: EventEncoder):
    batch = tiny.batch([[[1, 2], [3]], [[4]]])
    part = torch.randn(4, WIDTH)
    tokens = encoder(batch, part)
    changed = encoder(batch, part.index_fill(0, torch.tensor([2]), 1.0))  # the third event, item 3
    differs = (tokens != changed).any(dim=-1).nonzero().tolist()
    assert differs == [[0, 4]]


@pytest.mark.parametrize("field", ["action", "context", "reward", "gap_seconds", "event_at_seconds"])
def test_every_field_is_part_of_the_token(encoder: EventEncoder, field: str):
    batch = tiny.batch([[[1]]])
    part = torch.randn(1, WIDTH)
    value = getattr(batch, field)
    changed = (value + 1) % 3 if field in ("action", "context") else value + 3600
    tokens = encoder(replace(batch, **{field: changed}), part)
    assert not torch.equal(tokens[0, 1], encoder(batch, part)[0, 1])
    assert torch.equal(tokens[0, 0], encoder.start)
