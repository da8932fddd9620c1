"""What a release changes in tables of the releases before it, beyond what the contract says by itself.

Columns that may be null, constraints and properties are brought up to the contract without a migration
(`delta.create`). A migration is needed where stored rows have to change: to fill a column, to satisfy a new
constraint. Each is run once a table, in the order of the numbers, and must be harmless when it is killed and run
again. A number is never used twice and a migration never removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PROPERTY = "reprise.migration"
"""Table property: number of the last migration that the table has."""


@dataclass(frozen=True)
class Migration:
    """One change of the stored rows of one table."""

    number: int
    table: str
    words: str
    """What it does, for people."""
    statement: str
    """SQL; `{table}` stands for the table, the name of another in braces for that one."""


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        1,
        "ingested_files",
        "files of earlier releases belong to ingestion 0",
        "UPDATE {table} SET ingestion = 0 WHERE ingestion IS NULL",
    ),
    Migration(
        2,
        "ingested_files",
        "excluded and duplicate lines of files of earlier releases are counted from rejected_events",
        """
        MERGE INTO {table} AS file
        USING (
            SELECT one.file_id,
                count_if(line.reason = "excluded by the mapping's where") AS excluded,
                count_if(line.reason = "duplicate event_id") AS duplicates
            FROM {table} AS one LEFT JOIN {rejected_events} AS line ON one.file_id = line.file_id
            WHERE one.excluded_count IS NULL
            GROUP BY one.file_id
        ) AS counted
        ON file.file_id = counted.file_id
        WHEN MATCHED THEN UPDATE SET excluded_count = counted.excluded, duplicate_count = counted.duplicates
        """,
    ),
)


def newest(table: str, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Number of the last migration of a table; 0 where it has none."""
    return max((migration.number for migration in migrations if migration.table == table), default=0)


def pending(table: str, done: int, migrations: Sequence[Migration] = MIGRATIONS) -> list[Migration]:
    """Migrations of a table after number `done`, in order."""
    mine = (migration for migration in migrations if migration.table == table and migration.number > done)
    return sorted(mine, key=lambda migration: migration.number)
