"""The latency of a served model."""

from __future__ import annotations

import numpy as np
import torch

from model.network.catalogue import Catalogue
from model.serving import profile, request_scores
from model.serving.profile import RUNS, latency_milliseconds
from tests.model import tiny
from tests.model.window_of import histories


def test_latency_is_the_median_of_runs_over_the_longest_history_after_one_that_warms_up(monkeypatch):
    found = histories([[(1, 0.0)], [(2, 0.0), (3, 1.0)]], [[], []])
    # The first run takes 9 s; then half of the runs take 2 ms and half 4 ms.
    clock = iter(np.cumsum([0.0, 9.0, *[value for _ in range(RUNS // 2) for value in (1, 0.002, 1, 0.004)]]))
    monkeypatch.setattr(profile.time, "perf_counter", lambda: float(next(clock)))
    encoded, encode = [], request_scores.encode_histories

    def watched(recommender, catalogue, histories, user, end, *more):
        encoded.append((user.tolist(), end.tolist()))
        return encode(recommender, catalogue, histories, user, end, *more)

    monkeypatch.setattr(request_scores, "encode_histories", watched)
    latency = latency_milliseconds(tiny.recommender(8), tiny.catalogue(12, 8), found, np.arange(12), 8, 0)
    assert latency == 3.0
    assert encoded == [([1], [3])] * (RUNS + 1)


class Elsewhere(torch.nn.Module):
    """A model whose weights are on another device until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(1, device="meta"))
        self.moved_to: list[str] = []

    def to(self, device):
        self.moved_to.append(device)
        return self

    def split(self, users):
        return users, users[:, :0], users[:, :0]


def test_a_model_on_another_device_is_measured_on_the_cpu_and_stays_there(monkeypatch):
    found, given, devices = histories([[(1, 0.0)]], [[]]), Elsewhere(), []
    catalogue = tiny.catalogue(12, 8)

    def encoded(recommender, catalogue, *_):
        devices.append((recommender.moved_to, str(catalogue.item_token.device)))
        return torch.ones(12, 4)

    monkeypatch.setattr(request_scores, "encode_items", encoded)
    monkeypatch.setattr(request_scores, "encode_histories", encoded)
    moved = []
    to = Catalogue.to
    monkeypatch.setattr(Catalogue, "to", lambda self, device: moved.append(device) or to(self, device))
    assert latency_milliseconds(given, catalogue, found, np.arange(12), 8, 0) >= 0
    assert devices == [(["cpu"], "cpu")] * (RUNS + 2)
    assert given.moved_to == [] and moved == ["cpu"]
