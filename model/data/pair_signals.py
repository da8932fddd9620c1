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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from model.arrays import Flags, Floats, Ints, stretches
from model.data.successors import SKIP_DECAY, Counts, Matrix, Recent, SuccessorLog
from model.network.pair_signals import COUNTS, FURTHER_SIGNALS, Pairs, pair_signal_count

HISTORY_EVENTS = 512
"""Events of a history whose items are candidates …"""
BEST_SUCCESSORS = 128
"""… beside this many successors of the last events."""
CHAIN_EVENTS, CHAIN_DECAY = 5, 0.7
NEAR_EVENTS = 10
FOLLOWED_PRIOR, NEAR_PRIOR = 1.0, 5.0
NEXT_WEIGHT = 1e-4
FOLLOWED_COUNTS, OFTEN = 3, 2
"""Of the counts, in the order of SCALES: the first three are of what followed directly; the third is `often`."""
SCALES = np.array([0.002, 0.002, 0.02, 0.002])
"""Of followed, next, often and near: a count enters as log(1 + count / scale) / 2."""
DENSE_CELLS = 1_000_000
"""Cells of requests × items held at once."""
STRONGEST = 16
"""Pairs with the best sums, which a training step always keeps; of the others it keeps …"""
OTHERS = 8
"""… about this many a request at random, each weighted by 1 / its probability."""
RULES = 1
"""Number of what lists hold, raised with a change of anything above or of how they are counted: kept lists of another
number are not used."""
HIGH_VALUE, OTHERWISE, LAST, STRONG = 1, 2, 4, 8
FIRST_ACTION_BIT = 4
MOST_ACTIONS = 28
"""Actions that have a flag of their own; a 32-bit word holds them and four other flags."""


class Log(Protocol):
    """Users' events end to end, as in `model.data.histories.Histories`."""

    offset: Ints
    item_index: NDArray[np.integer]
    action: NDArray[np.integer]
    reward: NDArray[np.floating]


@dataclass(frozen=True)
class Requests:
    """Requests for recommendations: int64 [X] each."""

    user: Ints
    """Index of the user in the log."""
    end: Ints
    """One past the last visible event, an index of the log's events."""
    at_us: Ints
    """Time of the request, microseconds since 1970-01-01 UTC."""


COLUMNS = {
    "item_index": np.dtype(np.int32),
    "flags": np.dtype(np.uint32),
    "recency": np.dtype(np.float16),
    "counts": np.dtype((np.float16, COUNTS)),
}
"""Columns of a pair, in the order of `PairLists`: 18 bytes."""


@dataclass(frozen=True)
class PairPart:
    """N(u) of some of the requests, end to end."""

    request: Ints
    """int64 [x]; their numbers."""
    size: Ints
    """int64 [x]; pairs of each."""
    columns: tuple[NDArray, ...]
    """As in COLUMNS."""


@dataclass(frozen=True)
class PairLists:
    """N(u) of some requests: 18 bytes a pair."""

    first: Ints
    """int64 [X]; where the pairs of a request begin …"""
    count: Ints
    """… and how many they are, int64 [X]."""
    item_index: NDArray[np.int32]
    """int32 [Z]; distinct within a request, ascending."""
    flags: NDArray[np.uint32]
    """uint32 [Z]; bits: seen as high-value, seen otherwise, last item, among the strongest, then one for each
    action."""
    recency: NDArray[np.float16]
    """float16 [Z]; 1 / √(number of the event from the end, from 1), 0 for an item not in the history."""
    counts: NDArray[np.float16]
    """float16 [Z, 4]; logarithms of followed, next, often and near."""

    @property
    def size(self) -> int:
        """X"""
        return self.first.size

    @property
    def pairs(self) -> int:
        """Pairs of all requests."""
        return int(self.count.sum())

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
    requested = requests.user.size
    first, size = np.zeros(requested, np.int64), np.zeros(requested, np.int64)
    columns = [_EMPTY]
    total = 0
    for part in pair_parts(log, requests, successors, items, bucket_us, counts):
        first[part.request] = total + np.cumsum(part.size) - part.size
        size[part.request] = part.size
        total += int(part.size.sum())
        columns.append(part.columns)
    return PairLists(first, size, *(np.concatenate(column) for column in zip(*columns, strict=True)))


def pair_parts(
    log: Log,
    requests: Requests,
    successors: SuccessorLog,
    items: int,
    bucket_us: int,
    counts: Counts | None = None,
) -> Iterator[PairPart]:
    """The lists of `pair_lists` in the order of time, some requests at once: no more is held in memory."""
    floor_us = requests.at_us // bucket_us * bucket_us
    order = np.argsort(floor_us, kind="stable")
    counts = Counts(successors, items) if counts is None else counts
    for chosen in _in_blocks(order, floor_us, counts, items):
        yield _lists(log, requests, chosen, floor_us[chosen], counts, items)


def pairs_of(
    lists: PairLists,
    request: Ints,
    label_item: Ints,
    is_label: Flags,
    actions: int,
    stream: np.random.Generator | None = None,
) -> Pairs:
    """The lists of some requests, int64 [P], end to end, with the pairs that are labels, [P, K].

    With a `stream` only the strongest pairs, labels and a random sample of the others are kept. A sampled pair
    is weighted by 1 / its probability, so that the normaliser is unbiased.
    """
    first, count = lists.first[request], lists.count[request]
    position, pair = stretches(first, count)
    found = _places(lists.item_index, first, count, label_item)  # [P, K]
    label = np.where(
        is_label & (found >= 0), found - first[:, None] + (np.cumsum(count) - count)[:, None], -1
    )
    log_weight = np.zeros(pair.size, dtype=np.float32)
    if stream is not None:
        weak = lists.flags[pair] & STRONG == 0
        chance = np.minimum(1.0, OTHERS / np.maximum(np.bincount(position[weak], minlength=request.size), 1))
        kept = ~weak | (stream.random(pair.size, dtype=np.float32) < chance[position])
        kept[label[label >= 0]] = True
        label = np.where(label >= 0, np.cumsum(kept)[label] - 1, -1)
        position, pair, weak = position[kept], pair[kept], weak[kept]
        log_weight = np.where(weak, -np.log(chance[position]), 0.0).astype(np.float32)
    item = lists.item_index[pair].astype(np.int64)
    columns = (position, item, lists.signals(pair, actions), log_weight, label)
    return Pairs(*(torch.from_numpy(column) for column in columns))


def _places(item_index: NDArray[np.int32], first: Ints, count: Ints, wanted: Ints) -> Ints:
    """Places of items in ascending stretches of `item_index`: [P, K] of the stretches [P] → [P, K], −1 for none.

    A binary search of all at once, so that only log₂ of the longest stretch is read of each.
    """
    if not item_index.size:
        return np.full(wanted.shape, -1)
    low = np.broadcast_to(first[:, None], wanted.shape).copy()
    end = (first + count)[:, None]
    high = np.broadcast_to(end, wanted.shape).copy()
    for _ in range(int(count.max(initial=0)).bit_length()):
        middle = (low + high) // 2
        less = (low < high) & (item_index[np.minimum(middle, item_index.size - 1)] < wanted)
        low, high = np.where(less, middle + 1, low), np.where(less, high, middle)
    is_there = (low < end) & (item_index[np.minimum(low, item_index.size - 1)] == wanted)
    return np.where(is_there, low, -1)


def chain_scores(log: Log, requests: Requests, successors: SuccessorLog, items: int) -> sparse.csr_array:
    """`often` of every item with all counts strictly before each request: float64 [X, N] sparse."""
    counts, blocks = Counts(successors, items), [sparse.csr_array((0, items))]
    order = np.argsort(requests.at_us, kind="stable")
    for chosen in _in_blocks(order, requests.at_us, counts, items):
        scores = np.zeros((FOLLOWED_COUNTS, chosen.size, items))
        _add_followed(
            scores, log, requests.user[chosen], requests.end[chosen], requests.at_us[chosen], counts
        )
        blocks.append(sparse.csr_array(scores[OFTEN]))
    return sparse.vstack(blocks, format="csr")[np.argsort(order)]


def _in_blocks(order: Ints, at_us: Ints, counts: Counts, items: int) -> Iterator[Ints]:
    """Requests in `order` of time, as many at once as DENSE_CELLS allows; moves the counts on to each block."""
    at_once = max(1, DENSE_CELLS // max(items, 1))
    for start in range(0, order.size, at_once):
        chosen = order[start : start + at_once]
        counts.move(int(at_us[chosen[0]]), int(at_us[chosen[-1]]))
        yield chosen


_EMPTY = tuple(np.empty((0, *kind.shape), kind.base) for kind in COLUMNS.values())


def _lists(log: Log, requests: Requests, chosen: Ints, at_us: Ints, counts: Counts, items: int) -> PairPart:
    user, end = requests.user[chosen], requests.end[chosen]
    scores = np.zeros((COUNTS, chosen.size, items))
    _add_followed(scores[:FOLLOWED_COUNTS], log, user, end, at_us, counts)
    _add_near(scores[FOLLOWED_COUNTS], log, user, end, at_us, counts)
    # In float32, so that sums that are equal but for their last bits are equal.
    best = (scores[0] + scores[3] + NEXT_WEIGHT * scores[1]).astype(np.float32)
    kept = best > 0
    many = np.flatnonzero(kept.sum(axis=1) > BEST_SUCCESSORS)
    if many.size:
        limit = np.partition(best[many], -BEST_SUCCESSORS, axis=1)[:, -BEST_SUCCESSORS, None]
        kept[many] = best[many] >= limit
        # Of equal scores at the limit the items with the lowest numbers are kept.
        for row in many[kept[many].sum(axis=1) > BEST_SUCCESSORS]:
            beside = np.flatnonzero(kept[row] & (best[row] == best[row][kept[row]].min()))
            kept[row, beside[BEST_SUCCESSORS - int(kept[row].sum()) :]] = False
    strong = best > 0
    if items > STRONGEST:
        strong &= best >= np.partition(best, -STRONGEST, axis=1)[:, -STRONGEST, None]
    first = np.maximum(log.offset[user], end - HISTORY_EVENTS)
    row, event = stretches(first, end - first)
    item = log.item_index[event].astype(np.int64)
    flags, recency = np.zeros(kept.shape, dtype=np.uint32), np.zeros(kept.shape, dtype=np.float16)
    np.bitwise_or.at(flags, (row, item), _event_flags(log, event))
    has = np.flatnonzero(end > first)
    flags[has, log.item_index[end[has] - 1]] |= np.uint32(LAST)
    np.maximum.at(recency, (row, item), (1 / np.sqrt(end[row] - event)).astype(np.float16))
    kept |= flags > 0
    flags[strong & kept] |= np.uint32(STRONG)
    row, item = np.nonzero(kept)
    logs = np.log1p(scores[:, row, item] / SCALES[:, None]).T.astype(np.float16)
    columns = (item.astype(np.int32), flags[row, item], recency[row, item], logs)
    return PairPart(chosen, kept.sum(axis=1), columns)


def _event_flags(log: Log, event: Ints) -> NDArray[np.uint32]:
    """Bits of some events: how the user had the item, and by which action."""
    action = np.minimum(log.action[event].astype(np.uint32), MOST_ACTIONS)
    kind = np.where(log.reward[event] > 0, HIGH_VALUE, OTHERWISE).astype(np.uint32)
    own = np.uint32(1) << (np.uint32(FIRST_ACTION_BIT) + np.minimum(action, MOST_ACTIONS - 1)).astype(
        np.uint32
    )
    return kind | np.where(action < MOST_ACTIONS, own, np.uint32(0)).astype(np.uint32)


def _last_events(log: Log, user: Ints, end: Ints, events: int) -> tuple[Ints, Ints, Ints]:
    """The last events of some histories: number of the history, how many events back from 0, item; [Q] each."""
    event = end[:, None] - 1 - np.arange(events)  # [x, events], newest first
    row, back = np.nonzero(event >= log.offset[user][:, None])
    return row, back, log.item_index[event[row, back]].astype(np.int64)


def _add_followed(scores: Floats, log: Log, user: Ints, end: Ints, at_us: Ints, counts: Counts) -> None:
    """Adds followed, next and often of every item for some requests: float64 [3, x, N]."""
    row, back, item = _last_events(log, user, end, CHAIN_EVENTS)
    matrix, added = counts.followed(item, at_us[row])
    weight = CHAIN_DECAY**back
    divided = weight / (matrix.total[item] + added.total + FOLLOWED_PRIOR)
    of_the_last = np.where(back == 0, divided, 0.0)
    _add(scores, row, item, (divided, of_the_last, weight), matrix, added)


def _add_near(scores: Floats, log: Log, user: Ints, end: Ints, at_us: Ints, counts: Counts) -> None:
    """Adds near of every item for some requests: float64 [x, N]."""
    row, back, item = _last_events(log, user, end, NEAR_EVENTS)
    matrix, added = counts.near(item, at_us[row])
    divided = SKIP_DECAY**back / (matrix.total[item] + added.total + NEAR_PRIOR)
    _add(scores[None], row, item, (divided,), matrix, added)


def _add(
    scores: Floats, row: Ints, item: Ints, weights: Sequence[Floats], matrix: Matrix, added: Recent
) -> None:
    """Adds weight · counts[item] to each row, for several weights: scores [weights, x, N]; the others [Q]."""
    distinct, column = np.unique(item, return_inverse=True)
    rows = matrix.merged[distinct]
    for total, weight in zip(scores, weights, strict=True):
        kept = weight > 0
        chosen = sparse.coo_array((weight[kept], (row[kept], column[kept])), (total.shape[0], distinct.size))
        total += (chosen.tocsr() @ rows).toarray()
        later = weight[added.query] > 0
        query = added.query[later]
        np.add.at(total, (row[query], added.target[later]), weight[query] * added.weight[later])
