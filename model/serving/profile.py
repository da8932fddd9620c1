"""How fast a model serves: the time of one recommendation, computed by the code that serves, on the CPU, where
`model.serving.scoring` serves it."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch

from model.arrays import Ints
from model.data.histories import Histories
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender, score
from model.serving.encoding import encode_histories, encode_items

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
) -> float:
    """Median wall time of scoring the longest history against the items `item_index`, int64 [M], on the CPU.

    The item vectors are computed beforehand, as a server does. The model must be in evaluation mode; one on
    another device stays there, and a copy is measured.
    """
    if next(recommender.parameters()).device.type != "cpu":
        recommender = copy.deepcopy(recommender).to("cpu")
    catalogue = catalogue.to("cpu")
    user = np.array([np.diff(histories.offset).argmax()])
    end = histories.offset[user + 1]
    with torch.inference_mode():
        items = encode_items(recommender, catalogue, item_index)
        seconds = []
        for _ in range(RUNS + 1):
            started = time.perf_counter()
            vector = encode_histories(recommender, catalogue, histories, user, end, context_length)
            score(vector, items).topk(min(TOP_ITEMS, items.shape[0]))
            seconds.append(time.perf_counter() - started)
    return round(1000 * float(np.median(seconds[1:])), 3)
