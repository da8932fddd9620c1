"""Curves, throughput and lines of a run."""

from __future__ import annotations

import json
import math

import pytest

from model.training.progress import CURVE_POINTS, VALIDATIONS, NotFiniteError, Progress


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


def test_validation_is_due_a_few_times_and_at_the_end():
    progress = Progress(total_steps=95, steps_per_epoch=10)
    due = []
    while not progress.finished:
        progress.add(1.0, 1, 1.0)
        due += [progress.step] if progress.wants_validation else []
    assert due == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95]
    assert len(due) <= VALIDATIONS + 1


def test_a_loss_that_is_not_finite_stops_the_run():
    progress = run(3)
    with pytest.raises(NotFiniteError, match="nan at step 4 of 1000"):
        progress.add(math.nan, 1, 1.0)


def test_the_line_shows_how_far_the_run_is():
    progress = run(250)
    assert progress.line() == ("step 250/1000, epoch 2.5/10, loss 247.0000, 20 tokens/s, 6 min 15 s left")
    progress.held_out_mrr.append([250, 0.0417])
    assert progress.line().endswith("left, held-out MRR 0.0417")
