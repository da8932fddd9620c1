"""Decayed popularity: an item's score is Σ 2^(−age / half-life) over its events, and its half-life is chosen
before the split.

Between two events of an item nothing but the common factor 2^(−time / half-life) changes, so that the order
of items changes only where one of them has an event. A score is compared as of a common instant, as a power
of two and a fraction: it overflows nowhere, however many half-lives lie between two events.

Shape legend
    E  events     C  changes     X  labels
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from expectations.instants import HOUR_US
from model.arrays import Ints
from model.data.eligible_items import EligibleItems
from model.data.events import EventLog
from model.evaluation.metrics import reciprocal_rank, tied_rank
from model.evaluation.standings import ALWAYS, NEVER, Changes, Standings

HALF_LIVES_HOURS = (1.0, 6.0, 24.0, 72.0, 168.0, 720.0, 4320.0, 17280.0)
"""What is tried, in hours: 1 h, 6 h, then 1, 3, 7, 30, 180 and 720 days."""
FRACTION_BITS = 43
"""Bits of the fraction that are compared. Sums of the same terms in another order differ in the last few of
52 bits and still tie; an event 43 half-lives older than an item's last one changes nothing."""
EXPONENTS = 1 << 19
"""Powers of two that are told apart, counted from the highest: half a million half-lives."""


@dataclass(frozen=True)
class HalfLife:
    """The half-life chosen, and what it was chosen by."""

    hours: float
    labels: int
    """High-value events that it was chosen on, all up to the split."""
    mrr: Mapping[float, float]
    """MRR of decayed popularity on them, by half-life in hours; empty without labels."""


def decayed_keys(log: EventLog, half_life_hours: float) -> Ints:
    """Score of an event's item just after that event, int64 [E]: a positive whole number in the order of
    the scores, comparable between events as if all scores were of one instant.

    Events at 0 h and 1 h with a half-life of 1 h: 2^−1 + 1 as of 1 h, more than one event at 1 h (1) and
    less than one at 2 h (2).
    """
    half_life_us = round(half_life_hours * HOUR_US)
    order = np.argsort(log.item_index, kind="stable")
    item, at_us = log.item_index[order], log.event_at_us[order]
    is_first = np.append(True, item[1:] != item[:-1])[: item.size]
    gap = np.diff(at_us, prepend=0)
    decay = np.where(is_first, 0.0, np.exp2(-np.where(is_first, 0, gap) / half_life_us))
    total = _decayed_sums(decay)
    whole, rest = np.divmod(at_us, half_life_us)
    fraction, exponent = np.frexp(total * np.exp2(rest / half_life_us))
    bits = np.rint(np.ldexp(fraction, FRACTION_BITS + 1)).astype(np.int64)  # [2^43, 2^44]
    exponent = exponent + whole
    exponent -= exponent.max(initial=ALWAYS // 2)
    # Addition carries a fraction rounded up to 1 into the exponent.
    key = (np.maximum(exponent + EXPONENTS, 0) << FRACTION_BITS) + bits
    keys = np.empty_like(key)
    keys[order] = key
    return keys


def decayed_changes(
    log: EventLog, half_life_hours: float, delay_hours: float, first_us: int, last_us: int
) -> Changes:
    """Decayed popularity for labels from `first_us` to `last_us`: an event counts for labels later than it
    by more than the delay. Levels are dense and positive; an item without an event has level 0."""
    keys = decayed_keys(log, half_life_hours)
    from_us = log.event_at_us + round(delay_hours * HOUR_US) + 1
    begun, later = (int(np.searchsorted(from_us, limit, side="right")) for limit in (first_us, last_us))
    latest = np.full(int(log.item_index.max(initial=-1)) + 1, -1)
    latest[log.item_index[:begun]] = np.arange(begun)
    kept = np.concatenate([latest[latest >= 0], np.arange(begun, later)])
    level = 1 + np.unique(keys[kept], return_inverse=True)[1].reshape(-1)
    return Changes(log.item_index[kept], from_us[kept], level)


def choose_half_life(log: EventLog, labels: EventLog, eligible: EligibleItems) -> HalfLife:
    """The half-life with the highest MRR over `labels`, each ranked from the events strictly before it;
    the shortest of several. Without a label it is the longest, which is closest to plain popularity.

    Whoever calls sees to it that no event lies after the split.
    """
    at_us, item = labels.event_at_us, labels.item_index
    if at_us.size == 0:
        return HalfLife(HALF_LIVES_HOURS[-1], 0, {})
    first_us, last_us = int(at_us.min(initial=NEVER)), int(at_us.max(initial=ALWAYS))
    size = eligible.sizes_at(at_us)
    mrr = {}
    for hours in HALF_LIVES_HOURS:
        changes = decayed_changes(log, hours, 0.0, first_us, last_us)
        standings = Standings.of(changes, eligible, first_us, last_us)
        own = standings.level_of(item, at_us)
        higher, equal = standings.counts(np.maximum(own, 0), at_us)
        rank = np.where(own >= 0, tied_rank(higher, equal - 1), size + 1.0)
        mrr[hours] = float(reciprocal_rank(rank).mean())
    return HalfLife(max(mrr, key=mrr.__getitem__), at_us.size, mrr)


def _decayed_sums(decay: np.ndarray) -> np.ndarray:
    """x where x[k] = 1 + decay[k] · x[k − 1], float64 [E]; the first decay of every item is 0.

    By doubling: after each step a sum reaches twice as far back. Costs E · log₂(events of an item), less
    where decays vanish.
    """
    total, reach, step = np.ones(decay.size), decay.copy(), 1
    while step < decay.size and reach.any():
        total[step:] += reach[step:] * total[:-step]
        reach[step:] = reach[step:] * reach[:-step]
        step *= 2
    return total
