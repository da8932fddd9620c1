"""How late events came: against the cutoff of the cycle before, which could not know them.

Measures only: the bound is in `expectations.suites.losses`.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.figures import LateEvents
from expectations.instants import microseconds, timestamp_sql

HOUR_SECONDS = 3600
LATENESS = (
    ("up to an hour", HOUR_SECONDS),
    ("up to a day", 24 * HOUR_SECONDS),
    ("up to 7 days", 7 * 24 * HOUR_SECONDS),
    ("up to 30 days", 30 * 24 * HOUR_SECONDS),
)
MORE = "more than 30 days"


def late_events(
    events: DataFrame,
    new_files: DataFrame,
    known: DataFrame,
    since: datetime,
    cutoff: datetime,
    continued: datetime | None,
) -> LateEvents:
    """Counts the events up to `cutoff` that the cycle before did not have.

    Args:
        events: today's events, with the column `reward`, above 0 for a high-value event.
        new_files: `file_id` of the files that no earlier cycle has passed.
        known: `event_id` and `event_date` of the events of the cycle before: a file that was read again holds them too.
        since: cutoff of the cycle before.
        cutoff: that of this one.
        continued: split of the version that training continues, up to which it makes no labels; None: it begins anew.
    """
    landed = events.join(F.broadcast(new_files.select("file_id")), on="file_id", how="left_semi")
    landed = landed.where(f"event_at <= {timestamp_sql(cutoff)}")
    is_late = F.expr(f"event_at <= {timestamp_sql(since)}")
    span = landed.agg(
        F.count_if(~is_late).alias("on_time"),
        F.min(F.when(is_late, F.col("event_date"))).alias("first"),
        F.max(F.when(is_late, F.col("event_date"))).alias("last"),
    ).first()
    names = [name for name, _ in LATENESS] + [MORE]
    if span["first"] is None:
        return LateEvents(since.isoformat(), span["on_time"], dict.fromkeys(names, 0), 0, 0)
    before = known.where(F.col("event_date").between(F.lit(span["first"]), F.lit(span["last"])))
    late = landed.where(is_late).join(before.select("event_id"), on="event_id", how="left_anti")
    seconds = (F.lit(microseconds(since)) - F.unix_micros("event_at")) / 1_000_000
    lateness = F.lit(MORE)
    for name, most in reversed(LATENESS):
        lateness = F.when(seconds <= most, F.lit(name)).otherwise(lateness)
    of_context = F.lit(False) if continued is None else F.expr(f"event_at <= {timestamp_sql(continued)}")
    rows = (
        late.groupBy(lateness.alias("lateness"))
        .agg(
            F.count("*").alias("events"),
            F.count_if(of_context).alias("context_only"),
            F.count_if(of_context & (F.col("reward") > 0)).alias("labels"),
        )
        .collect()
    )
    counts = {row["lateness"]: row["events"] for row in rows}
    return LateEvents(
        since=since.isoformat(),
        new=span["on_time"] + sum(counts.values()),
        by_lateness={name: counts.get(name, 0) for name in names},
        context_only=sum(row["context_only"] for row in rows),
        context_only_labels=sum(row["labels"] for row in rows),
    )
