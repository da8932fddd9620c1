"""Every yardstick against the contract, by hand, and against brute force on random logs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from expectations.instants import DAY_US, HOUR_US
from model.arrays import Floats
from model.data.eligible_items import EligibleItems
from model.data.events import EventLog
from model.data.pair_signals import Requests, chain_scores
from model.data.successors import SuccessorLog
from model.evaluation import yardsticks
from model.evaluation.decay import decayed_changes
from model.evaluation.examples import Examples, history_ends
from model.evaluation.names import DECAYED, DECAYED_UNSEEN, FROZEN, MARKOV, MARKOV_NOW, MOVING
from model.evaluation.yardsticks import (
    DEFINITIONS,
    YardstickRanks,
    frozen_changes,
    markov_now_ranks,
    markov_ranks,
    moving_changes,
    popularity_lists,
    popularity_ranks,
    span_of,
)
from tests.model.data.test_successors import batch_log
from tests.model.evaluation.yardstick_contract import (
    DAY,
    ITEMS,
    Evidence,
    YardstickContract,
    evidence,
    log_of,
    transitions_of,
)
from tests.model.window_of import eligible, examples


def moving(window: Examples, pool: EligibleItems, past: EventLog, delay_hours: float) -> Floats:
    changes = moving_changes(past, delay_hours, 7, *span_of(window.event_at_us))
    return popularity_ranks(window, pool, changes, history_ends(window, "replay", delay_hours, 0)).rank


def frozen(window: Examples, pool: EligibleItems, past: EventLog, split_us: int) -> Floats:
    changes = frozen_changes(past, pool.column.size, split_us, 7)
    return popularity_ranks(window, pool, changes, history_ends(window, "replay", 0.0, 0)).rank


def decayed(seen: Evidence, half_life_hours: float) -> YardstickRanks:
    span = span_of(seen.examples.event_at_us)
    changes = decayed_changes(seen.log, half_life_hours, seen.delay_hours, *span)
    return popularity_ranks(seen.examples, seen.eligible, changes, seen.ends)


class TestMovingPopularity(YardstickContract):
    name = MOVING
    is_frozen = False
    # In [5 d, 12 d): items 0 and 1 twice, item 2 once, 3 and 4 never.
    by_hand = (3 / 2, 3 / 2, 3, 9 / 2, 9 / 2)

    def ranks(self, seen: Evidence) -> Floats:
        return moving(seen.examples, seen.eligible, seen.log, seen.delay_hours)


class TestFrozenPopularity(YardstickContract):
    name = FROZEN
    # In (3 d, 10 d]: item 1 twice, item 2 once, 0, 3 and 4 never.
    by_hand = (4, 1, 2, 4, 4)

    def ranks(self, seen: Evidence) -> Floats:
        return frozen(seen.examples, seen.eligible, seen.log, seen.split_us)


class TestDecayedPopularity(YardstickContract):
    name = DECAYED
    is_frozen = False
    # At 12 d with a half-life of 1 d: item 0 has 2^−11 + 2^−1 + 2^−1/2, item 2 has 2^−5, item 1 has 2^−7 + 2^−6.
    by_hand = (1, 3, 2, 9 / 2, 9 / 2)

    def ranks(self, seen: Evidence) -> Floats:
        return decayed(seen, 24.0).rank


class TestDecayedPopularityUnseenFirst(YardstickContract):
    name = DECAYED_UNSEEN
    is_frozen = False
    # As above, and every user has item 2 already.
    by_hand = (1, 2, 5, 7 / 2, 7 / 2)
    without_evidence = (5 / 2, 5 / 2, 5, 5 / 2, 5 / 2)

    def ranks(self, seen: Evidence) -> Floats:
        return decayed(seen, 24.0).unseen_first


class TestMarkovChain(YardstickContract):
    name = MARKOV
    # Item 3 follows the last event, item 2; the others by frozen popularity.
    by_hand = (9 / 2, 2, 3, 1, 9 / 2)

    def ranks(self, seen: Evidence) -> Floats:
        return markov_ranks(
            seen.examples, seen.eligible, seen.log, seen.transitions, seen.ends, seen.split_us, 7
        ).rank


class TestMarkovChainAsOfTheRequest(YardstickContract):
    name = MARKOV_NOW
    # As the chain: what follows what was known before the split.
    by_hand = (9 / 2, 2, 3, 1, 9 / 2)

    def ranks(self, seen: Evidence) -> Floats:
        first, second = seen.transitions.nonzero()
        number = [int(seen.transitions[pair]) for pair in zip(first, second, strict=True)]
        rows = [
            (int(after), DAY_US, [int(before)])
            for before, after, times in zip(first, second, number, strict=True)
            for _ in range(times)
        ]
        return self.chain_ranks(seen, batch_log(rows))

    def chain_ranks(self, seen: Evidence, successors: SuccessorLog) -> Floats:
        requests = Requests(seen.examples.user, seen.ends, seen.request_us)
        chain = chain_scores(seen.examples.histories, requests, successors, ITEMS)
        return markov_now_ranks(
            seen.examples, seen.eligible, seen.log, chain, seen.ends, seen.split_us, 7
        ).rank

    def test_what_followed_before_the_request_counts_and_what_followed_later_does_not(self):
        seen = evidence()
        at_us = int(seen.request_us[0])
        before, after = (self.chain_ranks(seen, batch_log([(4, at, [2])] * 2)) for at in (at_us - 1, at_us))
        assert before[4] == 1 and after.tolist() == self.chain_ranks(seen, batch_log([])).tolist()


def test_every_yardstick_is_held_to_the_contract():
    assert {case.name for case in YardstickContract.__subclasses__()} == set(DEFINITIONS)


def test_moving_popularity_counts_the_seven_days_before_the_request():
    # At day 10 the window [3 d, 10 d) holds items 1, 1, 2; the event at day 10 itself does not count.
    past = log_of(
        (0, 2 * DAY), (0, 2.9 * DAY), (1, 3 * DAY), (1, 4 * DAY), (2, 9 * DAY), (2, 10 * DAY), (2, 10 * DAY)
    )
    window = examples([[(1, 10 * DAY)], [(2, 10 * DAY)], [(0, 10 * DAY)]], [[0], [0], [0]], items=5)
    ranks = moving(window, eligible(5), past, 0.0)
    assert ranks.tolist() == [1, 2, 3 + 1]  # items 0, 3 and 4 share ranks 3 to 5


def test_more_days_than_seven_may_count_and_the_whole_log():
    past = log_of((0, 1.0), (0, 2.0), (1, 20 * DAY), (1, 29 * DAY), (1, 29 * DAY), (2, 29 * DAY))
    window = examples([[(item, 30 * DAY)] for item in range(3)], [[0]] * 3, items=3)
    pool, span = eligible(3), span_of(window.event_at_us)
    ends = history_ends(window, "replay", 0.0, 0)
    for days, ranks in ((7, [3, 1, 2]), (28, [3, 1, 2]), (None, [2, 1, 3])):
        for changes in (
            moving_changes(past, 0.0, days, *span),
            frozen_changes(past, 3, 29 * DAY_US, days),
        ):
            assert popularity_ranks(window, pool, changes, ends).rank.tolist() == ranks


def test_lists_of_ten_are_counted_for_every_label():
    past = log_of(*((item, 1.0) for item in range(3)), (12, 2.0), (12, 3.0))
    window = examples([[(0, 30.0)], [(1, 40.0)]], [[0], [0]], items=13, launched_hours={1: 35.0})
    changes = moving_changes(past, 0.0, 7, *span_of(window.event_at_us))
    shown = popularity_lists(window, eligible(13, {1: 35.0}), changes)
    # Ties in order of launch: item 1 comes last, but for those without an event.
    assert shown.tolist() == [2, 1, 2, 2, 2, 2, 2, 2, 2, 1, 0, 0, 2]


def test_a_delay_moves_the_request_back():
    past = log_of((1, 1.0), (0, 30.0), (0, 40.0))
    window = examples([[(1, 60.0)]], [[0]], items=2)
    assert moving(window, eligible(2), past, 0.0).tolist() == [2]
    assert moving(window, eligible(2), past, 48.0).tolist() == [1]


def test_frozen_popularity_counts_seven_days_up_to_and_including_the_split():
    past = log_of((0, 1.0), (1, 8 * DAY), (1, 8 * DAY + 1))
    window = examples([[(0, 20 * DAY)], [(1, 20 * DAY)]], [[0], [0]], items=3)
    ranks = frozen(window, eligible(3), past, 8 * DAY_US)
    assert ranks.tolist() == [2 + 1 / 2, 1]  # item 0 is 7 days and 23 hours old: no longer counted


def test_a_label_is_eligible_from_its_launch_on():
    launched = {2: 50.0}
    window = examples([[(2, 40.0)], [(2, 50.0)]], [[0], [0]], items=3, launched_hours=launched)
    pool = eligible(3, launched)
    assert moving(window, pool, log_of((2, 1.0)), 0.0).tolist() == [3, 1]
    assert frozen(window, pool, log_of((2, 1.0)), 9 * HOUR_US).tolist() == [3, 1]


def test_the_chain_weights_recent_events_more_and_orders_the_rest_by_popularity():
    # History 0, 1: item 2 scores 1 · 1 = 1, item 3 scores 2 · 0.7 = 1.4; 4 and 5 are unscored.
    transitions = transitions_of(6, (1, 2, 1.0), (0, 3, 2.0))
    users = [[(0, 1.0), (1, 2.0), (label, 5.0)] for label in (3, 2, 4, 5)]
    window = examples(users, [[2]] * 4, items=6)
    past = log_of((5, 0.5), (5, 0.6), (0, 1.0))
    ends = history_ends(window, "replay", 0.0, 0)
    ranks = markov_ranks(window, eligible(6), past, transitions, ends, 3 * HOUR_US, 7).rank
    # Unscored: 5 (two events), 0 (one), then 1 and 4 with none.
    assert ranks.tolist() == [1, 2, 5 + 1 / 2, 3]


def test_the_chain_of_an_empty_history_is_frozen_popularity():
    window = examples([[(1, 5.0)]], [[0]], items=3)
    past, split_us = log_of((0, 1.0), (0, 2.0), (1, 2.0)), 3 * HOUR_US
    ends = history_ends(window, "replay", 0.0, 0)
    ranks = markov_ranks(window, eligible(3), past, transitions_of(3, (0, 2, 5.0)), ends, split_us, 7).rank
    assert ranks.tolist() == frozen(window, eligible(3), past, split_us).tolist() == [2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 30.0]))
def test_every_yardstick_agrees_with_brute_force(seed, delay):
    draw = np.random.default_rng(seed)
    items, split = 9, 300.0
    launched = {item: float(draw.integers(0, 600)) for item in range(0, items, 3)}
    past = log_of(*sorted(zip(draw.integers(0, items, 80), draw.integers(0, 600, 80).astype(float), strict=True),
                       key=lambda event: event[1]))  # fmt: skip
    users = [
        [
            (int(draw.integers(0, items)), float(hour))
            for hour in sorted(draw.integers(0, 600, draw.integers(1, 9)))
        ]
        for _ in range(4)
    ]
    window = examples(users, [list(range(len(user))) for user in users], items, launched)
    pool = eligible(items, launched, retired=(4,))
    ends = history_ends(window, "replay", delay, 0)
    counts = draw.integers(0, 3, (items, items)).astype(float)
    split_us = round(split * HOUR_US)

    def brute(number: int, score: np.ndarray, second: np.ndarray, without: tuple[int, ...] = ()) -> float:
        hour, own = window.event_at_us[number] / HOUR_US, window.item_index[number]
        there = [item for item in range(items) if item != 4 and launched.get(item, -1.0) <= hour]
        rivals = [item for item in there if item not in without]
        if own not in rivals:
            return len(rivals) + 1
        key = [(round(score[item], 9), second[item]) for item in range(items)]
        return (
            1
            + sum(key[item] > key[own] for item in rivals)
            + (sum(key[i] == key[own] for i in rivals) - 1) / 2
        )

    hours = past.event_at_us / HOUR_US
    until_split = np.bincount(past.item_index[(hours > split - 7 * DAY) & (hours <= split)], minlength=items)
    moving_ranks = moving(window, pool, past, delay)
    frozen_ranks = frozen(window, pool, past, split_us)
    chain = markov_ranks(window, pool, past, sparse.csr_array(counts), ends, split_us, 7)
    by_decay = decayed(Evidence(window, pool, past, sparse.csr_array(counts), delay), 100.0)
    for number in range(window.size):
        request = window.event_at_us[number] / HOUR_US - delay
        recent = np.bincount(
            past.item_index[(hours >= request - 7 * DAY) & (hours < request)], minlength=items
        )
        last = window.histories.item_index[window.histories.offset[window.user[number]] : ends[number]][::-1][
            :5
        ]
        score = sum((0.7**back * counts[item] for back, item in enumerate(last)), np.zeros(items))
        assert moving_ranks[number] == brute(number, recent, np.zeros(items))
        assert frozen_ranks[number] == brute(number, until_split, np.zeros(items))
        assert chain.rank[number] == brute(number, score, until_split)
        past_hours, past_item = hours[hours < request], past.item_index[hours < request]
        recency = np.bincount(past_item, weights=2.0 ** ((past_hours - request) / 100), minlength=items)
        has = window.histories.item_index[window.histories.offset[window.user[number]] : ends[number]]
        own_last = np.ones(items)
        own_last[has] = 0
        assert by_decay.rank[number] == brute(number, recency, np.zeros(items))
        assert by_decay.unseen_first[number] == brute(number, own_last, np.round(recency, 9))
        for ranks, *scores in ((by_decay, recency, np.zeros(items)), (chain, score, until_split)):
            if window.item_index[number] in has:
                assert np.isnan(ranks.rank_unseen[number])
            else:
                assert ranks.rank_unseen[number] == brute(number, *scores, tuple(has))


def test_blocks_of_examples_do_not_change_the_chain(monkeypatch):
    users = [[(0, 1.0), (1, 2.0), (label, 5.0)] for label in (3, 2, 4, 5)]
    window = examples(users, [[2]] * 4, items=6)
    ends = history_ends(window, "replay", 0.0, 0)
    transitions = transitions_of(6, (1, 2, 1.0), (0, 3, 2.0))
    arguments = (window, eligible(6), log_of((5, 0.5)), transitions, ends, HOUR_US, 7)
    whole = markov_ranks(*arguments).rank
    monkeypatch.setattr(yardsticks, "CHAIN_BLOCK", 1)
    assert (markov_ranks(*arguments).rank == whole).all()


def test_moving_popularity_of_many_labels_is_that_of_counting_each_window():
    draw = np.random.default_rng(4)
    items, size = 30, 3000
    hours = np.sort(draw.uniform(0, 60 * DAY, size)).round()  # many at the same instant
    past = log_of(*zip((draw.zipf(1.5, size) % items).tolist(), hours.tolist(), strict=True))
    launched = {item: float(draw.integers(20, 55)) * DAY for item in range(0, items, 4)}
    labels = sorted(
        (round(hour), int(item))
        for hour, item in zip(
            draw.uniform(25 * DAY, 60 * DAY, 200), draw.integers(0, items, 200), strict=True
        )
    )
    window = examples([[(item, float(hour)) for hour, item in labels]], [list(range(200))], items, launched)
    pool = eligible(items, launched)
    for delay in (0.0, 31.0):
        ranks = moving(window, pool, past, delay)
        for rank, (hour, own) in zip(ranks.tolist(), labels, strict=True):
            recent = (hours >= hour - delay - 7 * DAY) & (hours < hour - delay)
            count = np.bincount(past.item_index[recent], minlength=items)
            there = np.array([launched.get(item, 0.0) <= hour for item in range(items)])
            higher, equal = (count[there] > count[own]).sum(), (count[there] == count[own]).sum()
            assert rank == (1 + higher + (equal - 1) / 2 if there[own] else there.sum() + 1)


def test_an_item_that_the_user_has_ranks_by_popularity_below_all_that_he_has_not():
    past = log_of((0, 1.0), (0, 2.0), (1, 2.5))
    users = [[(0, 3.0), (1, 3.5), (label, 5.0)] for label in (0, 1, 2, 3)]
    window = examples(users, [[2]] * 4, items=4)
    seen = Evidence(window, eligible(4), past, transitions_of(4))
    assert decayed(seen, 1.0).rank.tolist() == [1, 2, 7 / 2, 7 / 2]
    assert decayed(seen, 1.0).unseen_first.tolist() == [3, 4, 3 / 2, 3 / 2]
