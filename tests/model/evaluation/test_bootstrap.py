"""The paired bootstrap against arithmetic and against the normal theory."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation import bootstrap
from model.evaluation.bootstrap import by_user, difference, interval, pooled, resample, stack

EVERYBODY = np.ones(4, bool)
USER = np.array([0, 0, 0, 1])
VALUE = np.array([1.0, 1.0, 1.0, 0.0])


def test_pooled_means_weight_examples_and_means_by_user_weight_users():
    result = resample(stack([pooled(USER, VALUE, EVERYBODY, 2), by_user(USER, VALUE, EVERYBODY, 2)]), 100)
    assert result.point.tolist() == [3 / 4, 1 / 2]


def test_nan_values_and_unmasked_examples_do_not_count():
    value = np.array([1.0, np.nan, 0.0, 0.0])
    total, count = pooled(USER, value, np.array([True, True, True, False]), 2)
    assert total.tolist() == [1.0, 0.0]
    assert count.tolist() == [2.0, 0.0]


def test_samples_without_a_user_of_the_column_do_not_count():
    only_one = pooled(USER, VALUE, USER == 1, 2)
    result = resample(stack([only_one]), 200)
    assert np.isnan(result.samples).any()
    assert interval(result.point[0], result.samples[:, 0]) == bootstrap.Interval(0.0, 0.0, 0.0)


def test_a_column_without_any_value_is_nan():
    nothing = pooled(USER, VALUE, np.zeros(4, bool), 2)
    result = resample(stack([nothing]), 100)
    shown = interval(result.point[0], result.samples[:, 0])
    assert np.isnan([shown.value, shown.low, shown.high]).all()


def test_equal_columns_have_no_difference():
    column = pooled(USER, VALUE + 0.1, EVERYBODY, 2)
    result = resample(stack([column, column]), 100)
    shown = difference((result.point[0], result.point[1]), (result.samples[:, 0], result.samples[:, 1]))
    assert (shown.relative.value, shown.lower_bound, shown.upper_bound, shown.detectable) == (0, 0, 0, 0)


def test_a_difference_is_paired_and_relative_to_the_second():
    user, first = np.arange(50), np.linspace(1, 2, 50)
    mask = np.ones(50, bool)
    columns = stack([pooled(user, 1.1 * first, mask, 50), pooled(user, first, mask, 50)])
    result = resample(columns, 200)
    shown = difference((result.point[0], result.point[1]), (result.samples[:, 0], result.samples[:, 1]))
    # Every user gains 10 %, so every sample does; unpaired means would vary far more.
    assert shown.lower_bound == pytest.approx(1 / 10, abs=1e-5)
    assert shown.upper_bound == pytest.approx(1 / 10, abs=1e-5)
    assert shown.absolute.value == pytest.approx(0.1 * first.mean())


def test_the_same_data_give_the_same_interval_and_chunks_do_not_matter(monkeypatch):
    columns = stack([pooled(np.arange(30), np.arange(30.0), np.ones(30, bool), 30)])
    whole = resample(columns, 64).samples
    assert (resample(columns, 64).samples == whole).all()
    monkeypatch.setattr(bootstrap, "CHUNK_WEIGHTS", 30 * 7)
    np.testing.assert_allclose(resample(columns, 64).samples, whole, rtol=1e-6)


def test_columns_that_share_a_denominator_are_divided_by_their_own():
    some = [pooled(USER, VALUE, mask, 2) for mask in (EVERYBODY, USER == 0, EVERYBODY, USER == 1)]
    alone = [resample(stack([column]), 50) for column in some]
    together = resample(stack(some), 50)
    assert together.point.tolist() == [one.point[0] for one in alone] == [3 / 4, 1, 3 / 4, 0]
    for place, one in enumerate(alone):
        np.testing.assert_allclose(together.samples[:, place], one.samples[:, 0], rtol=1e-6)


def test_intervals_have_the_width_of_the_normal_theory():
    generator = np.random.default_rng(5)
    value = generator.normal(3.0, 2.0, 2000)
    column = pooled(np.arange(2000), value, np.ones(2000, bool), 2000)
    result = resample(stack([column]), 2000)
    shown = interval(result.point[0], result.samples[:, 0])
    standard_error = value.std() / np.sqrt(2000)
    assert shown.low == pytest.approx(value.mean() - 1.96 * standard_error, abs=0.15 * standard_error)
    assert shown.high == pytest.approx(value.mean() + 1.96 * standard_error, abs=0.15 * standard_error)


def test_intervals_of_clustered_examples_cover_the_truth():
    # 60 users whose 1 to 8 examples share a user effect; the truth is 0. 95 % of 120 intervals
    # should hold it; fewer than 87 % would be five standard errors too few.
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(120):
        user = np.repeat(np.arange(60), generator.integers(1, 9, 60))
        value = generator.normal(0, 1, 60)[user] + generator.normal(0, 1, user.size)
        result = resample(stack([pooled(user, value, np.ones(user.size, bool), 60)]), 300)
        shown = interval(result.point[0], result.samples[:, 0])
        covered += shown.low <= 0 <= shown.high
    assert covered >= 0.87 * 120


def test_the_detectable_difference_is_two_and_a_half_standard_errors():
    generator = np.random.default_rng(3)
    base = np.ones(900)
    changed = base + generator.normal(0, 0.3, 900)
    mask = np.ones(900, bool)
    result = resample(stack([pooled(np.arange(900), value, mask, 900) for value in (changed, base)]), 1000)
    shown = difference((result.point[0], result.point[1]), (result.samples[:, 0], result.samples[:, 1]))
    assert shown.detectable == pytest.approx((1.6449 + 0.8416) * changed.std() / 30, rel=0.1)
