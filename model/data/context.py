"""Context fields as codes: how a value becomes one, and which values the codes of a window stand for.

Comes in: values of a record, or the `events` table. Goes out: codes as the data plane makes them, and
names for people. It knows no token and no model.
"""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc
import xxhash
from deltalake import DeltaTable

from expectations.instants import day_of
from expectations.tables import EVENTS, location

SPARK_HASH_SEED = 42
"""Seed of Spark's xxhash64, by which the data plane coded context fields."""
MISSING = "unknown"
"""Name of code 0."""


def column_value(field: str, value: Any) -> str | int | None:
    """A plain record's value of a context field as the field's column of `events` holds it.

    A whole number may come as text or as a float, for JSON and data frames make it either. Raises
    ValueError when the column holds numbers and the value is not a whole one.
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
    """Code of a context field, as the data plane made it: 0 when missing, else 1 + a hash of text, or
    1 + a number, clamped to the number of buckets."""
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
    """The values of a context field among the events of (after_us, until_us], by code, from `events` at a
    Delta version; whole days are read, so a few values may lie outside. Values that share a code are
    joined by "/"."""
    date = pc.field("event_date")
    wanted = (date >= day_of(after_us)) & (date <= day_of(until_us))
    table = DeltaTable(location(lake, source, EVENTS.name), version=version)
    values: set[str | int | None] = set()
    for batch in table.to_pyarrow_dataset().to_batches(columns=[field], filter=wanted):
        values.update(pc.unique(batch[field]).to_pylist())
    names: dict[int, list[str]] = {}
    for value in sorted(values - {None}, key=str):
        names.setdefault(context_code(value, buckets), []).append(str(value))
    return {0: MISSING} | {code: "/".join(same) for code, same in names.items()}
