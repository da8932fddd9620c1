"""Pair signals are those of a plain loop, and nothing from the request on is in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data import pair_signals
from model.data.pair_signals import (
    CHAIN_DECAY,
    CHAIN_EVENTS,
    FOLLOWED_PRIOR,
    NEAR_EVENTS,
    NEAR_PRIOR,
    SCALES,
    STRONG,
    PairLists,
    Requests,
    pair_lists,
    pairs_of,
)
from model.data.successors import SKIP_DECAY
from tests.model.data.test_successors import EVENTS, ITEMS, log_of, oracle

BUCKET = 4


@dataclass
class Log:
    offset: np.ndarray
    item_index: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    at: np.ndarray


def user_log(events: list[tuple[int, int, int]]) -> Log:
    """Histories of (user, item, time) triples; the action is item mod 3, odd items are high-value."""
    ordered = sorted(events, key=lambda event: (event[0], event[2]))
    users, item, at = (np.array(column) for column in zip(*ordered, strict=True))
    offset = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=3))])
    return Log(offset, item.astype(np.int32), item % 3, (item % 2).astype(np.float32), at)


def requests_at(log: Log, at: int) -> Requests:
    """A request of every user at an instant; the history is what lies before it."""
    users = np.arange(3)
    end = np.array([log.offset[u] + (log.at[log.offset[u] : log.offset[u + 1]] < at).sum() for u in users])
    return Requests(users, end, np.full(3, at))


@settings(max_examples=60, deadline=None)
@given(events=EVENTS, at=st.integers(0, 24))
def test_lists_are_those_of_a_loop(events, at):
    log, successors = user_log(events), log_of(events)
    requests = requests_at(log, at)
    lists = pair_lists(log, requests, successors, ITEMS, BUCKET)
    followed, near = oracle(successors, at // BUCKET * BUCKET)
    for user in range(3):
        history = log.item_index[log.offset[user] : requests.end[user]][::-1]  # newest first
        chain, first, often, close = (np.zeros(ITEMS) for _ in range(4))
        for back, item in enumerate(history[:NEAR_EVENTS]):
            if back < CHAIN_EVENTS:
                often += CHAIN_DECAY**back * followed[item]
                chain += CHAIN_DECAY**back * followed[item] / (followed[item].sum() + FOLLOWED_PRIOR)
            if back == 0:
                first = followed[item] / (followed[item].sum() + FOLLOWED_PRIOR)
            close += SKIP_DECAY**back * near[item] / (near[item].sum() + NEAR_PRIOR)
        expected = sorted({*history.tolist(), *np.flatnonzero(close + chain).tolist()})
        own = slice(lists.first[user], lists.first[user] + lists.count[user])
        assert lists.item_index[own].tolist() == expected
        signals = lists.signals(np.arange(own.start, own.stop), actions=3)
        for item, values in zip(expected, signals, strict=True):
            places = np.flatnonzero(history == item)
            seen = places.size > 0
            assert values[0] == 0.5 * (seen and item % 2 == 1) and values[1] == 0.5 * (seen and item % 2 == 0)
            assert values[2] == pytest.approx(0.5 / np.sqrt(places[0] + 1) if seen else 0, abs=1e-3)
            assert values[3] == 0.5 * (seen and places[0] == 0)
            assert values[4:7].tolist() == [0.5 * (seen and item % 3 == action) for action in range(3)]
            counts = np.log1p(np.array([chain[item], first[item], often[item], close[item]]) / SCALES) / 2
            assert values[7:] == pytest.approx(counts, abs=4e-3)


def test_events_at_or_after_the_request_change_no_list():
    events = [(0, 1, 1), (0, 2, 3), (1, 1, 2), (1, 3, 5), (2, 4, 6), (2, 2, 7)]
    planted = [(0, 5, 9), (1, 4, 9), (2, 3, 10), (1, 1, 10)]
    plain, later = user_log(events), user_log(events + planted)
    before = pair_lists(plain, requests_at(plain, 9), log_of(events), ITEMS, BUCKET)
    after = pair_lists(later, requests_at(later, 9), log_of(events + planted), ITEMS, BUCKET)
    for name in ("first", "count", "item_index", "flags", "recency", "counts"):
        assert np.array_equal(getattr(before, name), getattr(after, name))


def test_of_many_successors_the_best_are_kept(monkeypatch):
    monkeypatch.setattr(pair_signals, "BEST_SUCCESSORS", 2)
    events = [(user, item, 10 * user + step) for user in range(2) for step, item in enumerate((0, 1, 0, 2))]
    events += [(2, 0, 30), (2, 3, 31), (2, 0, 40)]
    log = user_log(events)
    lists = pair_lists(log, requests_at(log, 60), log_of(events), ITEMS, BUCKET)
    own = lists.item_index[lists.first[2] : lists.first[2] + lists.count[2]]
    assert own.tolist() == [0, 1, 2, 3]  # 0 and 3 were had before; of the others 1 and 2 are the best


def test_labels_are_found_in_their_lists():
    events = [(0, 1, 1), (0, 2, 3), (1, 1, 2), (2, 5, 2)]
    log = user_log(events)
    lists = pair_lists(log, requests_at(log, 8), log_of(events), ITEMS, BUCKET)
    is_label = np.array([[True, True], [True, False], [True, True]])
    pairs = pairs_of(lists, np.array([0, 2, 1]), np.array([[2, 4], [5, 0], [1, 2]]), is_label, 3)
    assert pairs.position.tolist() == [0, 0, 1, 2, 2] and pairs.item.tolist() == [1, 2, 5, 1, 2]
    assert pairs.label.tolist() == [[1, -1], [2, -1], [3, 4]]
    assert pairs.signals.shape == (5, 4 + 3 + 4)
    some = pairs.positions(torch.tensor([1, 2]))
    assert some.position.tolist() == [0, 1, 1] and some.item.tolist() == [5, 1, 2]


def test_a_sample_keeps_the_strongest_pairs_and_labels_and_stands_for_all():
    rng = np.random.default_rng(0)
    items, wanted = 300, 90
    flags = np.where(np.arange(items) < 20, STRONG, 0).astype(np.uint32)
    lists = PairLists(
        np.array([0]), np.array([items]), np.arange(items, dtype=np.int32), flags,
        np.zeros(items, np.float16), rng.random((items, 4)).astype(np.float16),
    )  # fmt: skip
    label, is_label, request = np.array([[wanted]]), np.array([[True]]), np.zeros(1, np.int64)
    whole = pairs_of(lists, request, label, is_label, 3)
    value = torch.rand(items, generator=torch.Generator().manual_seed(1))
    sums = []
    for seed in range(400):
        pairs = pairs_of(lists, request, label, is_label, 3, np.random.default_rng(seed))
        kept = pairs.item.tolist()
        assert set(range(20)) <= set(kept) and kept[pairs.label[0, 0]] == wanted and len(kept) < 80
        rival = pairs.item != wanted
        sums.append(float((value[pairs.item] * pairs.log_weight.exp())[rival].sum()))
        assert torch.equal(pairs.signals, whole.signals[pairs.item])
    expected = float(value.sum() - value[wanted])
    assert np.mean(sums) == pytest.approx(expected, abs=4 * np.std(sums) / np.sqrt(len(sums)))
    assert whole.log_weight.tolist() == [0.0] * items
