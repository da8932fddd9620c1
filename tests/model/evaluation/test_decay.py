"""Decayed popularity by hand, against exact arithmetic, and the choice of its half-life."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.instants import HOUR_US
from model.evaluation.decay import HALF_LIVES_HOURS, choose_half_life, decayed_changes, decayed_keys
from tests.model.evaluation.yardstick_contract import log_of, with_events
from tests.model.window_of import eligible

YEAR = 8766.0


def order(keys: np.ndarray) -> list[int]:
    """Dense ranks, smallest first."""
    return np.unique(keys, return_inverse=True)[1].tolist()


def test_keys_have_the_order_of_the_scores_and_ties_are_ties():
    # In units of an event at 2 h, with a half-life of 1 h: item 0 has 1/4 then 3/4, item 1 has 1/2 then 1,
    # item 2 has 1.
    log = log_of((0, 0.0), (0, 1.0), (1, 1.0), (1, 1.0), (2, 2.0))
    assert order(decayed_keys(log, 1.0)) == [0, 2, 1, 3, 3]


def test_no_gap_is_too_long_and_no_event_too_old():
    # 1,000 half-lives and more between events, 60 years in all.
    hours = [-30 * YEAR, 0.0, 1001.0, 5000.0, 30 * YEAR]
    keys = decayed_keys(log_of(*enumerate(hours)), 1.0)
    assert (np.diff(keys) > 0).all() and keys[0] > 0
    same_item = decayed_keys(log_of(*((0, hour) for hour in hours)), 1.0)
    assert same_item.tolist() == keys.tolist()  # what came before has decayed


def test_a_recent_event_outweighs_any_number_of_old_ones_only_as_far_as_it_decayed():
    # Eight events at 0 h weigh as much as one at 3 h.
    log = log_of(*[(0, 0.0)] * 8, (1, 3.0))
    assert decayed_keys(log, 1.0)[7] == decayed_keys(log, 1.0)[8]
    nine = log_of(*[(0, 0.0)] * 9, (1, 3.0))
    assert decayed_keys(nine, 1.0)[8] > decayed_keys(nine, 1.0)[9]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(HALF_LIVES_HOURS))
def test_keys_agree_with_sums_of_powers_of_two(seed, half_life):
    draw = np.random.default_rng(seed)
    hours = np.sort(draw.integers(0, 12, 40)) * half_life / 4
    items = draw.integers(0, 6, 40)
    keys = decayed_keys(log_of(*zip(items.tolist(), hours.tolist(), strict=True)), half_life)
    scores = [
        sum(2.0 ** (hours[other] / half_life) for other in range(event + 1) if items[other] == items[event])
        for event in range(40)
    ]
    assert order(keys) == order(np.round(scores, 9))


def test_an_event_counts_for_labels_later_by_more_than_the_delay():
    log = log_of((4, 0.0), (4, 1.0), (2, 1.0), (2, 5.0), (1, 9.0))
    changes = decayed_changes(log, 1.0, 2.0, round(3 * HOUR_US), round(8 * HOUR_US))
    assert changes.item_index.tolist() == [4, 4, 2, 2]  # the last of each item by 3 h, then those until 8 h
    assert changes.from_us.tolist() == [hour * HOUR_US + 1 for hour in (2, 3, 3, 7)]
    assert (changes.level > 0).all()


def test_the_half_life_of_the_highest_mrr_is_chosen():
    # Item 0 was popular for long; now each of the others is for four hours.
    rows = [(0, float(hour)) for hour in range(500)]
    rows += [((hour // 4) % 5 + 1, 500.0 + hour) for hour in range(100)]
    log = log_of(*rows)
    labels = log_of(*rows[500:])
    chosen = choose_half_life(log, labels, eligible(6))
    assert chosen.hours == 1.0 and chosen.labels == 100
    assert chosen.mrr[1.0] == max(chosen.mrr.values()) and tuple(chosen.mrr) == HALF_LIVES_HOURS
    steady = [(item, 10.0 * hour + item) for hour in range(60) for item in (0, 0, 0, 1, 1, 2)]
    steady = sorted(steady, key=lambda event: event[1])
    long = choose_half_life(log_of(*steady), log_of(*steady[100:]), eligible(6))
    assert long.hours > 1.0


def test_without_a_label_the_longest_half_life_is_taken():
    chosen = choose_half_life(log_of((0, 1.0)), log_of(), eligible(2))
    assert (chosen.hours, chosen.labels, chosen.mrr) == (17280.0, 0, {})


def test_a_label_that_is_not_eligible_counts_at_the_rank_after_all():
    chosen = choose_half_life(log_of((0, 1.0)), log_of((1, 2.0)), eligible(3, retired=(1,)))
    assert set(chosen.mrr.values()) == {1 / 3}


@pytest.mark.parametrize("hour", [2.0, 3.0])
def test_an_event_at_or_after_a_label_does_not_help_to_rank_it(hour):
    log, labels = log_of((0, 1.0)), log_of((1, 2.0))
    planted = with_events(log, 1, [round(hour * HOUR_US)] * 3)
    assert (
        choose_half_life(planted, labels, eligible(3)).mrr == choose_half_life(log, labels, eligible(3)).mrr
    )
