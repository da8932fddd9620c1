"""Batches of a run: every label once an epoch, and a function of seed and step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.config import ObjectiveConfig
from model.data.batches import START, LabelInterval, TrainingBatches, coverage, labels_of, loss_positions
from model.data.cycle_tables import DatasetError
from tests.model import lake as tiny
from tests.model.rows import sequences

HOUR = tiny.HOUR
EVERYTHING = LabelInterval(None, 10**15)
MTP = ObjectiveConfig(label_window=3, half_life_hours=None, keep_own_item=True)


def batches(data, interval=EVERYTHING, objective=MTP, **changes) -> TrainingBatches:
    options = {"batch_tokens": 68, "row_length": 17, "epochs": 2.0, "seed": 1} | changes
    return TrainingBatches(data, objective, interval, **options)


def expected_pairs(users, after=None, until=10**15, count=3) -> Counter:
    """(item of the position, its time, item of the label) by definition; item −1 is the start token."""
    expected: Counter = Counter()
    for events in users.values():
        for item, at in [(-1, events[0][1] - 1)] + [(item, at) for item, at, _ in events]:
            later = [other for other, time, reward in events if reward > 0 and time > at]
            labels = list(dict.fromkeys(later))[:count]
            for label in labels:
                time = next(t for other, t, r in events if r > 0 and t > at and other == label)
                if (after is None or time > after) and time <= until:
                    expected[item, at, label] += 1
    return expected


def pairs(batches: TrainingBatches, steps) -> Counter:
    """The same from the batches of some steps."""
    actual: Counter = Counter()
    for step in steps:
        batch = batches[step]
        names = ("item_index", "is_start", "event_at_seconds")
        flat = {name: getattr(batch, name).flatten() for name in names}
        for slot, items, weights in zip(batch.label_slot, batch.label_item, batch.label_weight, strict=True):
            start = bool(flat["is_start"][slot])
            if start:  # a microsecond before its first event
                at = round(float(flat["event_at_seconds"][slot + 1]) * 1e6) - 1
            else:
                at = round(float(flat["event_at_seconds"][slot]) * 1e6)
            item = -1 if start else int(flat["item_index"][slot])
            for label, weight in zip(items.tolist(), weights.tolist(), strict=True):
                if weight > 0:
                    actual[item, at, label] += 1
    return actual


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_an_epoch_covers_every_loss_position_and_label_exactly_once(tmp_path_factory, seed):
    users = tiny.histories(users=6, seed=seed, days=40)
    data = sequences(tmp_path_factory.mktemp("lake"), users)
    run = batches(data, seed=seed)
    for epoch in range(2):
        steps = range(epoch * run.steps_per_epoch, (epoch + 1) * run.steps_per_epoch)
        assert pairs(run, steps) == expected_pairs(users)


@pytest.fixture
def data(tmp_path):
    return sequences(tmp_path, tiny.histories())


def test_batches_are_a_function_of_seed_and_step(data):
    first, again, other_seed = batches(data), batches(data), batches(data, seed=2)
    again[first.total_steps - 1]  # out of order
    for step in (0, first.steps_per_epoch, 1):
        assert (first[step].item_index == again[step].item_index).all()
        assert (first[step].label_slot == again[step].label_slot).all()
    assert any((first.rows_of(step)[:3] != other_seed.rows_of(step)[:3]).any() for step in range(3))
    assert (first.rows_of(0) != first.rows_of(first.steps_per_epoch)[: len(first.rows_of(0))]).any()


def test_batches_of_an_epoch_are_nearly_equal_and_epochs_may_be_fractions(data):
    run = batches(data, epochs=1.5)
    sizes = [len(run.rows_of(step)) for step in range(run.steps_per_epoch)]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == run.packing.rows
    assert len(run) == run.total_steps == round(1.5 * run.steps_per_epoch)
    assert run.packing.efficiency > 0.9


def test_only_labels_of_the_interval_are_trained_on(tmp_path):
    users = tiny.histories()
    after, until = 5 * tiny.DAY, 9 * tiny.DAY
    run = batches(sequences(tmp_path, users), LabelInterval(after, until))
    assert pairs(run, range(run.steps_per_epoch)) == expected_pairs(users, after, until)
    assert run.coverage.positions == sum(len(run[step].label_slot) for step in range(run.steps_per_epoch))


def test_a_label_outside_the_interval_changes_nothing(tmp_path):
    walk = [(n % 9, n * HOUR, 1.0) for n in range(12)]
    interval = LabelInterval(None, 9 * HOUR)
    plain = batches(sequences(tmp_path / "a", {"u": walk}), interval)
    marked = walk[:10] + [(60, at, 5.0) for _, at, _ in walk[10:]]
    planted = batches(sequences(tmp_path / "b", {"u": marked}), interval)
    assert pairs(plain, [0]) == pairs(planted, [0])


def test_context_has_no_loss_and_a_history_begins_with_a_start_token(data):
    losses = loss_positions(data, np.arange(data.rows), MTP)
    starts = losses.index == START
    assert (data.begins[losses.owner[starts]]).all() and starts.sum() == data.begins.sum()
    assert (losses.index[~starts] >= data.loss_start[losses.owner[~starts]]).all()
    assert len(losses.owner) == (data.length - data.loss_start).sum() + data.begins.sum()


def test_tied_events_can_have_the_last_one_as_their_only_loss_position(tmp_path):
    users = {"u": [(1, 0, 0.0), (2, 0, 0.0), (3, HOUR, 0.0), (4, HOUR, 0.0), (5, 2 * HOUR, 1.0)]}
    data = sequences(tmp_path, users)
    last = MTP.model_copy(update={"tied_positions": "last"})
    assert loss_positions(data, np.array([0]), last).index.tolist() == [START, 1, 3, 4]
    assert loss_positions(data, np.array([0]), MTP).index.tolist() == [START, 0, 1, 2, 3, 4]


def test_labels_are_taken_from_the_row_and_then_from_its_tail(tmp_path):
    walk = [(n, n * HOUR, float(n in (3, 17, 18))) for n in range(20)]
    data = sequences(tmp_path, {"u": walk})
    losses, sets = labels_of(data, np.array([0]), MTP, EVERYTHING)
    first = sets.item_index[losses.index[sets.position] == 0]
    assert first.tolist() == [[3, 17, 18]]


def test_a_batch_has_the_time_of_every_positions_first_label(tmp_path):
    users = {"u": [(1, 0, 0.0), (2, HOUR, 1.0), (3, 3 * HOUR, 1.0)]}
    batch = batches(sequences(tmp_path, users), LabelInterval(HOUR, 10**15))[0]
    # Item 2 at 1 h is not in the interval: the first label of all three positions is item 3 at 3 h.
    assert batch.label_item[:, :2].tolist() == [[0, 3], [0, 3], [3, 0]]
    assert batch.label_at_seconds.tolist() == [3 * 3600.0] * 3


def test_coverage_counts_positions_labels_and_negligible_ones(tmp_path):
    users = {"u": [(1, 0, 0.0), (2, HOUR, 1.0), (3, 12 * HOUR, 1.0)], "silent": [(1, 0, 0.0), (1, 1, 0.0)]}
    covered = coverage(
        sequences(tmp_path, users), ObjectiveConfig(label_window=2, half_life_hours=1.0), EVERYTHING
    )
    assert (covered.positions, covered.labels) == (3, 5)
    assert covered.negligible_labels == 3  # item 3, 11 hours or more away: 2⁻¹¹ < 1/1000
    assert covered.sequences.tolist() == [0]


def test_an_interval_without_a_label_is_refused(data):
    with pytest.raises(DatasetError, match="no loss position has a label"):
        batches(data, LabelInterval(10**14, 10**15))
