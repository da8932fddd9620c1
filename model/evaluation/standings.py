"""Standings: ranks among items whose scores change over time, counted for every label at once.

A score is given as a level, a whole number in the same order: scores that tie have the same level. An
item's level holds from one change until its next, and an item takes part from its launch on. Each such span
is an entry; what stands at an instant are the spans begun by then less those ended by then. Counting the
entries of a prefix above a value is what a wavelet matrix does (Claude, Navarro and Ordóñez, 2015), so that
the cost is (spans + labels) × bits of a level, and no matrix of labels × items exists.

Shape legend
    C  changes     S  spans     M  eligible items     X  labels
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import Ints
from model.data.eligible_items import EligibleItems

ALWAYS = int(np.iinfo(np.int64).min)
"""Time of a change that holds from the start."""
NEVER = int(np.iinfo(np.int64).max)
"""End of a span that has no next change."""


@dataclass(frozen=True)
class Changes:
    """Levels of items over time; int64 [C] each. Of several changes at one instant the last one holds.

    Before its first change an item has level 0, the lowest.
    """

    item_index: Ints
    from_us: Ints
    """First instant at which the level holds, microseconds since 1970-01-01 UTC."""
    level: Ints
    """0 or more; the fewer bits they have, the cheaper it is to count."""


@dataclass(frozen=True)
class Standings:
    """Levels of the eligible items at every instant of a span of time."""

    column: Ints
    """int64 [S]; the item's position among the eligible ones, ascending."""
    start_us: Ints
    """int64 [S]; ascending within an item."""
    end_us: Ints
    """int64 [S]; one past the last instant."""
    level: Ints
    """int64 [S]."""
    eligible: EligibleItems

    @classmethod
    def of(cls, changes: Changes, eligible: EligibleItems, first_us: int, last_us: int) -> Standings:
        """The spans that touch [first_us, last_us]."""
        column, size = eligible.column[changes.item_index], eligible.item_index.size
        known = column < size
        columns = np.concatenate([np.arange(size), column[known]])
        begins = np.concatenate([np.full(size, ALWAYS), changes.from_us[known]])
        levels = np.concatenate([np.zeros(size, np.int64), changes.level[known]])
        order = np.lexsort((begins, columns))  # stable: the last of equal instants stays last
        columns, begins, levels = columns[order], begins[order], levels[order]
        ends = np.append(begins[1:], NEVER)
        ends[np.append(columns[1:] != columns[:-1], True)[: ends.size]] = NEVER
        starts = np.maximum(begins, eligible.launched_at_us[columns])
        kept = (ends > np.maximum(starts, first_us)) & (starts <= last_us)
        return cls(columns[kept], starts[kept], ends[kept], levels[kept], eligible)

    def level_of(self, item_index: Ints, at_us: Ints) -> Ints:
        """Level of an item at an instant, int64 [X]; −1 where it is not eligible then."""
        column = self.eligible.column[item_index]
        low, end = (np.searchsorted(self.column, column, side) for side in ("left", "right"))
        begin, high = low.copy(), end
        # A binary search in every item's own spans at once, for the first that starts later.
        while (open_ := low < high).any():
            middle = (low + high) // 2
            begun = open_ & (self.start_us[np.minimum(middle, self.column.size - 1)] <= at_us)
            low = np.where(begun, middle + 1, low)
            high = np.where(open_ & ~begun, middle, high)
        found = low > begin
        level = np.full(item_index.size, -1)
        level[found] = self.level[low[found] - 1]
        return level

    def counts(self, level: Ints, at_us: Ints) -> tuple[Ints, Ints]:
        """Eligible items at an instant with a higher level, and those with the same; int64 [X] each."""
        higher, equal = np.zeros(level.size, np.int64), np.zeros(level.size, np.int64)
        for times, sign in ((self.start_us, 1), (self.end_us, -1)):
            order = np.argsort(times, kind="stable")
            begun = np.searchsorted(times[order], at_us, side="right")
            above, same = count_above(self.level[order], begun, level)
            higher += sign * above
            equal += sign * same
        return higher, equal

    def top(self, at_us: Ints, k: int) -> Ints:
        """The k eligible items with the highest levels at each instant, best first: `item_index` int64 [X, k],
        −1 where fewer are eligible. Equal ones in order of launch."""
        order = np.lexsort((-self.column, self.level))  # no two spans are equal any more
        place = np.empty_like(order)
        place[order] = np.arange(order.size)
        sides = []
        for times in (self.start_us, self.end_us):
            in_time = np.argsort(times, kind="stable")
            sides.append((place[in_time], np.searchsorted(times[in_time], at_us, side="right")))
        (begun, until), (ended, gone) = sides
        best = np.full((at_us.size, k), -1)
        for number in range(k):
            # What has begun and not ended is what the one sequence has and the other has not.
            found, some = _nth_highest(begun, until, ended, gone, number), until - gone > number
            best[some, number] = self.eligible.item_index[self.column[order[found[some]]]]
        return best


def _nth_highest(sequence: Ints, first: Ints, without: Ints, gone: Ints, number: int) -> Ints:
    """The value with `number` others above it among the first `first` entries of a sequence less the first
    `gone` of another, which are among them; int64 [X]. As in `count_above`, bit by bit."""
    largest = int(sequence.max(initial=0))
    spans = [[np.zeros_like(first), first.copy()], [np.zeros_like(gone), gone.copy()]]
    sequences, above, value = [sequence, without], np.full_like(first, number), np.zeros_like(first)
    for bit in reversed(range(largest.bit_length())):
        split = []
        for side, entries in enumerate(sequences):
            is_one = (entries >> bit & 1).astype(bool)
            ones = np.concatenate([[0], np.cumsum(is_one)])
            zeros = entries.size - ones[-1]
            split.append((zeros, *(ones[limit] for limit in spans[side])))
            sequences[side] = np.concatenate([entries[~is_one], entries[is_one]])
        here = (split[0][2] - split[0][1]) - (split[1][2] - split[1][1])
        goes_high = above < here
        above = np.where(goes_high, above, above - here)
        value = value << 1 | goes_high
        for side, (zeros, *limits) in enumerate(split):
            spans[side] = [
                np.where(goes_high, zeros + limit, span - limit)
                for span, limit in zip(spans[side], limits, strict=True)
            ]
    return np.minimum(value, max(sequence.size - 1, 0))


def count_above(sequence: Ints, first: Ints, value: Ints) -> tuple[Ints, Ints]:
    """How many of the first `first` entries of a sequence are above a value, and how many equal it.

    `sequence` int64 [S] and `value` int64 [X] are 0 or more; `first` int64 [X]. In 3, 1, 2, 3 the first
    three entries have one above 2 and one equal to it. A wavelet matrix is built and read one bit at a time.
    """
    largest = max(int(sequence.max(initial=0)), int(value.max(initial=0)))
    low, high, above = np.zeros_like(first), first.copy(), np.zeros_like(first)
    for bit in reversed(range(largest.bit_length())):
        is_one = (sequence >> bit & 1).astype(bool)
        ones = np.concatenate([[0], np.cumsum(is_one)])  # before each place
        zeros = sequence.size - ones[-1]
        low_ones, high_ones = ones[low], ones[high]
        wants_one = (value >> bit & 1).astype(bool)
        above += np.where(wants_one, 0, high_ones - low_ones)
        low = np.where(wants_one, zeros + low_ones, low - low_ones)
        high = np.where(wants_one, zeros + high_ones, high - high_ones)
        sequence = np.concatenate([sequence[~is_one], sequence[is_one]])
    return above, high - low
