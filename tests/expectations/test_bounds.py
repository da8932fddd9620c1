"""Bounds that follow from the past: worked by hand, and never outside what a share can be."""

from __future__ import annotations

import math

import pytest

from expectations.bounds import (
    Judged,
    NullBounds,
    count_floor,
    share_ceiling,
    share_floor,
    whole_loss_is_chance,
)
from expectations.tables import TOKEN_FIELDS


def test_a_share_may_rise_above_the_largest_of_the_past_by_a_margin_and_by_chance():
    assert share_ceiling([0, 0.01, 0.02], 100, 0.1) == pytest.approx(0.13 + 3 * math.sqrt(0.13 * 0.87 / 100))
    assert share_ceiling([0.0], 1_000_000, 0.1) == pytest.approx(0.1, abs=1e-3)
    assert share_ceiling([0.95], 10, 0.1) == 1.0


def test_a_share_or_count_may_fall_to_a_part_of_what_is_usual_or_as_far_as_chance_explains():
    assert share_floor([0.4, 0.4, 0.8], 100, 0.25) == pytest.approx(0.1)
    assert share_floor([0.4, 0.4, 0.8], 24, 0.25) == pytest.approx(0.1)
    assert share_floor([0.4], 10, 0.25) == 0.0
    assert count_floor([400, 400, 600], 0.25) == 100
    assert count_floor([800, 500, 400], 0.25) == 80
    assert count_floor([16, 16], 0.25) == 4 == count_floor([16, 16], 0.5)
    assert count_floor([9], 0.25) == count_floor([3, 1000, 1000], 0.25) == count_floor([0, 0, 0], 0.25) == 0.0


def test_a_small_file_may_be_lost_whole_where_most_lines_are():
    assert whole_loss_is_chance(kept=0.1, size=5)  # 0.9 ** 5
    assert not whole_loss_is_chance(kept=0.1, size=500)
    assert not whole_loss_is_chance(kept=1.0, size=5)


@pytest.mark.parametrize(
    ("floor", "ceiling", "holds"),
    [(None, None, True), (2, None, True), (3, None, False), (None, 1, False), (1, 2, True)],
)
def test_a_value_is_held_to_the_bounds_that_there_are(floor, ceiling, holds):
    assert Judged("a.csv", 10, 2.0, floor, ceiling).holds is holds


def test_every_column_that_may_be_null_has_bounds():
    assert set(NullBounds.model_fields) == set(TOKEN_FIELDS)
