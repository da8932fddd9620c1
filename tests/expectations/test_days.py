"""Lines by day: of the whole days of a window, and of those before it."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from expectations.days import days
from expectations.figures import DayLines
from expectations.new_lines import Reasons
from expectations.tables import EVENTS, REJECTED_EVENTS
from tests.expectations.suites.frames import frame

REASONS = Reasons("excluded", "known", harmless=("erased",))


def event(day, **values):
    at = datetime(2026, 1, day, 12, tzinfo=UTC)
    return {"event_at": at, "event_date": at.date(), "country": "NL"} | values


def refused(day, reason):
    return {"reason": reason, "event_date": day and date(2026, 1, day)}


@pytest.fixture
def seen(spark):
    def see(split, cutoff, past_days=3):
        events = frame(
            spark,
            EVENTS,
            [
                event(1),
                event(4, rating=1.0),
                event(6),
                event(6, rating=1.0),
                event(6, country=None),
                event(9),
            ],
        ).selectExpr("*", "coalesce(rating, 0) as reward")
        rejected = frame(
            spark,
            REJECTED_EVENTS,
            [refused(6, "excluded"), refused(6, "erased"), refused(7, "known"), refused(7, "bad")]
            + [refused(None, "excluded"), refused(None, "bad"), refused(2, "known")],
        )
        return days(events, rejected, split, cutoff, past_days, ("country",), REASONS)

    return see


def test_lines_are_counted_by_day_and_the_last_days_may_be_silent(seen):
    found = seen(datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC))
    assert found.days == (
        DayLines("2026-01-06", events=3, labels=1, excluded=1, nulls={"country": 1}),
        DayLines("2026-01-07", events=0, duplicates=1, faulty=1, nulls={"country": 0}),
        DayLines("2026-01-08", events=0, nulls={"country": 0}),
    )
    assert [day.lines for day in found.days] == [4, 2, 0]
    # Three days at most, from the first with an event on.
    assert [(day.day[-2:], day.events, day.labels) for day in found.past] == [("04", 1, 1), ("05", 0, 0)]
    assert (found.after_the_last, found.undated) == (2, 1)


def test_only_whole_days_of_the_window_count(seen):
    found = seen(datetime(2026, 1, 5, 6, tzinfo=UTC), datetime(2026, 1, 7, 18, tzinfo=UTC))
    assert [day.day[-2:] for day in found.days] == ["06"]
    short = seen(datetime(2026, 1, 5, 6, tzinfo=UTC), datetime(2026, 1, 5, 18, tzinfo=UTC))
    assert short.days == () and short.after_the_last == 0
