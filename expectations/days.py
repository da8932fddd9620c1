"""What became of the lines of each day of a cycle's window and of the days before it.

Measures only: the bounds are in `expectations.suites.losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.figures import DayLines, Days
from expectations.new_lines import Reasons

DAY = timedelta(days=1)


def days(
    events: DataFrame,
    rejected_events: DataFrame,
    split: datetime,
    cutoff: datetime,
    past_days: int,
    columns: Sequence[str],
    reasons: Reasons,
) -> Days:
    """Counts lines by UTC day: of the whole days of (split, cutoff], and of up to `past_days` before them.

    `events` has the column `reward`, above 0 for a high-value event; `columns` are those of `events` that the
    source maps and that may be null.
    """
    begin, end = _next_midnight(split), cutoff.date()
    first = begin - past_days * DAY
    between = F.col("event_date").between(F.lit(first), F.lit(end - DAY))
    nulls = [F.count_if(F.col(name).isNull()).alias(name) for name in columns]
    labels = F.count_if(F.col("reward") > 0).alias("__labels")
    kept = events.where(between).groupBy("event_date").agg(F.count("*").alias("__events"), labels, *nulls)
    by_day = {row["event_date"]: row for row in kept.collect()}
    refused = _refused(rejected_events, reasons)
    lost = {row["event_date"]: row for row in refused if row["event_date"]}
    undated = next((row for row in refused if row["event_date"] is None), None)

    def of(day: date) -> DayLines:
        events_row, lost_row = by_day.get(day), lost.get(day)
        return DayLines(
            day=day.isoformat(),
            events=events_row["__events"] if events_row else 0,
            labels=events_row["__labels"] if events_row else 0,
            excluded=lost_row["excluded"] if lost_row else 0,
            duplicates=lost_row["duplicates"] if lost_row else 0,
            faulty=lost_row["faulty"] if lost_row else 0,
            nulls={name: events_row[name] if events_row else 0 for name in columns},
        )

    window = [of(begin + place * DAY) for place in range(max(0, (end - begin).days))]
    known = sorted(day for day in by_day if day < begin)
    past = [of(known[0] + place * DAY) for place in range((begin - known[0]).days)] if known else []
    with_events = [place for place, day in enumerate(window) if day.events]
    return Days(
        days=tuple(window),
        past=tuple(past),
        after_the_last=len(window) - 1 - with_events[-1] if with_events else len(window),
        undated=undated["excluded"] + undated["duplicates"] if undated else 0,
    )


def _refused(rejected_events: DataFrame, reasons: Reasons) -> list:
    """Refused lines by day, None for those without one; empty for a version of an earlier release."""
    if "event_date" not in rejected_events.columns:
        return []
    reason = F.col("reason")
    harmless = F.coalesce(reason.isin(*reasons.not_faulty), F.lit(False))
    return (
        rejected_events.groupBy("event_date")
        .agg(
            F.count_if(reason == reasons.excluded).alias("excluded"),
            F.count_if(reason == reasons.duplicate).alias("duplicates"),
            F.count_if(~harmless).alias("faulty"),
        )
        .collect()
    )


def _next_midnight(instant: datetime) -> date:
    """The first day that begins at or after an instant."""
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return instant.date() if midnight == instant else instant.date() + DAY
