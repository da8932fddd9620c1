"""The latency of a served model."""

from __future__ import annotations

import numpy as np

from model.serving import profile
from model.serving.profile import RUNS, latency_milliseconds
from tests.model import tiny
from tests.model.window_of import histories


def test_latency_is_the_median_of_runs_over_the_longest_history_after_one_that_warms_up(monkeypatch):
    found = histories([[(1, 0.0)], [(2, 0.0), (3, 1.0)]], [[], []])
    # The first run takes 9 s; then half of the runs take 2 ms and half 4 ms.
    clock = iter(np.cumsum([0.0, 9.0, *[value for _ in range(RUNS // 2) for value in (1, 0.002, 1, 0.004)]]))
    monkeypatch.setattr(profile.time, "perf_counter", lambda: float(next(clock)))
    encoded, encode = [], profile.encode_histories

    def watched(recommender, catalogue, histories, user, end, context_length):
        encoded.append((user.tolist(), end.tolist()))
        return encode(recommender, catalogue, histories, user, end, context_length)

    monkeypatch.setattr(profile, "encode_histories", watched)
    latency = latency_milliseconds(tiny.recommender(8), tiny.catalogue(12, 8), found, np.arange(12), 8)
    assert latency == 3.0
    assert encoded == [([1], [3])] * (RUNS + 1)
