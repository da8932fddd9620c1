"""Yardsticks that a model must beat: popularity of several kinds, and an item-to-item Markov chain.

They rank the same labels among the same eligible items and with the same tie rule as a model, without a
matrix of users × items.

Shape legend
    N  items     E  events of the log     X  examples     W  examples scored at once
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from expectations.instants import DAY_US, HOUR_US
from model.arrays import Flags, Floats, Ints
from model.data.eligible_items import EligibleItems
from model.data.events import EventLog
from model.evaluation.examples import Examples
from model.evaluation.metrics import tied_rank
from model.evaluation.names import DECAYED, DECAYED_UNSEEN, FROZEN, MARKOV, MOVING
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
}
"""What each yardstick computes. Part of the digest that its ranks are stored under."""


@dataclass(frozen=True)
class PopularityRanks:
    """Ranks of the labels by an item's popularity, float64 [X] each; |C| + 1 for a label that is not
    eligible."""

    rank: Floats
    unseen_first: Floats
    """With the items of the visible history below all others."""


def popularity_ranks(
    examples: Examples, eligible: EligibleItems, changes: Changes, ends: Ints
) -> PopularityRanks:
    """Ranks by the levels of `changes` at the labels' times. `ends` int64 [X]: where each visible history
    ends."""
    at_us, item = examples.event_at_us, examples.item_index
    standings = Standings.of(changes, eligible, *span_of(at_us))
    own, size = standings.level_of(item, at_us), eligible.sizes_at(at_us)
    higher, equal = standings.counts(np.maximum(own, 0), at_us)
    equal -= 1
    seen_higher, seen_equal, seen = (np.zeros(item.size, np.int64) for _ in range(3))
    is_seen = np.zeros(item.size, bool)
    for label, other in SeenItems.of(examples.histories, examples.user, ends).blocks():
        level, is_own = standings.level_of(other, at_us[label]), other == item[label]
        is_seen[label[is_own]] = True
        for counter, counted in (
            (seen_higher, level > own[label]),
            (seen_equal, (level == own[label]) & ~is_own),
            (seen, level >= 0),  # eligible
        ):
            np.add.at(counter, label[counted], 1)
    below = tied_rank(size - seen + seen_higher, seen_equal)
    unseen = tied_rank(higher - seen_higher, equal - seen_equal)
    is_eligible, last = own >= 0, size + 1.0
    return PopularityRanks(
        rank=np.where(is_eligible, tied_rank(higher, equal), last),
        unseen_first=np.where(is_eligible, np.where(is_seen, below, unseen), last),
    )


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
) -> Floats:
    """The Markov chain: item j scores Σ_a 0.7^a · transitions[x_a, j] over the last five events x_0, x_1, …
    before `ends` (int64 [X]); equal scores are ordered by frozen popularity of some days. float64 [X]."""
    at_us, items = examples.event_at_us, eligible.column.size
    popularity, size = _frozen_popularity(log, items, split_us, days), eligible.sizes_at(at_us)
    standings = Standings.of(frozen_changes(log, items, split_us, days), eligible, *span_of(at_us))
    higher, equal = standings.counts(popularity[examples.item_index], at_us)
    higher, equal = higher.astype(np.float64), equal - 1.0
    for start in range(0, examples.size, CHAIN_BLOCK):
        block = slice(start, min(start + CHAIN_BLOCK, examples.size))
        scores = (_last_events(examples, ends, block, popularity.size) @ transitions).tocsr()
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

        # An unscored label ranks below every scored item, and by popularity among the unscored.
        unscored = own == 0
        higher[block] = np.where(unscored, higher[block] + count(~more_popular), count(above))
        equal[block] = np.where(unscored, equal[block] - count(as_popular), count(beside))
    is_eligible = eligible.column[examples.item_index] < size
    return np.where(is_eligible, tied_rank(higher, equal), size + 1.0)


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
