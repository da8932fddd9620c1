"""User vectors and item vectors, computed the same way for evaluation and for serving.

Each user's history is encoded once in windows, however many labels and delays are ranked from it.

Shape legend
    D  distinct (user, end of history, time of the request)     M  items     U  width of a user vector
    Q  queries     z  pairs of the queries
    R  windows of a batch     L  slots of a window
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expectations.instants import SECOND_US
from model.arrays import Ints, stretches
from model.data.histories import Histories
from model.data.pair_signals import PairLists
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
    """User vectors after the events before `end`, float32 [D, U]; `user` and `end` int64 [D].

    A user's events from `end` on do not affect the vector. `requested_at_us` int64 [D] is the time of the
    request, which may be UNKNOWN_TIME; None: all are unknown. It matters to an empty history, which has the
    vector of the start token at that time, and to a model that reads the time of the request.
    """
    config = recommender.config
    windows = plan_windows(histories, user, end, config.max_length, context_length)
    device = next(recommender.parameters()).device
    is_empty = end == histories.offset[user]
    requested = np.full(user.size, UNKNOWN_TIME) if requested_at_us is None else requested_at_us
    requested_seconds = np.where(requested == UNKNOWN_TIME, np.nan, requested / SECOND_US)
    by_window = np.argsort(windows.window, kind="stable")
    bounds = np.searchsorted(windows.window[by_window], np.arange(windows.first.size + 1))
    vectors = torch.empty((user.size, recommender.user_width), dtype=torch.float32, device=device)
    for chosen, batch in batches(histories, windows, config.context_fields, ENCODE_SLOTS):
        hidden = recommender.encode(batch.to(device), catalogue)  # [R, L, d]
        state = np.concatenate([by_window[bounds[window] : bounds[window + 1]] for window in chosen])
        row = np.repeat(np.arange(chosen.size), bounds[chosen + 1] - bounds[chosen])
        at = torch.from_numpy(row).to(device), torch.from_numpy(windows.slot[state]).to(device)
        states, empty = hidden[at], torch.from_numpy(is_empty[state]).to(device)
        asked = torch.ones_like(empty) if recommender.is_timed else empty
        clocks = torch.from_numpy(requested_seconds[state]).to(device)
        last = torch.where(empty, torch.nan, batch.event_at_seconds.to(device)[at])
        states[asked] = recommender.at_request(states[asked], clocks[asked], last[asked])
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


def encode_item_signals(
    recommender: Recommender, catalogue: Catalogue, item_index: Ints, at_us: int
) -> Tensor:
    """F(a_i(τ)) of the items in the order given, float32 [M, ·], for requests at one instant.

    All blocks have one shape, as in `encode_items`.
    """
    values = _item_signals(catalogue, item_index, at_us)
    size = min(ITEM_BLOCK, max(item_index.size, 1))
    blocks = []
    for block in values.split(size):
        padded = torch.nn.functional.pad(block, (0, 0, 0, size - block.shape[0]))
        blocks.append(recommender.item_term.features(padded)[: block.shape[0]].float())
    return torch.cat(blocks) if blocks else values


def pair_scores(
    recommender: Recommender,
    catalogue: Catalogue,
    users: Tensor,
    lists: PairLists,
    request: Ints,
    at_us: int,
) -> tuple[Ints, Ints, Tensor]:
    """r(h)ᵀ G of every pair of some requests at one instant: query int64 [z], item int64 [z], and the scores
    that they add, float32 [z].

    `users` [Q, U] are the queries' vectors, `request` int64 [Q] their numbers in `lists`.
    """
    query, pair = stretches(lists.first[request], lists.count[request])
    item = lists.item_index[pair].astype(np.int64)
    _, _, weights = recommender.split(users)
    values = None
    if recommender.item_term is not None:
        distinct, place = np.unique(item, return_inverse=True)
        values = _item_signals(catalogue, distinct, at_us)[torch.from_numpy(place).to(users.device)]
    signals = torch.from_numpy(lists.signals(pair, recommender.config.actions)).to(users.device)
    features = recommender.pair_term.features(signals, values)
    return query, item, (features * weights[torch.from_numpy(query).to(users.device)]).sum(dim=1)


def _item_signals(catalogue: Catalogue, item_index: Ints, at_us: int) -> Tensor:
    """a_i(τ) of items as of one request, float32 [M, A], on the catalogue's device."""
    device = catalogue.item_token.device
    at = torch.tensor([at_us / SECOND_US], dtype=torch.float64, device=device)
    items = torch.from_numpy(item_index).to(device)
    return catalogue.signals.as_of(items, at, catalogue.launched_at_seconds)
