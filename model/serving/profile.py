"""How fast a model serves: the time of one recommendation, computed by the code that serves, on the CPU, where
`model.serving.scoring` serves it."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch

from model.arrays import Ints
from model.data.histories import Histories
from model.data.signals import Signals
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender
from model.serving.request_scores import RequestScores

RUNS = 20
"""Timed repetitions, after one that warms up."""
TOP_ITEMS = 100
"""Items that are returned."""


def latency_milliseconds(
    recommender: Recommender,
    catalogue: Catalogue,
    histories: Histories,
    item_index: Ints,
    context_length: int,
    at_us: int,
    signals: Signals | None = None,
) -> float:
    """Median wall time of scoring the longest history against the items `item_index`, int64 [M], on the CPU.

    The item vectors are computed beforehand, as a server does; `signals`, which a model with signals needs, are
    read as of the request at `at_us`, not before the end of the history. The model must be in evaluation mode; one on
    another device stays there, and a copy is measured.
    """
    if next(recommender.parameters()).device.type != "cpu":
        recommender = copy.deepcopy(recommender).to("cpu")
    catalogue = catalogue.to("cpu")
    user = np.array([np.diff(histories.offset).argmax()])
    end = histories.offset[user + 1]
    with torch.inference_mode():
        requests = RequestScores(recommender, catalogue, context_length, signals)
        seconds = []
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            _, scores = requests.scores(histories, user, end, np.array([at_us]), item_index)
            scores.topk(min(TOP_ITEMS, item_index.size))
            seconds.append(time.perf_counter() - started)
    return round(1000 * float(np.median(seconds[1:])), 3)
