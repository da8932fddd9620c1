"""Yardsticks: what a model must beat. Popularity, moving and frozen, and an item-to-item Markov chain.

In: events of the days around the window, `sequences` up to the split (both by delta-rs), the
evaluation examples and the candidates. Out: the rank of every label, under the same catalogue and
tie rule as the model's ranks. It knows no weights and keeps no matrix of users × items.

Shape legend
    N  items     X  examples     E  events     W  examples scored at once
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from numpy.typing import NDArray
from scipy import sparse

from expectations.instants import day_of
from expectations.tables import EVENTS, SEQUENCES, location
from model.data.candidates import Candidates, tied_rank
from model.evaluation.examples import DAY_US, HOUR_US, Examples
from model.evaluation.names import FROZEN, MARKOV, MOVING

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

POPULARITY_DAYS = 7
"""Popularity counts the events of this many days."""
CHAIN_EVENTS = 5
"""The Markov chain looks at this many last events …"""
CHAIN_DECAY = 0.7
"""… each weighted this much less than the next one."""
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
"""What each yardstick is, in words."""


@dataclass(frozen=True)
class EventLog:
    """Events of all users in order of time."""

    item_index: Ints
    """int64 [E]."""
    event_at_us: Ints
    """int64 [E], ascending; microseconds since 1970-01-01 UTC."""


def read_events(
    lake: str, source: str, version: int, item_id: pa.Array, after_us: int, until_us: int
) -> EventLog:
    """Events later than `after_us` and not later than `until_us` from `events` at a Delta version.

    Only the days' partitions are read; `item_id` [N] turns names into item_index. An event whose
    item is not in it is left out.
    """
    table = DeltaTable(location(lake, source, EVENTS.name), version=version)
    date = pc.field("event_date")
    wanted = (date >= day_of(after_us)) & (date <= day_of(until_us))
    items, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for batch in table.to_pyarrow_dataset().to_batches(columns=["item_id", "event_at"], filter=wanted):
        at_us = batch["event_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        index = pc.index_in(batch["item_id"], value_set=item_id).fill_null(-1).to_numpy()
        kept = (at_us > after_us) & (at_us <= until_us) & (index >= 0)
        items.append(index[kept].astype(np.int64))
        times.append(at_us[kept])
    item_index, event_at_us = np.concatenate(items), np.concatenate(times)
    order = np.argsort(event_at_us, kind="stable")
    return EventLog(item_index[order], event_at_us[order])


def read_transitions(lake: str, source: str, cycle: str, version: int, items: int) -> sparse.csr_array:
    """Counts of (event, next event of the same user) up to the split, float64 [N, N] sparse.

    Streamed from `sequences` at a Delta version: a row's loss positions are each event once, and
    the event before the first of them lies in the row's context. (Rows cut without any context
    lose the one transition between two chunks.)
    """
    table = DeltaTable(location(lake, source, SEQUENCES.name), version=version)
    counts = sparse.csr_array((items, items), dtype=np.float64)
    chosen = pc.field("cycle") == cycle
    for batch in table.to_pyarrow_dataset().to_batches(columns=["item_index", "loss_start"], filter=chosen):
        if batch.num_rows == 0:
            continue
        item = batch["item_index"].flatten().to_numpy().astype(np.int64)
        lengths = np.diff(batch["item_index"].offsets.to_numpy())
        start = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        within = np.arange(item.size) - np.repeat(start, lengths)
        second = np.flatnonzero(within >= np.maximum(np.repeat(batch["loss_start"].to_numpy(), lengths), 1))
        pairs = (np.ones(second.size), (item[second - 1], item[second]))
        counts = counts + sparse.coo_array(pairs, shape=(items, items)).tocsr()
    return counts


def popularity_ranks(examples: Examples, candidates: Candidates, log: EventLog, delay_hours: float) -> Floats:
    """Moving popularity: events in [request − 7 days, request), the request being the label's time
    minus the delay. float64 [X]; a label outside the catalogue has rank |C| + 1."""
    request = examples.event_at_us - round(delay_hours * HOUR_US)
    first = np.searchsorted(log.event_at_us, request - POPULARITY_DAYS * DAY_US, side="left")
    end = np.searchsorted(log.event_at_us, request, side="left")
    higher, equal = _popularity_counts(examples, candidates, log, first, end)
    return _placed(examples, candidates, tied_rank(higher, equal))


def frozen_popularity_ranks(
    examples: Examples, candidates: Candidates, log: EventLog, split_us: int
) -> Floats:
    """Frozen popularity: events in (split − 7 days, split]. float64 [X]."""
    higher, equal = _frozen_counts(examples, candidates, log, split_us)
    return _placed(examples, candidates, tied_rank(higher, equal))


def markov_ranks(
    examples: Examples,
    candidates: Candidates,
    log: EventLog,
    transitions: sparse.csr_array,
    ends: Ints,
    split_us: int,
) -> Floats:
    """The chain: score of j is Σ_a 0.7^a · transitions[x_a, j] over the last five events x_0, x_1, …
    before `ends` (int64 [X]); what scores equal is ordered by frozen popularity. float64 [X]."""
    higher, equal = (
        count.astype(np.float64) for count in _frozen_counts(examples, candidates, log, split_us)
    )
    popularity = _frozen_popularity(candidates, log, split_us)
    size = candidates.sizes_at(examples.event_at_us)
    for start in range(0, examples.size, CHAIN_BLOCK):
        block = slice(start, min(start + CHAIN_BLOCK, examples.size))
        scores = (_last_events(examples, ends, block, popularity.size) @ transitions).tocsr()
        row = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
        # A label's score is read from the same product as its rivals'.
        label = examples.item_index[block]
        own = np.zeros(scores.shape[0])
        is_label = scores.indices == label[row]
        own[row[is_label]] = scores.data[is_label]
        rival = (candidates.column[scores.indices] < size[block][row]) & ~is_label
        row, item, value = row[rival], scores.indices[rival], scores.data[rival]
        more_popular = popularity[item] > popularity[label][row]
        as_popular = popularity[item] == popularity[label][row]
        above = (value > own[row]) | ((value == own[row]) & more_popular)
        beside = (value == own[row]) & as_popular

        def count(flags: NDArray[np.bool_], row: Ints = row, width: int = own.size) -> Floats:
            return np.bincount(row[flags], minlength=width).astype(np.float64)

        # An unscored label stands below all that are scored, and among the unscored by popularity.
        unscored = own == 0
        higher[block] = np.where(unscored, higher[block] + count(~more_popular), count(above))
        equal[block] = np.where(unscored, equal[block] - count(as_popular), count(beside))
    return _placed(examples, candidates, tied_rank(higher, equal))


def _last_events(examples: Examples, ends: Ints, block: slice, items: int) -> sparse.csr_array:
    """Weights of the last events by item, float64 [W, N] sparse."""
    histories, user = examples.histories, examples.user[block]
    place = ends[block, None] - 1 - np.arange(CHAIN_EVENTS)  # [W, CHAIN_EVENTS]
    seen = place >= histories.offset[user][:, None]
    row, back = np.nonzero(seen)
    weight = CHAIN_DECAY**back
    return sparse.csr_array((weight, (row, histories.item_index[place[seen]])), shape=(user.size, items))


def _frozen_popularity(candidates: Candidates, log: EventLog, split_us: int) -> Ints:
    first, end = _frozen_range(log, split_us)
    return np.bincount(log.item_index[first:end], minlength=candidates.column.size)


def _frozen_range(log: EventLog, split_us: int) -> tuple[int, int]:
    first = np.searchsorted(log.event_at_us, split_us - POPULARITY_DAYS * DAY_US, side="right")
    return int(first), int(np.searchsorted(log.event_at_us, split_us, side="right"))


def _frozen_counts(
    examples: Examples, candidates: Candidates, log: EventLog, split_us: int
) -> tuple[Ints, Ints]:
    first, end = _frozen_range(log, split_us)
    return _popularity_counts(
        examples, candidates, log, np.full(examples.size, first), np.full(examples.size, end)
    )


def _popularity_counts(
    examples: Examples, candidates: Candidates, log: EventLog, first: Ints, end: Ints
) -> tuple[Ints, Ints]:
    """Of each label: candidates with more events in log[first:end], and others with as many; [X] each.

    Labels are visited in order of time with one sliding window, and a histogram of how many
    candidates have c events is kept beside it: the cost is that of the events, not labels × items.
    """
    count = np.zeros(candidates.column.size, dtype=np.int64)
    most = int(np.bincount(log.item_index, minlength=1).max()) if log.item_index.size else 0
    having = np.zeros(most + 2, dtype=np.int64)
    higher, equal = np.zeros(examples.size, dtype=np.int64), np.zeros(examples.size, dtype=np.int64)
    sizes = candidates.sizes_at(examples.event_at_us)
    left = right = launched = 0
    for one in np.argsort(examples.event_at_us, kind="stable"):
        if first[one] > left or end[one] > right:
            added, dropped = log.item_index[right : end[one]], log.item_index[left : first[one]]
            changed = np.unique(np.concatenate([added, dropped]))
            counted = changed[candidates.column[changed] < launched]
            np.subtract.at(having, count[counted], 1)
            np.add.at(count, added, 1)
            np.subtract.at(count, dropped, 1)
            np.add.at(having, count[counted], 1)
            left, right = int(first[one]), int(end[one])
        if sizes[one] > launched:
            np.add.at(having, count[candidates.item_index[launched : sizes[one]]], 1)
            launched = int(sizes[one])
        own = count[examples.item_index[one]]
        higher[one] = having[own + 1 :].sum()
        equal[one] = having[own] - 1
    return higher, equal


def _placed(examples: Examples, candidates: Candidates, rank: Floats) -> Floats:
    """|C| + 1 for labels outside the catalogue."""
    size = candidates.sizes_at(examples.event_at_us)
    return np.where(candidates.column[examples.item_index] < size, rank, size + 1.0)
