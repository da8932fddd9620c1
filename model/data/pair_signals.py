"""Pair signals of requests: the items that each history points to, and what is known about each.

For a request at time t with visible history …, x₁, x₀ and counts N, K of `model.data.successors` as of
τ, the time of the request floored to a bucket, the candidates are the items of the last 512 events and the
128 items with the best sum of

    near      Σ_{a<10} 0.85ᵃ K(x_a, j) / (K(x_a) + 5)
    followed  Σ_{a<5}  0.7ᵃ  N(x_a, j) / (N(x_a) + 1)
    next      N(x₀, j) / (N(x₀) + 1), which only orders equal sums

Beside these three, `often` is `followed` without the division. The counts enter φ as logarithms.

Shape legend
    X  requests    Z  pairs of all requests    N  items ever seen
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from model.arrays import Flags, Ints, stretches
from model.data.successors import SKIP_DECAY, Counts, SuccessorLog
from model.network.pair_signals import COUNTS, FURTHER_SIGNALS, Pairs, pair_signal_count

HISTORY_EVENTS = 512
"""Events of a history whose items are candidates …"""
BEST_SUCCESSORS = 128
"""… beside this many successors of the last events."""
CHAIN_EVENTS, CHAIN_DECAY = 5, 0.7
NEAR_EVENTS = 10
FOLLOWED_PRIOR, NEAR_PRIOR = 1.0, 5.0
NEXT_WEIGHT = 1e-4
SCALES = np.array([0.002, 0.002, 0.02, 0.002], dtype=np.float32)
"""Of followed, next, often and near: a count enters as log(1 + count / scale) / 2."""
DENSE_CELLS = 2_000_000
"""Cells of requests × items held at once."""
HIGH_VALUE, OTHERWISE, LAST = 1, 2, 4
FIRST_ACTION_BIT = 3
MOST_ACTIONS = 29
"""Actions that have a flag of their own; a 32-bit word holds them and three other flags."""


class Log(Protocol):
    """Users' events end to end, as in `model.data.histories.Histories`."""

    offset: Ints
    item_index: NDArray[np.integer]
    action: NDArray[np.integer]
    reward: NDArray[np.floating]


@dataclass(frozen=True)
class Requests:
    """What is asked for: int64 [X] each."""

    user: Ints
    """Index of the user in the log."""
    end: Ints
    """One past the last visible event, an index of the log's events."""
    at_us: Ints
    """Time of the request, microseconds since 1970-01-01 UTC."""


@dataclass(frozen=True)
class PairLists:
    """N(u) of some requests, end to end: 18 bytes a pair."""

    offset: Ints
    """int64 [X + 1]"""
    item_index: NDArray[np.int32]
    """int32 [Z]; distinct within a request, ascending."""
    flags: NDArray[np.uint32]
    """uint32 [Z]; bits: seen as high-value, seen otherwise, last item, then one for each action."""
    recency: NDArray[np.float16]
    """float16 [Z]; 1 / √(number of the event from the end, from 1), 0 for an item not in the history."""
    counts: NDArray[np.float16]
    """float16 [Z, 4]; logarithms of followed, next, often and near."""

    @property
    def size(self) -> int:
        """X"""
        return self.offset.size - 1

    def signals(self, pair: Ints, actions: int) -> NDArray[np.float32]:
        """φ of some pairs: int64 [z] → float32 [z, φ], see `model.network.pair_signals`."""
        flags = self.flags[pair]
        signals = np.zeros((pair.size, pair_signal_count(actions)), dtype=np.float32)
        signals[:, 0] = flags & HIGH_VALUE > 0
        signals[:, 1] = flags & OTHERWISE > 0
        signals[:, 2] = self.recency[pair]
        signals[:, 3] = flags & LAST > 0
        for action in range(min(actions, MOST_ACTIONS)):
            signals[:, FURTHER_SIGNALS + action] = flags >> (FIRST_ACTION_BIT + action) & 1
        signals[:, -COUNTS:] = self.counts[pair]
        return signals / 2


def pair_lists(
    log: Log,
    requests: Requests,
    successors: SuccessorLog,
    items: int,
    bucket_us: int,
    counts: Counts | None = None,
) -> PairLists:
    """N(u) and φ of every request; `items` is N. `counts` of the same log are moved on, where given; they must
    not be ahead of the first request.

    An event at or after the start of the request's bucket is in no count, whoever made it; one at or after
    `end` is in no history. Costs the successors' pairs, and for a request the successors of ten items.
    """
    floor_us = requests.at_us // bucket_us * bucket_us
    order = np.argsort(floor_us, kind="stable")
    bounds = np.flatnonzero(np.diff(floor_us[order], prepend=np.iinfo(np.int64).min))
    counts = Counts(successors, items) if counts is None else counts
    at_once = max(1, DENSE_CELLS // max(items, 1))
    parts: list[_Part] = [None] * requests.user.size
    for begin, end in zip(bounds, [*bounds[1:], order.size], strict=True):
        counts.advance(int(floor_us[order[begin]]))
        for start in range(begin, end, at_once):
            chosen = order[start : min(start + at_once, end)]
            for number, part in zip(chosen, _lists(log, requests, chosen, counts, items), strict=True):
                parts[number] = part
    return _joined(parts)


def padded_pairs(lists: PairLists, request: Ints, label_item: Ints, is_label: Flags, actions: int) -> Pairs:
    """The lists of some requests, int64 [P], padded to the longest, with the places of labels [P, K]."""
    first, count = lists.offset[request], lists.offset[request + 1] - lists.offset[request]
    row, pair = stretches(first, count)
    place = pair - first[row]
    item = np.full((request.size, max(int(count.max(initial=0)), 1)), -1, dtype=np.int64)
    item[row, place] = lists.item_index[pair]
    signals = np.zeros((*item.shape, pair_signal_count(actions)), dtype=np.float32)
    signals[row, place] = lists.signals(pair, actions)
    # Lists ascend within a request, so one search over (request, item) finds every label.
    stride = int(max(item.max(), label_item.max(initial=0))) + 1
    key, wanted = row * stride + item[row, place], np.arange(request.size)[:, None] * stride + label_item
    found = np.searchsorted(key, wanted)
    hit = (
        is_label
        & (found < key.size)
        & (key[np.minimum(found, max(key.size - 1, 0))] == wanted if key.size else False)
    )
    label = np.where(hit, found - (np.cumsum(count) - count)[:, None], -1)
    return Pairs(torch.from_numpy(item), torch.from_numpy(signals), torch.from_numpy(label))


_Part = tuple[NDArray, NDArray, NDArray, NDArray]


def _lists(log: Log, requests: Requests, chosen: Ints, counts: Counts, items: int) -> list[_Part]:
    """The lists of some requests of one bucket."""
    user, end = requests.user[chosen], requests.end[chosen]
    event = end[:, None] - 1 - np.arange(NEAR_EVENTS)  # [x, NEAR_EVENTS], newest first
    row, back = np.nonzero(event >= log.offset[user][:, None])
    recent = log.item_index[event[row, back]].astype(np.int64)
    distinct, column = np.unique(recent, return_inverse=True)
    scores = np.zeros((COUNTS, chosen.size, items), dtype=np.float32)
    if distinct.size:
        followed, near = counts.rows(distinct)
        total, near_total = counts.followed_total[recent], counts.near_total[recent]
        chain = np.where(back < CHAIN_EVENTS, CHAIN_DECAY**back, 0.0)
        weights = (
            chain / (total + FOLLOWED_PRIOR),
            np.where(back == 0, 1.0, 0.0) / (total + FOLLOWED_PRIOR),
            chain,
            SKIP_DECAY**back / (near_total + NEAR_PRIOR),
        )
        for number, weight in enumerate(weights):
            kept = weight > 0
            matrix = sparse.coo_array(
                (weight[kept].astype(np.float32), (row[kept], column[kept])), (chosen.size, distinct.size)
            ).tocsr()
            scores[number] = (matrix @ (near if number == 3 else followed)).toarray()
    best = scores[0] + scores[3] + np.float32(NEXT_WEIGHT) * scores[1]
    parts = []
    for number in range(chosen.size):
        candidates = np.flatnonzero(best[number])
        if candidates.size > BEST_SUCCESSORS:
            # By score, then by item, so that equal scores are cut the same way everywhere.
            value = best[number, candidates]
            limit = np.partition(value, candidates.size - BEST_SUCCESSORS)[-BEST_SUCCESSORS]
            above, beside = candidates[value > limit], candidates[value == limit]
            candidates = np.concatenate([above, beside[: BEST_SUCCESSORS - above.size]])
        start = max(int(log.offset[user[number]]), int(end[number]) - HISTORY_EVENTS)
        history = slice(start, int(end[number]))
        parts.append(_part(log, history, candidates, scores[:, number]))
    return parts


def _part(log: Log, history: slice, candidates: Ints, scores: NDArray[np.float32]) -> _Part:
    """The list of one request; `scores` [4, N]."""
    seen = log.item_index[history].astype(np.int64)
    item = np.union1d(candidates, seen)
    flags, recency = np.zeros(item.size, dtype=np.uint32), np.zeros(item.size, dtype=np.float16)
    if seen.size:
        place = np.searchsorted(item, seen)
        action = np.minimum(log.action[history].astype(np.uint32), MOST_ACTIONS)
        kind = np.where(log.reward[history] > 0, HIGH_VALUE, OTHERWISE).astype(np.uint32)
        bit = np.where(action < MOST_ACTIONS, np.uint32(1) << (FIRST_ACTION_BIT + action), np.uint32(0))
        np.bitwise_or.at(flags, place, kind | bit.astype(np.uint32))
        flags[place[-1]] |= LAST
        np.maximum.at(recency, place, (1 / np.sqrt(np.arange(seen.size, 0, -1))).astype(np.float16))
    counts = np.log1p(scores[:, item] / SCALES[:, None]).T.astype(np.float16)
    return item.astype(np.int32), flags, recency, counts


def _joined(parts: list[_Part]) -> PairLists:
    sizes = np.array([part[0].size for part in parts], dtype=np.int64)
    none = (
        np.empty(0, np.int32), np.empty(0, np.uint32), np.empty(0, np.float16), np.empty((0, COUNTS), np.float16),
    )  # fmt: skip
    columns = (
        [
            np.concatenate([empty, *column])
            for empty, column in zip(none, zip(*parts, strict=True), strict=True)
        ]
        if parts
        else none
    )
    return PairLists(np.concatenate([[0], np.cumsum(sizes)]), *columns)
