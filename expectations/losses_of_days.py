"""What became of the lines of each day of the window, judged beside the days before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean

from expectations.bounds import Bounds, Judged, LossBounds, count_floor, share_ceiling, share_floor
from expectations.figures import DayLines, Days
from expectations.losses import Limits, Losses, Measure, is_set

DAILY_EVENTS = 10
"""A log that has at least so many events on nearly every day does not skip a day by chance."""
NEIGHBOURS = 3
"""Days on either side of a silent day by which it is told from a log that fades."""


def measures_of_days(limits: Limits, losses: Losses) -> list[Measure]:
    bounds, days = limits.bounds, losses.days
    past = [day for day in days.past if day.lines]
    enough = len(past) >= bounds.min_past_days
    few = f"fewer than {bounds.min_past_days} past days"
    none = "the window has no whole day"

    def share(
        value: Callable[[DayLines], float],
        size: Callable[[DayLines], int],
        given: Bounds,
        floor: bool = False,
        unknown: str | None = None,
    ) -> tuple[Judged, ...]:
        """A share of each day; `unknown` says why none is known."""
        judged, known = [], [value(day) for day in past if size(day)]
        for day in days.days:
            low, high, why_not = given.floor, given.ceiling, None
            if unknown or not size(day):
                low, high, why_not = None, None, unknown or "the days have no such lines"
            elif not is_set(given):
                if not enough or not known:
                    why_not = few
                elif floor:
                    # What users do in bulk moves this share more than chance does.
                    low = share_floor(known, size(day), bounds.min_ratio**2)
                else:
                    high = share_ceiling(known, size(day), bounds.max_rise)
            judged.append(Judged(day.day, size(day), value(day), low, high, why_not))
        return tuple(judged)

    def lines(day: DayLines) -> int:
        return day.lines

    def events(day: DayLines) -> int:
        return day.events

    dated = sum(day.excluded + day.duplicates for day in (*days.past, *days.days))
    unknown = "the days of refused lines are not known" if days.undated > dated else None
    measures = [
        Measure(
            "events_of_day",
            "no day of the window has far fewer events than the days before it",
            "see which file of that day is missing or lost its lines; or set expectations.losses.events.floor",
            "days",
            _events_of_days(bounds, days),
            "events",
            none,
            None,
        ),
        Measure(
            "excluded_lines_of_day",
            "events.where excludes no larger share of a day's lines than before",
            "compare the columns that events.where names with those of that day's files, or set "
            "expectations.losses.excluded.ceiling",
            "days",
            share(lambda day: day.excluded / max(day.lines, 1), lines, bounds.excluded, unknown=unknown),
            "excluded by where",
            none,
        ),
        Measure(
            "duplicates_of_day",
            "no larger share of a day's lines repeats known events than before",
            "see which file of that day was delivered twice, or set expectations.losses.duplicates.ceiling",
            "days",
            share(lambda day: day.duplicates / max(day.lines, 1), lines, bounds.duplicates, unknown=unknown),
            "repeating known events",
            none,
        ),
        Measure(
            "labels_of_day",
            "the share of events that can be labels falls on no day far below the days before",
            "see what source.high_value and source.reward read, or set expectations.losses.labels.floor",
            "days",
            share(lambda day: day.labels / max(day.events, 1), events, bounds.labels, floor=True),
            "that can be labels",
            none,
            "events",
        ),
    ]
    for column in limits.columns:
        measures.append(
            Measure(
                f"null_{column}_of_day",
                f"{column} is missing in no larger share of a day's events than before",
                f"compare what events.{column} names with the columns of that day's files, or set "
                f"expectations.losses.nulls.{column}.ceiling",
                "days",
                share(
                    lambda day, column=column: day.nulls.get(column, 0) / max(day.events, 1),
                    events,
                    bounds.nulls.of(column),
                ),
                f"without {column}",
                none,
                "events",
            )
        )
    return measures


def _events_of_days(bounds: LossBounds, days: Days) -> tuple[Judged, ...]:
    """Events of each day: a hole between its neighbours, in a log that has events on nearly every day."""
    given, counts = bounds.events, [day.events for day in days.days]
    past = [day.events for day in days.past]
    usual = usual_least(past)
    last = len(counts) - days.after_the_last
    judged = []
    for place, (day, count) in enumerate(zip(days.days, counts, strict=True)):
        one = Judged(day.day, count, count)
        if is_set(given):
            one = Judged(day.day, count, count, given.floor, given.ceiling)
        elif len(past) < bounds.min_past_days:
            one = replace(one, why_not=f"fewer than {bounds.min_past_days} past days")
        elif usual < DAILY_EVENTS:
            one = replace(one, why_not="the log does not have events on every day")
        elif place < last - 1:  # the log may end within its last day
            left = [near for near in (*past, *counts[:place]) if near][-NEIGHBOURS:]
            right = [near for near in counts[place + 1 : last] if near][:NEIGHBOURS]
            around = min(mean(side) for side in (left, right))
            least = min(count_floor(known, bounds.min_ratio) for known in (past, [around]))
            one = replace(one, floor=max(least, 1.0 if around >= DAILY_EVENTS else 0.0))
        judged.append(one)
    return tuple(judged)


def usual_least(counts: Sequence[int]) -> int:
    """Events that nine days of ten have."""
    return sorted(counts)[len(counts) // 10] if counts else 0
