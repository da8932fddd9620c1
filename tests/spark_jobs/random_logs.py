"""Random small logs, in the short rows of `tests.factories.events_frame`."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from expectations.instants import DAY_US, HOUR_US, SECOND_US, microseconds
from tests.factories import START

ITEMS = ("a", "b", "c")
USERS = ("ann", "bob", "cy")
ACTIONS = ("seen", "liked")
GAPS_US = (0, 1, SECOND_US, HOUR_US, 7 * HOUR_US, DAY_US, 40 * DAY_US, 400 * DAY_US)
"""Ties, neighbours, and gaps of hundreds of the shortest half-lives that tests use."""


class LoggedEvent(NamedTuple):
    """One event of a random log; `line` is its place in the log's file."""

    at_us: int
    line: int
    user: str
    item: str
    action: str


@st.composite
def logs(draw: st.DrawFn) -> list[LoggedEvent]:
    """One to thirty events; the order of lines is not that of time, as when events arrive late."""
    parts = st.tuples(
        st.sampled_from(GAPS_US), st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(ACTIONS)
    )
    drawn = draw(st.lists(parts, min_size=1, max_size=30))
    lines = draw(st.permutations(range(1, len(drawn) + 1)))
    # Begins before START and, after the longest gaps, ends long after it.
    at, events = microseconds(START) - 3 * HOUR_US, []
    for (gap, user, item, action), line in zip(drawn, lines, strict=True):
        at += gap
        events.append(LoggedEvent(at, line, user, item, action))
    return sorted(events)


def rows(log: list[LoggedEvent]) -> list[tuple]:
    """The log for `events_frame`, in the order of its lines."""
    start_us = microseconds(START)
    return [
        (event.user, event.item, (event.at_us - start_us) / SECOND_US, event.action)
        for event in sorted(log, key=lambda event: event.line)
    ]


@st.composite
def instants(draw: st.DrawFn, log: list[LoggedEvent]) -> int:
    """An instant at, just before, just after or far from an event of the log, in microseconds."""
    event = draw(st.sampled_from(log))
    return event.at_us + draw(st.sampled_from((-DAY_US, -1, 0, 1, HOUR_US, 30 * DAY_US)))
