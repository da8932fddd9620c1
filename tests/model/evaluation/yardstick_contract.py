"""What every yardstick must satisfy. A yardstick gets these tests by a subclass that names it:

class TestMovingPopularity(YardstickContract):
    name = MOVING
    by_hand = (3 / 2, 3 / 2, 3, 9 / 2, 9 / 2)

    def ranks(self, seen: Evidence) -> Floats: ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse

from expectations.instants import DAY_US, HOUR_US
from model.arrays import Floats, Ints
from model.data.eligible_items import EligibleItems
from model.data.events import EventLog
from model.evaluation.examples import Examples, history_ends, request_times
from model.evaluation.names import ModelName
from tests.model.window_of import eligible, examples

DAY = 24.0
SPLIT_US = 10 * DAY_US
LABEL_HOUR = 12 * DAY
ITEMS = 7
ELIGIBLE = 5
"""Items 0 to 4 are eligible at every label; 5 is launched a day later, 6 is retired."""
LAUNCHED = {5: LABEL_HOUR + DAY}
RETIRED = (6,)
HISTORY = [(2, 9 * DAY)]
"""Every user's events before the label."""


@dataclass(frozen=True)
class Evidence:
    """All that a yardstick may read to rank the labels."""

    examples: Examples
    eligible: EligibleItems
    log: EventLog
    transitions: sparse.csr_array
    delay_hours: float = 0.0
    split_us: int = SPLIT_US

    @property
    def ends(self) -> Ints:
        """Where each example's visible history ends, under replay."""
        return history_ends(self.examples, "replay", self.delay_hours, self.split_us)

    @property
    def request_us(self) -> Ints:
        """Time of each example's request, under replay."""
        return request_times(self.examples, "replay", self.delay_hours, self.split_us)


def log_of(*events: tuple[int, float]) -> EventLog:
    """Events as (item, hour), in order of time."""
    items, hours = zip(*events, strict=True) if events else ((), ())
    at_us = [round(hour * HOUR_US) for hour in hours]
    return EventLog(np.array(items, dtype=np.int64), np.array(at_us, dtype=np.int64))


def transitions_of(items: int, *counts: tuple[int, int, float]) -> sparse.csr_array:
    """Counts as (item, next item, number)."""
    first, second, number = zip(*counts, strict=True) if counts else ((), (), ())
    return sparse.coo_array((number, (first, second)), shape=(items, items)).tocsr()


LOG = log_of((0, 1 * DAY), (1, 5 * DAY), (1, 6 * DAY), (2, 7 * DAY), (0, 11 * DAY), (0, 11.5 * DAY))
"""Up to the split, within 7 days: item 1 twice, item 2 once. Before the label, within 7 days: also item 0
twice."""
TRANSITIONS = transitions_of(ITEMS, (2, 3, 1.0), *((item, item, 5.0) for item in (0, 1, 3, 4)))
"""Item 3 follows item 2. Every other item follows itself: who sees the label would rank it first."""


def evidence(later: tuple[tuple[int, float], ...] = (), **changes) -> Evidence:
    """One label per item, all at the same time and after the same history; `later` are events after it."""
    users = [[*HISTORY, (item, LABEL_HOUR), *later] for item in range(ITEMS)]
    window = examples(users, [[1]] * ITEMS, ITEMS, LAUNCHED)
    return replace(Evidence(window, eligible(ITEMS, LAUNCHED, RETIRED), LOG, TRANSITIONS), **changes)


def with_events(log: EventLog, item: int, at_us: list[int]) -> EventLog:
    """The log with more events of an item."""
    items, times = np.append(log.item_index, [item] * len(at_us)), np.append(log.event_at_us, at_us)
    order = np.argsort(times, kind="stable")
    return EventLog(items[order], times[order])


class YardstickContract:
    """Ranks of a yardstick that can be checked by hand, and that know no future."""

    name: ClassVar[ModelName]
    """The yardstick's name in `ranks`, a key of `yardsticks.DEFINITIONS`."""
    by_hand: ClassVar[tuple[float, ...]]
    """Ranks of the items 0 to 4 as labels of `evidence()`, as fractions."""
    without_evidence: ClassVar[tuple[float, ...]] = ((1 + ELIGIBLE) / 2,) * ELIGIBLE
    """The same where no event and no transition is known."""
    is_frozen: ClassVar[bool] = True
    """Whether it counts other users' events up to the split alone; else up to the request."""

    def ranks(self, seen: Evidence) -> Floats:
        """The yardstick's ranks under replay, float64 [X]."""
        raise NotImplementedError

    def test_ranks_are_those_counted_by_hand(self):
        assert self.ranks(evidence()).tolist()[:ELIGIBLE] == list(self.by_hand)

    def test_labels_that_are_not_eligible_have_the_rank_after_all(self):
        assert self.ranks(evidence()).tolist()[ELIGIBLE:] == [ELIGIBLE + 1] * 2

    def test_items_without_evidence_tie(self):
        nothing = evidence(log=log_of(), transitions=transitions_of(ITEMS))
        assert self.ranks(nothing).tolist()[:ELIGIBLE] == list(self.without_evidence)

    @pytest.mark.parametrize("delay_hours", [0.0, 48.0])
    def test_events_that_it_must_not_know_change_no_rank(self, delay_hours):
        seen = evidence(delay_hours=delay_hours)
        hidden_from = SPLIT_US + 1 if self.is_frozen else int(seen.request_us[0])
        at_us = [hidden_from, hidden_from + 1, hidden_from + 5 * DAY_US, *[hidden_from + DAY_US] * 20]
        for item in range(ITEMS):
            planted = replace(seen, log=with_events(seen.log, item, at_us))
            assert self.ranks(planted).tolist() == self.ranks(seen).tolist()

    def test_the_last_event_that_it_may_know_counts(self):
        seen = evidence()
        known_until = SPLIT_US if self.is_frozen else int(seen.request_us[0]) - 1
        planted = replace(seen, log=with_events(seen.log, 4, [known_until] * 3))
        assert self.ranks(planted)[4] < self.ranks(seen)[4]

    @pytest.mark.parametrize("delay_hours", [0.0, 48.0, 96.0])
    def test_what_the_user_does_at_or_after_the_request_changes_no_rank(self, delay_hours):
        seen = evidence(delay_hours=delay_hours)
        planted = evidence(((3, LABEL_HOUR), (2, LABEL_HOUR + 1)), delay_hours=delay_hours)
        assert self.ranks(planted).tolist() == self.ranks(seen).tolist()

    def test_labels_do_not_depend_on_which_others_are_ranked(self):
        whole = evidence()
        ranks = self.ranks(whole)
        for item in range(ITEMS):
            window = examples([[*HISTORY, (item, LABEL_HOUR)]], [[1]], ITEMS, LAUNCHED)
            assert self.ranks(replace(whole, examples=window)).tolist() == [ranks[item]]
