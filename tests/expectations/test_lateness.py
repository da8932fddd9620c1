"""Late events: how late they are, what they can still be used for, and that known ones are not late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from expectations.figures import LateEvents
from expectations.lateness import late_events
from expectations.tables import EVENTS, INGESTED_FILES
from tests.expectations.suites.frames import frame

SINCE, CUTOFF = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 15, tzinfo=UTC)
CONTINUED = SINCE - timedelta(days=14)


def event(name, at, file="new", rating=None):
    return {"event_id": name, "event_at": at, "event_date": at.date(), "file_id": file, "rating": rating}


def counted(spark, events, known=(), continued=CONTINUED):
    table = frame(spark, EVENTS, events).selectExpr("*", "coalesce(rating, 0) as reward")
    files = frame(spark, INGESTED_FILES, [{"file_id": "new"}])
    return late_events(table, files, frame(spark, EVENTS, known), SINCE, CUTOFF, continued)


def test_events_are_late_by_the_time_to_the_cutoff_before(spark):
    ages = [
        timedelta(minutes=30),
        timedelta(hours=3),
        timedelta(days=3),
        timedelta(days=20),
        timedelta(days=40),
    ]
    events = [event(f"late {age}", SINCE - age, rating=1.0 if age.days == 40 else None) for age in ages]
    events += [
        event("read again", SINCE - timedelta(days=50)),
        event("old", SINCE - timedelta(days=60), "passed"),
    ]
    events += [event("on time", SINCE + timedelta(hours=1)), event("next", CUTOFF + timedelta(hours=1))]
    found = counted(spark, events, known=[event("read again", SINCE - timedelta(days=50))])
    assert found == LateEvents(
        since=SINCE.isoformat(),
        new=6,
        by_lateness={
            "up to an hour": 1,
            "up to a day": 1,
            "up to 7 days": 1,
            "up to 30 days": 1,
            "more than 30 days": 1,
        },
        context_only=2,
        context_only_labels=1,
    )
    assert (found.late, found.context_only_fraction) == (5, 1 / 3)
    assert counted(spark, events, continued=None).context_only == 0


@pytest.mark.parametrize("events", [[], [event("on time", SINCE + timedelta(hours=1))]])
def test_without_a_late_event_nothing_is_context_only(spark, events):
    found = counted(spark, events)
    assert (found.new, found.late, found.context_only_fraction) == (len(events), 0, 0)
