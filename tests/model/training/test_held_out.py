"""Held-out labels and the MRR on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from expectations.instants import SECOND_US
from model.config import ObjectiveConfig
from model.data.batches import LabelInterval, TrainingBatches
from model.training.held_out import (
    MOST_EXAMPLES,
    held_out,
    held_out_interval,
    held_out_mrr,
    label_times,
)
from tests.model import lake, tiny
from tests.model.rows import sequences

HOUR = lake.HOUR
EVERYTHING = LabelInterval(None, 10**15)


def examples_of(found) -> list[tuple[int, int, int]]:
    """(item at the position to rank from, label) of every example, in order of label; −1: a start token."""
    rows = []
    for batch in found.batches:
        items, starts = batch.item_index.flatten(), batch.is_start.flatten()
        for slot, label in zip(batch.label_slot, batch.label_item[:, 0], strict=True):
            rows.append((-1 if starts[slot] else int(items[slot]), int(label)))
    return sorted(rows, key=lambda row: row[1])


def test_a_label_is_ranked_from_the_last_event_strictly_before_it(tmp_path):
    times = {10: (0, 1.0), 11: (HOUR, 0.0), 12: (2 * HOUR, 1.0), 13: (2 * HOUR, 1.0), 14: (3 * HOUR, 1.0)}
    users = {"u": [(item, at, reward) for item, (at, reward) in times.items()]}
    found = held_out(sequences(tmp_path, users), EVERYTHING, 64, 17, seed=1)
    # 10 is the first event and ranked from the start token; 12 and 13 are tied, so both are ranked from 11.
    assert examples_of(found) == [(-1, 10), (11, 12), (11, 13), (13, 14)]


def test_only_labels_of_the_interval_at_loss_positions_are_examples(tmp_path):
    walk = [(n, n * HOUR, 1.0) for n in range(30)]
    data = sequences(tmp_path, {"u": walk})
    assert [label for _, label in examples_of(held_out(data, EVERYTHING, 64, 17, 1))] == list(range(30))
    found = held_out(data, LabelInterval(9 * HOUR, 20 * HOUR), 64, 17, 1)
    assert [label for _, label in examples_of(found)] == list(range(10, 21))
    assert found.examples == 11


def test_the_held_out_end_is_cut_by_days_and_by_a_quarter_of_time_and_labels():
    evenly, whole = np.arange(1, 9), LabelInterval(0, 8)
    # At most two of eight labels and two of eight microseconds, whatever longer end is asked for.
    assert held_out_interval(evenly, whole, 4) == (LabelInterval(0, 6), LabelInterval(6, 8))
    assert held_out_interval(evenly, whole, 1) == (LabelInterval(0, 7), LabelInterval(7, 8))
    # Six of eight labels lie at the very end: a quarter of the time would hold out too many of them.
    late = np.array([8, 1, 2, 7, 7, 7, 8, 7])
    assert held_out_interval(late, whole, 4)[1] == LabelInterval(7, 8)
    # A first cycle begins at its first label.
    assert held_out_interval(np.arange(101, 109), LabelInterval(None, 109), 99)[1] == LabelInterval(107, 109)
    assert held_out_interval(np.array([3]), whole, 4)[1] == LabelInterval(6, 8)


def test_label_times_are_those_of_the_intervals_high_value_events(tmp_path):
    data = sequences(tmp_path, {"u": [(n, n * HOUR, float(n % 2)) for n in range(30)]})
    found = label_times(data, LabelInterval(9 * HOUR, 20 * HOUR))
    assert sorted(found.tolist()) == [n * HOUR for n in range(11, 20, 2)]


def test_no_label_is_both_held_out_and_trained_on(tmp_path):
    users = lake.histories()
    data = sequences(tmp_path, users)
    until = 15 * lake.DAY
    objective = ObjectiveConfig(label_window=3, half_life_hours=None)
    trained = TrainingBatches(data, objective, LabelInterval(None, until), 64, 17, 1.0, seed=1)
    later = sum(reward > 0 and at > until for history in users.values() for _, at, reward in history)
    assert held_out(data, LabelInterval(until, 10**15), 64, 17, 1).examples == later > 0
    for step in range(len(trained)):
        batch = trained[step]
        at = batch.event_at_seconds.flatten()[batch.label_slot]
        assert (at < until / SECOND_US).all()


def test_many_examples_are_sampled_by_the_seed(tmp_path, monkeypatch):
    monkeypatch.setattr("model.training.held_out.MOST_EXAMPLES", 7)
    data = sequences(tmp_path, lake.histories())
    first, again = (held_out(data, EVERYTHING, 64, 17, seed=1) for _ in range(2))
    assert MOST_EXAMPLES > 7 == first.examples
    assert examples_of(first) == examples_of(again)
    assert examples_of(first) != examples_of(held_out(data, EVERYTHING, 64, 17, seed=2))


def test_mrr_equals_that_of_scores_computed_singly(tmp_path):
    data = sequences(tmp_path, lake.histories(users=5))
    found = held_out(data, EVERYTHING, 64, 17, seed=1)
    model, catalogue = tiny.recommender(40, context_fields=()), tiny.catalogue(64, 40)
    eligible = torch.arange(0, 64, 2)
    expected = []
    with torch.no_grad():
        vectors = model.item_vectors(eligible, catalogue)
        for batch in found.batches:
            hidden = model.encode(batch, catalogue).flatten(0, 1)
            for slot, label in zip(batch.label_slot, batch.label_item[:, 0], strict=True):
                scores = model.user_vectors(hidden[slot]) @ vectors.T
                own = scores[eligible == label]
                expected.append(1 / (1 + int((scores > own + 1e-6).sum())) if len(own) else 1 / 33)
    model.train()
    mrr = held_out_mrr(model, catalogue, eligible, found)
    assert mrr == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    assert model.training


def test_without_examples_the_mrr_is_nan(tmp_path):
    data = sequences(tmp_path, lake.histories(users=3))
    found = held_out(data, LabelInterval(10**14, 10**15), 64, 17, 1)
    model = tiny.recommender(40, context_fields=())
    assert found.examples == 0
    assert math.isnan(held_out_mrr(model, tiny.catalogue(64, 40), torch.arange(64), found))
