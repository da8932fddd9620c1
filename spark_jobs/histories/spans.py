"""Events up to an instant and after one; both filters skip files by their dates."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import DataFrame

from expectations.instants import timestamp_sql


def up_to(events: DataFrame, instant: datetime) -> DataFrame:
    """Events at `instant` or earlier; files of later days are not read."""
    limit = timestamp_sql(instant)
    return events.where(f"event_date <= to_date({limit}) AND event_at <= {limit}")


def after(events: DataFrame, instant: datetime) -> DataFrame:
    """Events later than `instant`; files of earlier days are not read."""
    limit = timestamp_sql(instant)
    return events.where(f"event_date >= to_date({limit}) AND event_at > {limit}")
