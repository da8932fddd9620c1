"""Removes one person from a source's lake: from every table, and from every version of it that can be read.

Stored events of the person become refused lines without text; other refused lines that name the person lose their
text; rows of the person in all other tables are deleted. Then the files of earlier versions that hold the person
are deleted, and what the tables' logs tell of them is cut. Versions that were made of these files can no longer be
read; versions that the person is not in stay. Every step is harmless when it is killed and done again.

No commit names the person: conditions compare digests (`landing.erased`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS, REJECTED_ITEMS, TABLES, Table
from spark_jobs.lake import delta
from spark_jobs.landing.erased import ERASED, NO_TEXT, digest_of, names_erased, user_digest
from spark_jobs.landing.stored import refuse_stored

REFUSED = (REJECTED_EVENTS, REJECTED_ITEMS)
OF_USERS = tuple(
    table for table in TABLES.values() if table is not EVENTS and "user_id" in table.column_names
)
"""Tables beside `events` with rows of a user."""


@dataclass(frozen=True)
class Erasure:
    """What left the lake."""

    events: int = 0
    texts: int = 0
    """Refused lines that lost their text."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows deleted, by table."""
    old_files: int = 0
    """Files of earlier versions that were deleted."""


def erase(spark: SparkSession, lake: str, source: str, user: str) -> Erasure:
    """Erases a user's id from a source's lake. Raises TableError, ConstraintError."""
    digest = user_digest(source, user)
    own = digest_of(source, F.col("user_id")) == digest
    named = names_erased(source, F.col("raw"), [digest])
    place = (lake, source)

    def exists(table: Table) -> bool:
        return delta.latest_version(spark, *place, table) is not None

    events = 0
    if exists(EVENTS) and exists(INGESTED_FILES):
        for table in (EVENTS, REJECTED_EVENTS, INGESTED_FILES):
            delta.create(spark, *place, table)
        events = refuse_stored(spark, *place, F.when(own, ERASED), F.lit(NO_TEXT))
    texts = sum(
        _changed(spark, table, place, named, {"raw": F.lit(NO_TEXT)}) for table in REFUSED if exists(table)
    )
    rows = {table.name: _changed(spark, table, place, own, None) for table in OF_USERS if exists(table)}
    old = 0
    for table in (EVENTS, *OF_USERS, *REFUSED):
        if exists(table):
            holds, column = (named, "raw") if table in REFUSED else (own, "user_id")
            old += delta.purge(spark, table, *place, holds, column)
            delta.cut_statistics(spark, table, *place, user)
    return Erasure(events, texts, {name: count for name, count in rows.items() if count}, old)


def _changed(
    spark: SparkSession, table: Table, place: tuple[str, str], condition: Column, values: dict | None
) -> int:
    """Deletes the rows that satisfy a condition, or gives them values; returns how many there were."""
    count = delta.read(spark, *place, table).where(condition).count()
    if count and values is None:
        delta.delete(spark, condition, table, *place)
    elif count:
        delta.set_values(spark, condition, values, table, *place)
    return count
