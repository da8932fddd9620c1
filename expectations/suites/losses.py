"""What may be lost on the way from landed lines to events, by file and by day, beside what was lost before.

A file or day is judged in plain numbers that were measured beforehand (`expectations.losses`); the batches are one row a file
and one row a day, with the value, its bounds and whether it holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations.bounds import Judged
from expectations.expectation import Expectation
from expectations.losses import FEW_LINES, Limits, Losses, Measure, share_words
from expectations.losses_of_days import DAILY_EVENTS, measures_of_days, usual_least
from expectations.losses_of_files import measures_of_files

AGGREGATES = ("landed", "days", "cycle")
"""Batches to cache."""
SHOWN_COLUMNS = 3
"""Retyped columns that the measured value names."""


def batches(spark: SparkSession, limits: Limits, losses: Losses) -> dict[str, DataFrame]:
    """The rows to judge: `landed`, one per new file; `days`, one per whole day of the window; `cycle`, one row."""
    late = losses.late
    whole = {
        "days_after_the_last": float(losses.days.after_the_last),
        "context_only_fraction": late.context_only_fraction if late else None,
    }
    row = [F.lit(value).cast("double").alias(name) for name, value in whole.items()]
    frames = {"cycle": spark.range(1).select(*row)}
    by_batch = {"landed": measures_of_files, "days": measures_of_days}
    for batch, measures_of in by_batch.items():
        measures = [one for one in measures_of(limits, losses) if one.judged]
        columns: dict[str, pa.Array] = {}
        if measures:
            columns["place"] = pa.array([one.place for one in measures[0].judged], pa.string())
            columns["size"] = pa.array([one.size for one in measures[0].judged], pa.int64())
        for measure in measures:
            values = {
                "": [round(one.value, 4) for one in measure.judged],
                "_floor": [one.floor for one in measure.judged],
                "_ceiling": [one.ceiling for one in measure.judged],
            }
            columns |= {f"{measure.name}{end}": pa.array(of, pa.float64()) for end, of in values.items()}
            columns[f"{measure.name}_holds"] = pa.array([one.holds for one in measure.judged], pa.bool_())
        frames[batch] = spark.createDataFrame(pa.table(columns)) if columns else spark.range(0)
    retyped = losses.columns.retyped
    texts = {name: pa.array([getattr(one, name) for one in retyped], pa.string()) for name in _COLUMN_KEYS}
    shares = {"share": pa.array([round(one.share, 4) for one in retyped], pa.float64())}
    holds = {"holds": pa.array([False] * len(retyped), pa.bool_())}
    frames["columns"] = spark.createDataFrame(pa.table(texts | shares | holds))
    return frames


def expectations(limits: Limits, losses: Losses) -> tuple[Expectation, ...]:
    """What must be true of the batches of `batches()`."""
    return (
        _keep_their_kind(losses),
        *(_expectation(measure) for measure in measures_of_files(limits, losses)),
        *(_expectation(measure) for measure in measures_of_days(limits, losses)),
        _reaches_the_end(losses),
        _in_time(losses, limits),
    )


_COLUMN_KEYS = ("path", "column", "was", "now")


def _keep_their_kind(losses: Losses) -> Expectation:
    compared = losses.columns
    words = [one.words for one in compared.retyped]
    more = len(words) - SHOWN_COLUMNS
    told = "; ".join(words[:SHOWN_COLUMNS]) + (f"; and {more:,} more" if more > 0 else "")
    is_judged = compared.judged or compared.retyped
    return Expectation(
        name="columns_keep_their_kind",
        words="no column that the mapping names is of another kind in a new file than before, or has vanished",
        batch="columns",
        kind="in_set",
        columns=("holds",),
        keys=(*_COLUMN_KEYS, "share"),
        allowed_values=(True,),
        observed=told or (f"{compared.judged:,} columns of new files are as before" if is_judged else ""),
        allowed_words="as before",
        remedy="land the file again as those before it, let the expressions that name the column read both, or accept this "
        "data once",
        not_applicable=None if is_judged else "not judged: no earlier file that this mapping read",
    )


def _expectation(measure: Measure) -> Expectation:
    judged = [one for one in measure.judged if one.why_not is None]
    why_not = measure.none if not measure.judged else measure.judged[0].why_not
    keys = ("place", "size", measure.name, f"{measure.name}_floor", f"{measure.name}_ceiling")
    return Expectation(
        name=measure.name,
        words=measure.words,
        batch=measure.batch,
        kind="in_set",
        columns=(f"{measure.name}_holds",),
        keys=keys,
        allowed_values=(True,),
        observed=_observed(measure, judged) if judged else "",
        allowed_words=measure.allowed(max(judged, key=_distance)) if judged else "as before",
        remedy=measure.remedy,
        not_applicable=None if judged else f"not judged: {why_not}",
    )


def _observed(measure: Measure, judged: Sequence[Judged]) -> str:
    """The worst value and where it is; of several that do not hold, how many there are."""
    broken = [one for one in judged if not one.holds]
    worst = max(broken or judged, key=_distance)
    if not broken:
        return f"{measure.told(worst)}; {len(judged):,} judged"
    more = f"; and {len(broken) - 1:,} more" if len(broken) > 1 else ""
    return f"{measure.told(worst)}, allowed {measure.allowed(worst)}{more}"


def _distance(one: Judged) -> float:
    """How near a value is to a bound, or how far beyond it; above 1 is beyond."""
    above = one.value / max(one.ceiling, 1e-9) if one.ceiling is not None else -1.0
    below = one.floor / max(one.value, 1e-9) if one.floor is not None else -1.0
    return max(above, below)


def _reaches_the_end(losses: Losses) -> Expectation:
    days, past = losses.days, losses.past.days_after_the_last
    most = max(past, default=0)
    if not past:
        why_not = "not judged: no earlier cycle to compare with"
    elif usual_least([day.events for day in days.past]) < DAILY_EVENTS:
        why_not = "not judged: the log does not have events on every day"
    else:
        why_not = None
    return Expectation(
        name="log_reaches_the_cutoff",
        words="the window ends with no more days without an event than windows before",
        batch="cycle",
        kind="between",
        columns=("days_after_the_last",),
        maximum=most,
        allowed_words=f"at most {most} days",
        observed=f"{days.after_the_last} of {len(days.days)} days of the window come after the last event",
        remedy="land the files of the last days, or give the cycle an earlier cutoff",
        not_applicable=why_not,
    )


def _in_time(losses: Losses, limits: Limits) -> Expectation:
    late, given = losses.late, limits.bounds.context_only
    if late is None:
        why_not = f"not judged: {losses.no_late}"
    elif late.new < FEW_LINES:
        why_not = f"not judged: fewer than {FEW_LINES} new events"
    else:
        why_not = None
    observed = ""
    if late is not None:
        observed = (
            f"{late.words}, {share_words(late.context_only_fraction)} of the new ones; "
            f"{late.context_only_labels:,} of these high-value"
        )
    return Expectation(
        name="events_come_in_time",
        words="few new events come so late that they are context only, never labels",
        batch="cycle",
        kind="between",
        columns=("context_only_fraction",),
        minimum=given.floor,
        maximum=given.ceiling,
        allowed_words="any share" if given.ceiling is None else f"at most {share_words(given.ceiling)}",
        observed=observed,
        remedy="train on them with a cycle from scratch (--cold-start), or set expectations.losses.context_only.ceiling",
        not_applicable=why_not,
    )
