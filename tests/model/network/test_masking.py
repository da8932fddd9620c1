"""Which items are masked in a step."""

from __future__ import annotations

import math

import pytest

from model.network.masking import draw_masks, draw_new

ITEMS = 200_000


@pytest.mark.parametrize("rate", [0.02, 0.3, 1.0])
def test_a_fraction_of_items_is_masked_half_of_it_on_each_side_and_none_on_both(rate: float):
    masked_input, masked_output = draw_masks(ITEMS, rate, seed=1, step=7)
    bound = 5 * math.sqrt(0.25 / ITEMS)  # five of the largest standard errors of a fraction
    assert not (masked_input & masked_output).any()
    assert abs((masked_input | masked_output).double().mean().item() - rate) < bound
    assert abs(masked_input.double().mean().item() - rate / 2) < bound


def test_steps_are_independent_and_repeatable():
    rate = 0.5
    first, again, other = (draw_masks(ITEMS, rate, seed=1, step=step)[1] for step in (3, 3, 4))
    assert (first == again).all()
    both = (first & other).double().mean().item()
    assert abs(both - (rate / 2) ** 2) < 5 * math.sqrt(0.25 / ITEMS)


def test_rate_zero_masks_nothing():
    assert not any(mask.any() for mask in draw_masks(100, 0.0, seed=1, step=0))


def test_a_rate_above_1_is_refused():
    with pytest.raises(ValueError, match="masking rate is 1.5; allowed is a fraction from 0 to 1"):
        draw_masks(10, 1.5, seed=1, step=0)


def test_a_fraction_of_items_acts_as_new_apart_from_the_masks():
    new, again, other = (draw_new(ITEMS, 0.3, seed=1, step=step) for step in (7, 7, 8))
    assert (new == again).all() and not (new == other).all()
    assert abs(new.double().mean().item() - 0.3) < 5 * math.sqrt(0.25 / ITEMS)
    masked = draw_masks(ITEMS, 0.3, seed=1, step=7)[0]
    assert abs((new & masked).double().mean().item() - 0.3 * 0.15) < 5 * math.sqrt(0.25 / ITEMS)
