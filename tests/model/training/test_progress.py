"""Curves, throughput and lines of a run."""

from __future__ import annotations

import json
import math

import pytest

from model.training.progress import CURVE_POINTS, NotFiniteError, Progress


def run(steps: int, progress: Progress | None = None) -> Progress:
    progress = progress or Progress(total_steps=1000, steps_per_epoch=100)
    for _ in range(steps):
        progress.add(loss=float(progress.step), tokens=10, seconds=0.5)
    return progress


def test_the_curve_has_a_bounded_number_of_points_each_the_mean_since_the_previous_one():
    progress = run(1000)
    assert len(progress.losses) == CURVE_POINTS
    assert progress.losses[0] == [5, (0 + 1 + 2 + 3 + 4) / 5]
    assert progress.losses[-1] == [1000, 997.0]
    assert progress.finished


def test_a_short_run_has_a_point_at_every_step():
    progress = Progress(total_steps=3, steps_per_epoch=3)
    assert [progress.add(1.0, 1, 1.0) for _ in range(3)] == [True, True, True]


def test_a_restored_run_continues_as_if_it_had_not_stopped():
    resumed = Progress(**json.loads(json.dumps(run(503).plain())))
    assert run(497, resumed).plain() == run(1000).plain()


def test_validation_is_due_every_few_steps_and_at_the_end():
    progress = Progress(total_steps=95, steps_per_epoch=10, validate_every=20)
    due = []
    while not progress.finished:
        progress.add(1.0, 1, 1.0)
        due += [progress.step] if progress.wants_validation else []
    assert due == [20, 40, 60, 80, 95]


def test_without_an_interval_nothing_is_validated():
    progress = run(1000)
    assert progress.finished and not progress.wants_validation and progress.best is None


def test_a_run_ends_when_its_last_measurements_brought_no_better_one():
    progress = Progress(total_steps=100, steps_per_epoch=10, step=50, patience=2)
    assert not progress.gave_up
    progress.held_out_mrr = [[10, 0.1], [20, 0.3], [30, 0.3]]  # an equal one is no better
    assert progress.best == (20, 0.3) and not progress.finished
    progress.held_out_mrr.append([40, 0.2])
    assert progress.gave_up and progress.finished
    progress.held_out_mrr.append([50, 0.4])
    assert progress.best == (50, 0.4) and not progress.finished


def test_the_last_measurement_within_2_percent_of_the_highest_is_as_good():
    progress = Progress(total_steps=100, steps_per_epoch=10)
    assert progress.latest_good is None
    progress.held_out_mrr = [[10, 0.1], [20, 0.5], [30, 0.49], [40, 0.4899]]
    assert progress.latest_good == (30, 0.49)
    progress.held_out_mrr.append([50, 0.6])
    assert progress.latest_good == (50, 0.6)


def test_a_loss_that_is_not_finite_stops_the_run():
    progress = run(3)
    with pytest.raises(NotFiniteError, match="nan at step 4 of 1000"):
        progress.add(math.nan, 1, 1.0)


def test_the_line_shows_how_far_the_run_is():
    progress = run(250)
    assert progress.line() == ("step 250/1000, epoch 2.5/10, loss 247.0000, 20 tokens/s, 6 min 15 s left")
    progress.held_out_mrr.append([250, 0.0417])
    assert progress.line().endswith("left, held-out MRR 0.0417")
