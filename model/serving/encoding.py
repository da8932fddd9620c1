"""User vectors and item vectors, computed the same way for evaluation and for serving.

Each user's history is encoded once in windows, however many labels and delays are ranked from it.

Shape legend
    D  distinct (user, end of history, time of the request)     M  items
    R  windows of a batch     L  slots of a window
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expectations.instants import SECOND_US
from model.arrays import Ints
from model.data.histories import Histories
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender
from model.serving.windows import batches, plan_windows

ENCODE_SLOTS = 8192
"""Slots of a batch that is encoded."""
ITEM_BLOCK = 8192
"""Item vectors computed at once."""
UNKNOWN_TIME = int(np.iinfo(np.int64).min)
"""Time of a request that is not known."""


def encode_histories(
    recommender: Recommender,
    catalogue: Catalogue,
    histories: Histories,
    user: Ints,
    end: Ints,
    context_length: int,
    requested_at_us: Ints | None = None,
) -> Tensor:
    """User vectors after the events before `end`, float32 [D, d_out]; `user` and `end` int64 [D].

    A user's events from `end` on do not affect the vector. An empty history has the vector of the start
    token at the time of the request, `requested_at_us` int64 [D], which may be UNKNOWN_TIME; None: all
    are unknown.
    """
    config = recommender.config
    windows = plan_windows(histories, user, end, config.max_length, context_length)
    device = next(recommender.parameters()).device
    is_empty = end == histories.offset[user]
    requested = np.full(user.size, UNKNOWN_TIME) if requested_at_us is None else requested_at_us
    requested_seconds = np.where(requested == UNKNOWN_TIME, np.nan, requested / SECOND_US)
    by_window = np.argsort(windows.window, kind="stable")
    bounds = np.searchsorted(windows.window[by_window], np.arange(windows.first.size + 1))
    vectors = torch.empty((user.size, config.output_width), dtype=torch.float32, device=device)
    for chosen, batch in batches(histories, windows, config.context_fields, ENCODE_SLOTS):
        hidden = recommender.encode(batch.to(device), catalogue)  # [R, L, d]
        state = np.concatenate([by_window[bounds[window] : bounds[window + 1]] for window in chosen])
        row = np.repeat(np.arange(chosen.size), bounds[chosen + 1] - bounds[chosen])
        at = torch.from_numpy(row).to(device), torch.from_numpy(windows.slot[state]).to(device)
        states, empty = hidden[at], torch.from_numpy(is_empty[state]).to(device)
        clocks = torch.from_numpy(requested_seconds[state]).to(device)
        states[empty] = recommender.at_request(states[empty], clocks[empty])
        vectors[torch.from_numpy(state).to(device)] = recommender.user_vectors(states).float()
    return vectors


def encode_items(recommender: Recommender, catalogue: Catalogue, item_index: Ints) -> Tensor:
    """Item vectors in the order given, float32 [M, d_out]; `item_index` int64 [M].

    All blocks have one shape, so that two items with equal features and no ID row get equal bits, and
    tie, whichever blocks they are in.
    """
    device = next(recommender.parameters()).device
    size = min(ITEM_BLOCK, max(item_index.size, 1))
    blocks = []
    for start in range(0, item_index.size, size):
        block = item_index[start : start + size]
        padded = torch.from_numpy(np.pad(block, (0, size - block.size), mode="edge")).to(device)
        blocks.append(recommender.item_vectors(padded, catalogue)[: block.size].float())
    return torch.cat(blocks) if blocks else torch.empty((0, recommender.config.output_width), device=device)
