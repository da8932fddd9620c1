"""Days of the window beside those before: holes are found, and logs that fade or rest are not."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from expectations.bounds import Bounds, LossBounds, NullBounds
from expectations.figures import DayLines, Days
from expectations.losses import Limits, Losses
from expectations.losses_of_days import measures_of_days, usual_least

FIRST = date(2026, 1, 1)


def day(place, events, **values):
    labels = values.pop("labels", events // 2)
    known = {"nulls": {"country": 0}} | values
    return DayLines(day=(FIRST + timedelta(days=place)).isoformat(), events=events, labels=labels, **known)


def broken(window, past, undated=0, **bounds):
    """Measures that do not hold, with the days on which they do not; `window` and `past` are days or counts."""
    days = [
        one if isinstance(one, DayLines) else day(place, one) for place, one in enumerate((*past, *window))
    ]
    counts = [one.events for one in days[len(past) :]]
    last = max((place for place, count in enumerate(counts) if count), default=-1)
    seen = Days(tuple(days[len(past) :]), tuple(days[: len(past)]), len(counts) - 1 - last, undated)
    limits = Limits(LossBounds(**bounds), 0.05, ("country",), "jsonl")
    found = {
        measure.name: [one.place[-5:] for one in measure.judged if not one.holds]
        for measure in measures_of_days(limits, Losses((), seen, None))
    }
    return {name: places for name, places in found.items() if places}


PAST = [100] * 20


@pytest.mark.parametrize(
    ("window", "past", "found"),
    [
        ([100, 100, 0, 100, 100], PAST, {"events_of_day": ["01-23"]}),
        ([100, 100, 1], PAST, {}),  # the log ends within its last day
        ([0, 100, 100], PAST, {"events_of_day": ["01-21"]}),
        ([100, 0, 0, 100], PAST, {"events_of_day": ["01-22", "01-23"]}),
        ([100, *[0] * 5, 100], PAST, {"events_of_day": [f"01-{number}" for number in range(22, 27)]}),
        ([100, 3, 100, 100], PAST, {"events_of_day": ["01-22"]}),
        ([100, 100, 100, 0, 0], PAST, {}),  # after the last event: another expectation's
        ([80, 40, 20, 10, 5, 0, 1], PAST, {}),  # the log fades
        ([100, 100, 30, 30, 100], PAST, {}),
        ([100, 0, 100], [100] * 13, {}),  # too short a past
        ([100, 0, 100], [100, 100, 100, 100, 100, 0, 0] * 4, {}),  # it rests at weekends
        ([9, 0, 8, 9], [9, 8, 7] * 7, {}),  # few events a day
        ([400, 90, 95, 100], [100, 5000, 90] * 7, {}),
    ],
)
def test_a_hole_between_days_is_found_where_the_log_has_events_each_day(window, past, found):
    assert broken(window, past) == found


def test_shares_are_judged_by_the_days_before():
    past = [day(place, 90, excluded=10) for place in range(20)]
    window = [
        day(20, 90, excluded=10),
        day(21, 50, excluded=50),
        day(22, 100, duplicates=100),
        day(23, 100, nulls={"country": 60}),
        day(24, 100, labels=0),
    ]
    assert broken(window, past) == {
        "excluded_lines_of_day": ["01-22"],
        "duplicates_of_day": ["01-23"],
        "null_country_of_day": ["01-24"],
        "labels_of_day": ["01-25"],
    }
    # Most refused lines have no day, as in a lake of an earlier release.
    assert set(broken(window, past, undated=5000)) == {"null_country_of_day", "labels_of_day"}
    assert broken(window, past[:13]) == {}
    wide = {"excluded": Bounds(ceiling=0.5), "duplicates": Bounds(ceiling=1), "labels": Bounds(floor=0)}
    wide |= {"nulls": NullBounds(country=Bounds(ceiling=1))}
    assert broken(window, past, **wide) == {}
    assert broken([100, 30], [], events=Bounds(floor=50)) == {"events_of_day": ["01-02"]}


def test_few_events_of_a_day_say_little():
    past = [day(place, 4, labels=2) for place in range(20)]
    assert broken([day(20, 1, labels=0, excluded=1, nulls={"country": 0})], past) == {}


def test_nine_days_of_ten_have_the_usual_least():
    assert usual_least([*range(20)]) == 2 and usual_least([]) == 0
