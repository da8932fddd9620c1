"""Drift by hand: a ratio of daily volumes to the median, and a distance of action shares."""

from __future__ import annotations

from datetime import timedelta

import pytest

from expectations.drift import drift, window
from expectations.figures import Window
from tests.factories import START, events_frame


@pytest.mark.parametrize(
    ("now", "earlier", "ratio", "distance"),
    [
        # Two windows of 60 views and 40 likes together, now 90 to 10: half of 0.3 + 0.3.
        (Window(1.0, {"view": 90, "like": 10}), [{"view": 60}, {"like": 40}], 100 / 50, 0.3),
        (Window(2.0, {"view": 100}), [{"view": 50}], 1.0, 0.0),
        (Window(1.0, {"like": 30}), [{"view": 10}, {"view": 20}, {"view": 60}], 30 / 20, 1.0),
        (Window(1.0, {}), [{"view": 10}], 0.0, 1.0),
    ],
)
def test_drift_is_a_ratio_to_the_median_and_a_distance_of_shares(now, earlier, ratio, distance):
    moved = drift(now, [Window(1.0, counts) for counts in earlier])
    assert moved.volume_ratio == pytest.approx(ratio)
    assert moved.action_mix_distance == pytest.approx(distance)


def test_no_drift_without_an_earlier_event():
    assert drift(Window(1.0, {"view": 1}), []) is None
    assert drift(Window(1.0, {"view": 1}), [Window(1.0, {})]) is None


def test_a_window_counts_the_events_after_the_split_up_to_the_cutoff_by_action(spark):
    seconds = {0: "view", 1: "view", 2: "like", 86_400: "view", 86_401: "like"}
    events = events_frame(spark, [("u", "i", second, action) for second, action in seconds.items()])
    counted = window(events, START, START + timedelta(days=1))
    assert counted == Window(days=1.0, action_counts={"like": 1, "view": 2})
