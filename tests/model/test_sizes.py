"""Backbone sizes: valid shapes, in ascending order, named after what they count."""

from __future__ import annotations

import pytest

from model.sizes import SIZES

UNITS = {"k": 1e3, "m": 1e6, "b": 1e9}


def test_sizes_ascend_without_two_alike():
    counts = [size.parameters for size in SIZES.values()]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("name", SIZES)
def test_a_name_is_the_parameter_count_to_within_a_fifth(name):
    assert SIZES[name].parameters == pytest.approx(float(name[:-1]) * UNITS[name[-1]], rel=0.2)


@pytest.mark.parametrize("name", SIZES)
def test_heads_divide_the_width_into_even_parts(name):
    width, _, heads = SIZES[name]
    assert width % heads == 0 and width // heads % 2 == 0


def test_parameters_by_hand():
    # Two layers of 4 · 32² attention and 8 · 32² feed-forward weights.
    assert SIZES["25k"].parameters == 2 * (4 + 8) * 32 * 32 == 24_576
