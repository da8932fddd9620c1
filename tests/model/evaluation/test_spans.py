"""The shortest span that holds enough: planted empty and thin windows."""

from __future__ import annotations

import numpy as np
import pytest

from expectations.instants import DAY_US
from model.data.events import EventLog
from model.evaluation.figures import Span
from model.evaluation.spans import is_enough, spans_before, spans_until, whole_log

SPLIT = 1000


def log(*planted: tuple[int, int, int]) -> EventLog:
    """Events as (day, how many, of how many items)."""
    item = np.concatenate([np.arange(events) % items for _, events, items in planted])
    day = np.concatenate([np.full(events, day) for day, events, _ in planted])
    return EventLog(item, day * DAY_US)


@pytest.mark.parametrize(
    ("planted", "spans"),
    [
        ([(999, 100, 10)], [Span(7, 100, 10)]),
        ([(980, 100, 10)], [Span(7, 0, 0), Span(28, 100, 10)]),
        ([(980, 99, 50), (999, 1, 1)], [Span(7, 1, 1), Span(28, 100, 50)]),
        (
            [(900, 500, 9), (999, 500, 9)],
            [Span(7, 500, 9), Span(28, 500, 9), Span(180, 1000, 9), Span(None, 1000, 9)],
        ),
        ([(1, 200, 20)], [Span(7, 0, 0), Span(28, 0, 0), Span(180, 0, 0), Span(None, 200, 20)]),
        ([(1001, 200, 20)], [Span(7, 0, 0), Span(28, 0, 0), Span(180, 0, 0), Span(None, 0, 0)]),
    ],
)
def test_a_span_that_is_empty_or_thin_gives_way_to_a_longer_one(planted, spans):
    tried = spans_until(log(*planted), SPLIT * DAY_US)
    assert list(tried) == spans
    assert not any(map(is_enough, tried[:-1]))


def test_the_split_itself_counts_and_the_first_instant_of_the_span_does_not():
    at_limits = log((993, 100, 10), (1000, 100, 10))
    assert spans_until(at_limits, SPLIT * DAY_US) == (Span(7, 100, 10),)


def test_moving_spans_are_described_by_the_request_with_the_middle_number_of_events():
    requests = np.array([1000, 1001, 1002]) * DAY_US
    busy = log((999, 120, 12), (1000, 5, 5), (1001, 50, 20))  # 120, 125 and 175 events within seven days
    assert spans_before(busy, requests) == (Span(7, 125, 12),)
    gap = log((900, 300, 30), (1001, 500, 50))  # two of the three requests see nothing for 100 days
    assert [span.days for span in spans_before(gap, requests)] == [7, 28, 180]


def test_what_a_whole_log_holds():
    assert whole_log(log((1, 30, 3), (2, 1, 1))) == Span(None, 31, 3)
    assert whole_log(log((1, 0, 1))) == Span(None, 0, 0)
    assert (Span(None, 0, 0).words, Span(28, 1, 1).words) == ("the whole log", "28 days")
