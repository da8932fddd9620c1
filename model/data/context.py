"""Codes of a token's context, and of how its event went: the code of a value, as the data plane makes it, and the
values behind a window's codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import xxhash

from expectations.tables import EVENTS
from model.data.events import batches_of_days

SPARK_HASH_SEED = 42
"""Seed of Spark's xxhash64, which the data plane hashes context fields with."""
MISSING = "unknown"
"""Name of code 0."""


STEPS: dict[str, Callable[[float], float]] = {
    "watch_seconds": lambda seconds: 2 * math.log2(1 + seconds) + 1e-9,
    "completion_fraction": lambda fraction: 10 * fraction + 1e-9,
    "rating": lambda rating: 2 * rating + 0.5,
}
"""Steps of the signals of how an event went, as in `spark_jobs.histories.tokens`."""


def field_code(field: str, value: Any, buckets: int) -> int:
    """Code of a plain record's value of a token field; 0 where it is missing, or a negative signal of how an event
    went. Raises ValueError as `column_value`, and for a signal that is not a number."""
    if field not in STEPS or value is None:
        return context_code(column_value(field, value), buckets)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise ValueError(f"{field} is {value!r}; allowed is a number")
    return context_code(math.floor(STEPS[field](number)), buckets) if number >= 0 else 0


def column_value(field: str, value: Any) -> str | int | None:
    """A plain record's value of a context field, with the type of the field's column in `events`.

    A whole number may be given as text or as a float, as JSON and data frames do. Raises ValueError when
    the column holds numbers and the value is not a whole one.
    """
    if value is None:
        return None
    if EVENTS.type_of(field) == "string":
        return str(value)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or not (isinstance(value, str) or number == value):
        raise ValueError(f"{field} is {value!r}; allowed is a whole number")
    return number


def context_code(value: str | int | None, buckets: int) -> int:
    """Code of a value: 0 when missing, else 1 + a hash of text or 1 + a number, clamped to `buckets`."""
    if value is None:
        return 0
    if isinstance(value, str):
        unsigned = xxhash.xxh64_intdigest(value.encode(), seed=SPARK_HASH_SEED)
        signed = unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
        return 1 + signed % (buckets - 1)
    return 1 + min(max(int(value), 0), buckets - 2)


def read_context_names(
    lake: str, source: str, version: int, field: str, after_us: int, until_us: int, buckets: int
) -> dict[int, str]:
    """The values of a context field among the events of (after_us, until_us], by code.

    Reads `events` at a Delta version by whole days, so a few values may be of events outside the span.
    Values that share a code are joined by "/". Raises TableError when the table cannot be read.
    """
    values: set[str | int | None] = set()
    for batch in batches_of_days(lake, source, version, (field,), after_us, until_us):
        values.update(pc.unique(batch[field]).to_pylist())
    names: dict[int, list[str]] = {}
    for value in sorted(values - {None}, key=str):
        names.setdefault(context_code(value, buckets), []).append(str(value))
    return {0: MISSING} | {code: "/".join(same) for code, same in names.items()}
