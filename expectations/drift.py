"""What a cycle saw in its evaluation window, and how far that is from what earlier cycles saw.

In: `events`, a split and a cutoff, and earlier windows as plain counts. Out: a `Window`, and its
`Drift` from the earlier ones. It judges nothing and does not know where earlier windows are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from statistics import median

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.figures import Drift, Window
from expectations.instants import microseconds


def window(events: DataFrame, split: datetime, cutoff: datetime) -> Window:
    """Counts the events in (split, cutoff] by action."""
    first, last = (F.timestamp_micros(F.lit(microseconds(instant))) for instant in (split, cutoff))
    inside = (F.col("event_at") > first) & (F.col("event_at") <= last)
    rows = events.where(inside).groupBy("action").count().collect()
    counts = {row["action"]: row["count"] for row in sorted(rows, key=lambda row: str(row["action"]))}
    return Window((cutoff - split).total_seconds() / 86400, counts)


def drift(now: Window, earlier: Sequence[Window]) -> Drift | None:
    """How far the window is from the earlier ones; None where no earlier one has an event."""
    known = [past for past in earlier if past.events]
    if not known:
        return None
    pooled: dict[str, int] = {}
    for past in known:
        for action, count in past.action_counts.items():
            pooled[action] = pooled.get(action, 0) + count
    total = sum(pooled.values())
    # An empty window has no mix: it is as far away as one can be.
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
