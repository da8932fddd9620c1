"""Yardsticks that a model must beat: moving popularity, frozen popularity, and an item-to-item Markov chain.

They rank the same labels among the same eligible items and with the same tie rule as a model, without a
matrix of users × items.

Shape legend
    N  items     X  examples     W  examples scored at once
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from expectations.instants import DAY_US, HOUR_US
from model.arrays import Flags, Floats, Ints
from model.data.eligible_items import EligibleItems
from model.data.events import EventLog
from model.evaluation.examples import Examples
from model.evaluation.metrics import tied_rank
from model.evaluation.names import FROZEN, MARKOV, MOVING

POPULARITY_DAYS = 7
"""Days whose events popularity counts."""
CHAIN_EVENTS = 5
"""Last events of a history that the chain reads …"""
CHAIN_DECAY = 0.7
"""… and the weight of each relative to the event after it."""
CHAIN_BLOCK = 512
"""W: examples whose sparse scores are held at once."""

DEFINITIONS = {
    MOVING: "all events of the 7 days before the request, replay only; ties at half",
    FROZEN: "all events of the 7 days up to the split; ties at half",
    MARKOV: (
        "counts of consecutive events of a user up to the split, last 5 visible events weighted 0.7^a; "
        "equal and unscored items by frozen popularity; ties at half"
    ),
}
"""What each yardstick computes. Part of the digest that its ranks are stored under."""


def popularity_ranks(
    examples: Examples, eligible: EligibleItems, log: EventLog, delay_hours: float
) -> Floats:
    """Moving popularity: events in [request − 7 days, request), where the request is the label's time
    minus the delay. float64 [X]; |C| + 1 for a label that is not eligible."""
    request = examples.event_at_us - round(delay_hours * HOUR_US)
    first = np.searchsorted(log.event_at_us, request - POPULARITY_DAYS * DAY_US, side="left")
    end = np.searchsorted(log.event_at_us, request, side="left")
    higher, equal = _popularity_counts(examples, eligible, log, first, end)
    return _or_last(examples, eligible, tied_rank(higher, equal))


def frozen_popularity_ranks(
    examples: Examples, eligible: EligibleItems, log: EventLog, split_us: int
) -> Floats:
    """Frozen popularity: events in (split − 7 days, split]. float64 [X]."""
    higher, equal = _frozen_counts(examples, eligible, log, split_us)
    return _or_last(examples, eligible, tied_rank(higher, equal))


def markov_ranks(
    examples: Examples,
    eligible: EligibleItems,
    log: EventLog,
    transitions: sparse.csr_array,
    ends: Ints,
    split_us: int,
) -> Floats:
    """The Markov chain: item j scores Σ_a 0.7^a · transitions[x_a, j] over the last five events x_0, x_1, …
    before `ends` (int64 [X]); equal scores are ordered by frozen popularity. float64 [X]."""
    higher, equal = (count.astype(np.float64) for count in _frozen_counts(examples, eligible, log, split_us))
    popularity = _frozen_popularity(eligible, log, split_us)
    size = eligible.sizes_at(examples.event_at_us)
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
    return _or_last(examples, eligible, tied_rank(higher, equal))


def _last_events(examples: Examples, ends: Ints, block: slice, items: int) -> sparse.csr_array:
    """Weights of the last events by item, float64 [W, N] sparse."""
    histories, user = examples.histories, examples.user[block]
    event = ends[block, None] - 1 - np.arange(CHAIN_EVENTS)  # [W, CHAIN_EVENTS]
    seen = event >= histories.offset[user][:, None]
    row, back = np.nonzero(seen)
    weight = CHAIN_DECAY**back
    return sparse.csr_array((weight, (row, histories.item_index[event[seen]])), shape=(user.size, items))


def _frozen_popularity(eligible: EligibleItems, log: EventLog, split_us: int) -> Ints:
    first, end = _frozen_range(log, split_us)
    return np.bincount(log.item_index[first:end], minlength=eligible.column.size)


def _frozen_range(log: EventLog, split_us: int) -> tuple[int, int]:
    first = np.searchsorted(log.event_at_us, split_us - POPULARITY_DAYS * DAY_US, side="right")
    return int(first), int(np.searchsorted(log.event_at_us, split_us, side="right"))


def _frozen_counts(
    examples: Examples, eligible: EligibleItems, log: EventLog, split_us: int
) -> tuple[Ints, Ints]:
    first, end = _frozen_range(log, split_us)
    return _popularity_counts(
        examples, eligible, log, np.full(examples.size, first), np.full(examples.size, end)
    )


def _popularity_counts(
    examples: Examples, eligible: EligibleItems, log: EventLog, first: Ints, end: Ints
) -> tuple[Ints, Ints]:
    """For each label: eligible items with more events in log[first:end], and others with as many; [X] each.

    Labels are visited in order of time with one sliding window over the log and a histogram of how many
    eligible items have c events, so that the cost is that of the events, not labels × items.
    """
    count = np.zeros(eligible.column.size, dtype=np.int64)
    most = int(np.bincount(log.item_index, minlength=1).max()) if log.item_index.size else 0
    having = np.zeros(most + 2, dtype=np.int64)
    higher, equal = np.zeros(examples.size, dtype=np.int64), np.zeros(examples.size, dtype=np.int64)
    sizes = eligible.sizes_at(examples.event_at_us)
    left = right = launched = 0
    for example in np.argsort(examples.event_at_us, kind="stable"):
        if first[example] > left or end[example] > right:
            added, dropped = log.item_index[right : end[example]], log.item_index[left : first[example]]
            changed = np.unique(np.concatenate([added, dropped]))
            counted = changed[eligible.column[changed] < launched]
            np.subtract.at(having, count[counted], 1)
            np.add.at(count, added, 1)
            np.subtract.at(count, dropped, 1)
            np.add.at(having, count[counted], 1)
            left, right = int(first[example]), int(end[example])
        if sizes[example] > launched:
            np.add.at(having, count[eligible.item_index[launched : sizes[example]]], 1)
            launched = int(sizes[example])
        own = count[examples.item_index[example]]
        higher[example] = having[own + 1 :].sum()
        equal[example] = having[own] - 1
    return higher, equal


def _or_last(examples: Examples, eligible: EligibleItems, rank: Floats) -> Floats:
    """The ranks, with |C| + 1 for labels that are not eligible."""
    size = eligible.sizes_at(examples.event_at_us)
    return np.where(eligible.column[examples.item_index] < size, rank, size + 1.0)
