"""Yardsticks that a model must beat: popularity of several kinds, and an item-to-item Markov chain.

They rank the same labels among the same eligible items and with the same tie rule as a model, without a
matrix of users × items.

Shape legend
    N  items     E  events of the log     X  examples     W  examples scored at once
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from expectations.instants import DAY_US, HOUR_US
from model.arrays import Flags, Floats, Ints
from model.data.eligible_items import EligibleItems
from model.data.events import EventLog
from model.evaluation.examples import Examples
from model.evaluation.lists import LIST_ITEMS
from model.evaluation.metrics import tied_rank
from model.evaluation.names import DECAYED, DECAYED_UNSEEN, FROZEN, MARKOV, MARKOV_NOW, MOVING
from model.evaluation.seen import SeenItems
from model.evaluation.spans import starts_of
from model.evaluation.standings import ALWAYS, NEVER, Changes, Standings

CHAIN_EVENTS = 5
"""Last events of a history that the chain reads …"""
CHAIN_DECAY = 0.7
"""… and the weight of each relative to the event after it."""
CHAIN_BLOCK = 512
"""W: examples whose sparse scores are held at once."""

DEFINITIONS = {
    MOVING: (
        "all events of the days before the request, replay only; 7, 28 or 180 days or all, the fewest with "
        "100 events of 10 items; ties at half"
    ),
    FROZEN: "all events of the days up to the split, the number of days chosen in the same way; ties at half",
    DECAYED: (
        "sum of 2^(-age / half-life) over all events before the request, under the cutoff protocol up to the "
        "split; half-life of 1 h to 720 d by MRR over the high-value events of the last window before the "
        "split; ties at half"
    ),
    DECAYED_UNSEEN: "decayed popularity; items in the visible history rank below all others; ties at half",
    MARKOV: (
        "counts of consecutive events of a user up to the split, last 5 visible events weighted 0.7^a; "
        "equal and unscored items by frozen popularity; ties at half"
    ),
    MARKOV_NOW: (
        "the same with all counts before the request; equal and unscored items by frozen popularity; ties at half"
    ),
}
"""What each yardstick computes. Part of the digest that its ranks are stored under."""


@dataclass(frozen=True)
class YardstickRanks:
    """Ranks of the labels by a yardstick, float64 [X] each; the rank after all for a label that is not
    eligible."""

    rank: Floats
    rank_unseen: Floats
    """Among the eligible items that the user does not have; NaN for a label whose item he has."""
    unseen_first: Floats
    """Among all, with the items of the visible history below all others."""


class _Seen:
    """Counts, for each label, the eligible items that its user has."""

    def __init__(self, size: Ints) -> None:
        self.higher, self.equal, self.all = (np.zeros(size.size, np.int64) for _ in range(3))
        self.has_label = np.zeros(size.size, bool)
        self._size = size

    def add(self, label: Ints, higher: Flags, equal: Flags, is_eligible: Flags, is_own: Flags) -> None:
        """Some pairs of a label and an item: whether the item is above the label, ties with it, is eligible,
        and is the label's own."""
        self.has_label[label[is_own]] = True
        rival = is_eligible & ~is_own
        for counter, counted in (
            (self.higher, higher & rival),
            (self.equal, equal & rival),
            (self.all, is_eligible),
        ):
            np.add.at(counter, label[counted], 1)

    def ranks(self, higher: Floats, equal: Floats, is_eligible: Flags) -> YardstickRanks:
        """Ranks from the eligible items above each label and those that tie with it, among all."""
        size = self._size
        unseen = tied_rank(higher - self.higher, equal - self.equal)
        unseen = np.where(is_eligible, unseen, size - self.all + 1.0)
        below = tied_rank(size - self.all + self.higher, self.equal)
        return YardstickRanks(
            rank=np.where(is_eligible, tied_rank(higher, equal), size + 1.0),
            rank_unseen=np.where(self.has_label, np.nan, unseen),
            unseen_first=np.where(is_eligible, np.where(self.has_label, below, unseen), size + 1.0),
        )


def popularity_ranks(
    examples: Examples, eligible: EligibleItems, changes: Changes, ends: Ints
) -> YardstickRanks:
    """Ranks by the levels of `changes` at the labels' times. `ends` int64 [X]: where each visible history
    ends."""
    at_us, item = examples.event_at_us, examples.item_index
    standings = Standings.of(changes, eligible, *span_of(at_us))
    own = standings.level_of(item, at_us)
    higher, equal = standings.counts(np.maximum(own, 0), at_us)
    seen = _Seen(eligible.sizes_at(at_us))
    for label, other in SeenItems.of(examples.histories, examples.user, ends).blocks():
        level = standings.level_of(other, at_us[label])
        seen.add(label, level > own[label], level == own[label], level >= 0, other == item[label])
    return seen.ranks(higher, equal - 1, own >= 0)


def popularity_lists(examples: Examples, eligible: EligibleItems, changes: Changes) -> Ints:
    """In how many of the labels' lists of the most popular items each item is, int64 [N]."""
    at_us = examples.event_at_us
    best = Standings.of(changes, eligible, *span_of(at_us)).top(at_us, LIST_ITEMS)
    return np.bincount(best[best >= 0], minlength=eligible.column.size)


def frozen_changes(log: EventLog, items: int, split_us: int, days: int | None) -> Changes:
    """How many events each of the N items has in the days up to the split, at every instant; None counts
    the whole log."""
    score = _frozen_popularity(log, items, split_us, days)
    return Changes(np.arange(items), np.full(items, ALWAYS), score)


def moving_changes(
    log: EventLog, delay_hours: float, days: int | None, first_us: int, last_us: int
) -> Changes:
    """How many events each item has in the days before the request, for labels from `first_us` to `last_us`;
    None counts the whole log.

    An event counts for labels later than it by more than the delay, until the days have passed too.
    """
    begins = log.event_at_us + round(delay_hours * HOUR_US) + 1
    ends = np.full_like(begins, NEVER) if days is None else begins + days * DAY_US
    begun, ended, begun_later, ended_later = (
        int(np.searchsorted(times, limit, side="right"))
        for limit in (first_us, last_us)
        for times in (begins, ends)
    )
    item, count = np.unique(log.item_index[ended:begun], return_counts=True)
    parts = [
        (item, np.full(item.size, first_us), count),
        (log.item_index[begun:begun_later], begins[begun:begun_later], np.int64(1)),
        (log.item_index[ended:ended_later], ends[ended:ended_later], np.int64(-1)),
    ]
    items, from_us, step = (
        np.concatenate([np.broadcast_to(part[field], part[0].shape) for part in parts]) for field in range(3)
    )
    order = np.lexsort((from_us, items))
    items, from_us, total = items[order], from_us[order], np.cumsum(step[order])
    first = np.searchsorted(items, items, side="left")
    before = np.concatenate([[0], total])[first]  # of the items sorted before
    return Changes(items, from_us, total - before)


def markov_ranks(
    examples: Examples,
    eligible: EligibleItems,
    log: EventLog,
    transitions: sparse.csr_array,
    ends: Ints,
    split_us: int,
    days: int | None,
) -> YardstickRanks:
    """The Markov chain: item j scores Σ_a 0.7^a · transitions[x_a, j] over the last five events x_0, x_1, …
    before `ends` (int64 [X]); equal scores are ordered by frozen popularity of some days."""
    items = eligible.column.size

    def scores(block: slice) -> sparse.csr_array:
        return (_last_events(examples, ends, block, items) @ transitions).tocsr()

    return _chain_ranks(examples, eligible, log, scores, ends, split_us, days)


def markov_now_ranks(
    examples: Examples,
    eligible: EligibleItems,
    log: EventLog,
    chain: sparse.csr_array,
    ends: Ints,
    split_us: int,
    days: int | None,
) -> YardstickRanks:
    """The same with the scores as of each request, `chain` [X, N] of `model.data.pair_signals.chain_scores`."""
    return _chain_ranks(examples, eligible, log, lambda block: chain[block], ends, split_us, days)


def _chain_ranks(
    examples: Examples,
    eligible: EligibleItems,
    log: EventLog,
    scores_of: Callable[[slice], sparse.csr_array],
    ends: Ints,
    split_us: int,
    days: int | None,
) -> YardstickRanks:
    at_us, items = examples.event_at_us, eligible.column.size
    popularity, size = _frozen_popularity(log, items, split_us, days), eligible.sizes_at(at_us)
    standings = Standings.of(frozen_changes(log, items, split_us, days), eligible, *span_of(at_us))
    higher, equal = standings.counts(popularity[examples.item_index], at_us)
    higher, equal, counted = higher.astype(np.float64), equal - 1.0, _Seen(size)
    has = SeenItems.of(examples.histories, examples.user, ends)
    for start in range(0, examples.size, CHAIN_BLOCK):
        block = slice(start, min(start + CHAIN_BLOCK, examples.size))
        scores = scores_of(block)
        scores.sort_indices()
        row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
        # A label's score comes from the same product as its rivals'.
        label = examples.item_index[block]
        own = np.zeros(scores.shape[0])
        is_label = scores.indices == label[row]
        own[row[is_label]] = scores.data[is_label]
        rival = (eligible.column[scores.indices] < size[block][row]) & ~is_label
        row, item, value = row[rival], scores.indices[rival], scores.data[rival]
        more_popular = popularity[item] > popularity[label][row]
        as_popular = popularity[item] == popularity[label][row]
        above = (value > own[row]) | ((value == own[row]) & more_popular)
        beside = (value == own[row]) & as_popular

        def count(flags: Flags, row: Ints = row, width: int = own.size) -> Floats:
            return np.bincount(row[flags], minlength=width).astype(np.float64)

        pair = has.pairs(np.arange(block.start, block.stop))
        of_pair = pair.label - start
        value = _entries(scores, of_pair, pair.item_index)
        ties = value == own[of_pair]
        pair_popularity, label_popularity = popularity[pair.item_index], popularity[label][of_pair]
        counted.add(
            pair.label,
            (value > own[of_pair]) | (ties & (pair_popularity > label_popularity)),
            ties & (pair_popularity == label_popularity),
            eligible.column[pair.item_index] < size[pair.label],
            pair.item_index == label[of_pair],
        )

        # An unscored label ranks below every scored item, and by popularity among the unscored.
        unscored = own == 0
        higher[block] = np.where(unscored, higher[block] + count(~more_popular), count(above))
        equal[block] = np.where(unscored, equal[block] - count(as_popular), count(beside))
    return counted.ranks(higher, equal, eligible.column[examples.item_index] < size)


def _entries(scores: sparse.csr_array, row: Ints, column: Ints) -> Floats:
    """Single entries of a sparse array with sorted indices, float64; 0 where none is stored."""
    width = scores.shape[1]
    stored = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr)) * width + scores.indices
    wanted = row * width + column
    place = np.minimum(np.searchsorted(stored, wanted), max(stored.size - 1, 0))
    if stored.size == 0:
        return np.zeros(row.size)
    return np.where(stored[place] == wanted, scores.data[place], 0.0)


def _last_events(examples: Examples, ends: Ints, block: slice, items: int) -> sparse.csr_array:
    """Weights of the last events by item, float64 [W, N] sparse."""
    histories, user = examples.histories, examples.user[block]
    event = ends[block, None] - 1 - np.arange(CHAIN_EVENTS)  # [W, CHAIN_EVENTS]
    seen = event >= histories.offset[user][:, None]
    row, back = np.nonzero(seen)
    weight = CHAIN_DECAY**back
    return sparse.csr_array((weight, (row, histories.item_index[event[seen]])), shape=(user.size, items))


def _frozen_popularity(log: EventLog, items: int, split_us: int, days: int | None) -> Ints:
    (first,), (end,) = (
        np.searchsorted(log.event_at_us, limit, side="left")
        for limit in (starts_of(days, np.array([split_us + 1])), np.array([split_us + 1]))
    )
    return np.bincount(log.item_index[first:end], minlength=items)


def span_of(at_us: Ints) -> tuple[int, int]:
    """The first and the last of some instants."""
    return int(at_us.min(initial=NEVER)), int(at_us.max(initial=ALWAYS))
