"""Two states of one table, compared by the digests of their rows, whatever the order of rows and files.

The digest of a row is that of its values as JSON, so that equal digests mean equal values to the last bit; a state's digest is
made of the sum of its rows' digests and their number. One pass over each state; where they differ, a join by the key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.tables import Table

_AS_JSON = {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
"""By default nulls are left out, and instants cut to milliseconds."""


@dataclass(frozen=True)
class Comparison:
    """What comparing two states of a table came to."""

    rows: tuple[int, int]
    """Number of rows of the first and of the second state."""
    digests: tuple[str, str]
    """First 16 hexadecimal digits of a SHA-256."""
    differing: int = 0
    """Keys whose rows differ, or that only one state has."""
    first: str | None = None
    """The smallest of these keys in words, and the columns that differ there."""

    @property
    def same(self) -> bool:
        return self.digests[0] == self.digests[1]


def compare(first: DataFrame, second: DataFrame, table: Table) -> Comparison:
    """Compares the rows of a state of a table with those of a second state. A column of the contract that one state lacks counts as null."""
    states = [_with_digests(rows, table).persist() for rows in (first, second)]
    try:
        (rows, one), (others, other) = (_digest(state) for state in states)
        if one == other:
            return Comparison((rows, others), (one, other))
        return Comparison((rows, others), (one, other), *_difference(*states, table))
    finally:
        for state in states:
            state.unpersist()


def _with_digests(rows: DataFrame, table: Table) -> DataFrame:
    """The contract's columns, and `row_digest`."""
    types = {column.name: column.type for column in table.columns}
    columns = [
        F.col(name) if name in rows.columns else F.lit(None).cast(types[name]).alias(name)
        for name in table.column_names
    ]
    # One order of columns and one type each, whatever the state stores.
    as_json = F.to_json(F.struct(*(F.col(name).cast(kind) for name, kind in types.items())), _AS_JSON)
    return rows.select(*columns).withColumn("row_digest", F.sha2(as_json, 256))


def _digest(rows: DataFrame) -> tuple[int, str]:
    """Number of rows, and the digest of all."""
    part = F.conv(F.substring("row_digest", 1, 15), 16, 10).cast("decimal(38,0)")
    count, total = rows.agg(F.count(F.lit(1)), F.sum(part)).first()
    return count, hashlib.sha256(f"{count} {total}".encode()).hexdigest()[:16]


def _difference(first: DataFrame, second: DataFrame, table: Table) -> tuple[int, str | None]:
    """Number of keys that differ, and the first of them in words."""
    keys = list(table.key)
    sides = [
        rows.select(*keys, F.col("row_digest").alias(name))
        for rows, name in ((first, "one"), (second, "other"))
    ]
    differing = (
        sides[0].join(sides[1], on=keys, how="full_outer").where(~F.col("one").eqNullSafe(F.col("other")))
    )
    count = differing.count()
    smallest = differing.orderBy(*keys).first()
    if smallest is None:  # a key twice on one side
        return count, None
    where = " and ".join(f"{name} = {smallest[name]}" for name in keys)
    if smallest["one"] is None or smallest["other"] is None:
        return count, f"{where}, {'a new row' if smallest['one'] is None else 'which is missing'}"
    is_it = F.lit(True)
    for name in keys:
        is_it = is_it & (F.col(name) == F.lit(smallest[name]))
    one, other = (rows.where(is_it).first() for rows in (first, second))
    names = [
        name
        for name in table.column_names
        if one is not None and other is not None and one[name] != other[name]
    ]
    return count, f"{where}: {', '.join(names)}"
