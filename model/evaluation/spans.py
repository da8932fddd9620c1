"""Spans of time that a yardstick counts: the shortest that holds enough to say what is popular.

Beating a yardstick that counted next to nothing proves nothing, so that a span with few events gives way
to a longer one.

Shape legend
    E  events of the log     X  requests
"""

from __future__ import annotations

import numpy as np

from expectations.instants import DAY_US
from model.arrays import Ints
from model.data.events import EventLog
from model.evaluation.figures import Span

SPANS_DAYS: tuple[int | None, ...] = (7, 28, 180, None)
"""What is tried in this order, in days; None is the whole log."""
FEWEST_EVENTS = 100
"""Below this even the count of an item with a tenth of all events is off by a third."""
FEWEST_ITEMS = 10
"""Below this most of the catalogue ties at no event, and a list of ten is not filled."""


def is_enough(span: Span) -> bool:
    """Whether the span holds enough events and distinct items to rank by."""
    return span.events >= FEWEST_EVENTS and span.items >= FEWEST_ITEMS


def spans_until(log: EventLog, until_us: int) -> tuple[Span, ...]:
    """The spans tried that end with an instant, up to the first that is enough, or all."""
    return _tried(log, np.array([until_us + 1]))


def spans_before(log: EventLog, request_us: Ints) -> tuple[Span, ...]:
    """The spans tried that end just before each request, int64 [X], up to the first that is enough, or all.

    Each is described by the request whose span holds the middle number of events.
    """
    return _tried(log, request_us)


def whole_log(log: EventLog) -> Span:
    """The span of every event."""
    return _of(log, None, 0, log.item_index.size)


def starts_of(days: int | None, request_us: Ints) -> Ints:
    """The first instant of the days before each request, int64 [X]."""
    return np.full_like(request_us, np.iinfo(np.int64).min) if days is None else request_us - days * DAY_US


def _tried(log: EventLog, request_us: Ints) -> tuple[Span, ...]:
    tried: list[Span] = []
    end = np.searchsorted(log.event_at_us, request_us, side="left")
    for days in SPANS_DAYS:
        first = np.searchsorted(log.event_at_us, starts_of(days, request_us), side="left")
        middle = np.argsort(end - first, kind="stable")[(end.size - 1) // 2]
        tried.append(_of(log, days, int(first[middle]), int(end[middle])))
        if is_enough(tried[-1]):
            break
    return tuple(tried)


def _of(log: EventLog, days: int | None, first: int, end: int) -> Span:
    return Span(days, end - first, int(np.unique(log.item_index[first:end]).size))
