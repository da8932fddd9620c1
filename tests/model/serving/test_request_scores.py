"""Scores of requests are one product without signals, and those of the term's definition with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from expectations.instants import HOUR_US
from model.data.pair_signals import Requests, pair_lists
from model.data.signals import Signals
from model.network.recommender import score
from model.serving.encoding import encode_histories
from model.serving.request_scores import RequestScores
from tests.model import tiny
from tests.model.data.test_successors import batch_log
from tests.model.network.test_item_signals import table_of
from tests.model.window_of import histories

ITEMS = 4
HISTORIES = histories([[(1, 0.0), (2, 1.5)], [(2, 0.5), (0, 2.2), (1, 9.0)], [(3, 1.0)]], [[], [], []])
USER, END = np.array([0, 1, 2]), np.array([2, 4, 5])
AT = np.array([12, 12, 30]) * HOUR_US + 5
SUCCESSORS = batch_log([(2, int(1.5 * HOUR_US), [1]), (0, int(2.2 * HOUR_US), [2]), (1, 9 * HOUR_US, [0, 2])])
SIGNALS = Signals(
    table_of([(1, 0.0, False), (2, 1.5, True), (2, 0.5, True), (0, 2.2, False), (1, 9.0, True)]),
    SUCCESSORS,
)
CATALOGUE = tiny.catalogue(ITEMS)


def test_without_signals_scores_are_products_of_vectors_whatever_the_time():
    model, eligible = tiny.recommender(ITEMS), np.array([3, 0, 2])
    with torch.inference_mode():
        users, scores = RequestScores(model, CATALOGUE, 8).scores(HISTORIES, USER, END, AT, eligible)
        expected = encode_histories(model, CATALOGUE, HISTORIES, USER, END, 8)
        vectors = model.item_vectors(torch.from_numpy(eligible), CATALOGUE)
    assert torch.allclose(users, expected, atol=1e-6)
    assert torch.allclose(scores, score(expected, vectors), atol=1e-5)


@pytest.mark.parametrize("terms", [(3, True), (3, False), (0, True)])
def test_with_signals_each_term_is_added_as_of_the_request(terms):
    half_lives, has_pairs = terms
    model = tiny.recommender(ITEMS, half_lives=half_lives, pair_signals=has_pairs, seed=3)
    with torch.inference_mode():
        requests = RequestScores(model, CATALOGUE, 8, SIGNALS)
        users, scores = requests.scores(HISTORIES, USER, END, AT, np.arange(ITEMS))
        expected = _by_definition(model, users)
    assert torch.allclose(scores, expected, atol=1e-5)


def _by_definition(model, users: torch.Tensor) -> torch.Tensor:
    """Scores term by term, pair by pair."""
    everything, items = torch.arange(ITEMS), SIGNALS.items
    taste, item_weights, pair_weights = model.split(users)
    scores = score(taste, model.item_vectors(everything, CATALOGUE))
    lists = pair_lists(HISTORIES, Requests(USER, END, AT), SUCCESSORS, ITEMS, HOUR_US)
    for user, at_us in enumerate(AT):
        at = items.floor(torch.tensor(at_us / 1e6, dtype=torch.float64)).expand(ITEMS)
        values = items.signals(items.rows_of(everything, at), everything, at, None)
        if model.item_term is not None:
            scores[user] += model.item_term.features(values) @ item_weights[user]
        if model.pair_term is not None:
            for pair in lists.first[user] + np.arange(lists.count[user]):
                item = int(lists.item_index[pair])
                pair_values = torch.from_numpy(lists.signals(np.array([pair]), 3))
                own = values[item, None] if model.item_term is not None else None
                scores[user, item] += (
                    model.pair_term.features(pair_values, own)[0] @ pair_weights[user]
                ).item()
    return scores


def test_a_request_that_is_earlier_than_the_last_one_is_answered_as_if_it_came_first():
    model = tiny.recommender(ITEMS, half_lives=3, pair_signals=True)
    with torch.inference_mode():
        requests = RequestScores(model, CATALOGUE, 8, SIGNALS)
        requests._counts._most_recent = 0  # so that pairs are merged at once
        first = requests.scores(HISTORIES, USER[:1], END[:1], AT[:1], np.arange(ITEMS))[1]
        requests.scores(HISTORIES, USER[2:], END[2:], AT[2:], np.arange(ITEMS))
        again = requests.scores(HISTORIES, USER[:1], END[:1], AT[:1], np.arange(ITEMS))[1]
    assert torch.equal(first, again)


def test_only_eligible_items_are_scored_in_the_order_given():
    model = tiny.recommender(ITEMS, half_lives=3, pair_signals=True)
    with torch.inference_mode():
        requests = RequestScores(model, CATALOGUE, 8, SIGNALS)
        whole = requests.scores(HISTORIES, USER, END, AT, np.arange(ITEMS))[1]
        some = requests.scores(HISTORIES, USER, END, AT, np.array([2, 0]))[1]
    assert torch.allclose(some, whole[:, [2, 0]], atol=1e-5)


def test_the_time_of_a_request_matters_to_the_state_only_where_it_is_given():
    model = tiny.recommender(ITEMS, request_time=True)
    torch.nn.init.normal_(model.request.outer.weight)
    with torch.inference_mode():
        requests = RequestScores(model, CATALOGUE, 8)
        timed, later, untimed, untimed_later = (
            requests.scores(HISTORIES, USER, END, at, np.arange(ITEMS), is_timed)[1]
            for is_timed, at in ((True, AT), (True, AT + 5 * HOUR_US), (False, AT), (False, AT + 5 * HOUR_US))
        )
    assert torch.equal(untimed, untimed_later)
    assert not torch.allclose(timed, later) and not torch.allclose(timed, untimed)


@pytest.mark.parametrize("merged", [0, 1000])
def test_with_more_items_the_scores_of_the_others_stay(merged):
    model = tiny.recommender(ITEMS, half_lives=3, pair_signals=True)
    wider = tiny.catalogue(ITEMS + 2, ITEMS)
    wider = replace(
        wider,
        features={
            name: torch.cat([CATALOGUE.features[name], m[ITEMS:]]) for name, m in wider.features.items()
        },
    )
    with torch.inference_mode():
        requests = RequestScores(model, CATALOGUE, 8, SIGNALS)
        requests._counts._most_recent = merged
        more = requests.extended(wider)
        found = more.scores(HISTORIES, USER, END, AT, np.arange(ITEMS + 2))[1]
        again = more.scores(HISTORIES, USER, END, AT, np.arange(ITEMS + 2))[1]
        expected = RequestScores(model, CATALOGUE, 8, SIGNALS).scores(
            HISTORIES, USER, END, AT, np.arange(ITEMS)
        )
        plain = requests.scores(HISTORIES, USER, END, AT, np.arange(ITEMS))
    assert torch.equal(found, again) and torch.equal(plain[1], expected[1])
    assert torch.allclose(found[:, :ITEMS], expected[1], atol=1e-5)
    assert requests._counts.merged_before_us > 0 or merged  # what the wider one merged is kept
    assert requests._counts.items == ITEMS
