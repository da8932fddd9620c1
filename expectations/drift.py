"""Events in a cycle's evaluation window, and their drift from the windows of earlier cycles.

Measures only: bounds are in `expectations.suites.events`, and the caller keeps earlier windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median

from pyspark.sql import DataFrame

from expectations.figures import Drift, Window
from expectations.instants import timestamp_sql


def window(events: DataFrame, split: datetime, cutoff: datetime) -> Window:
    """Counts the events in (split, cutoff] by action."""
    inside = f"event_at > {timestamp_sql(split)} AND event_at <= {timestamp_sql(cutoff)}"
    rows = events.where(inside).groupBy("action").count().collect()
    counts = {row["action"]: row["count"] for row in sorted(rows, key=lambda row: str(row["action"]))}
    return Window((cutoff - split).total_seconds() / 86400, counts)


def drift(now: Window, earlier: Sequence[Window]) -> Drift | None:
    """Drift of the window from the earlier ones; None where no earlier one has an event."""
    known = [past for past in earlier if past.events]
    if not known:
        return None
    pooled: dict[str, int] = {}
    for past in known:
        for action, count in past.action_counts.items():
            pooled[action] = pooled.get(action, 0) + count
    total = sum(pooled.values())
    # An empty window has no mix: it gets the largest distance.
    distance = (
        1.0
        if now.events == 0
        else sum(
            abs(now.action_counts.get(action, 0) / now.events - pooled.get(action, 0) / total)
            for action in {*pooled, *now.action_counts}
        )
        / 2
    )
    return Drift(now.events_per_day / median(past.events_per_day for past in known), distance)
