"""Migrations are numbered, ordered and of tables that exist."""

from __future__ import annotations

from expectations.tables import TABLES
from spark_jobs.lake.migrations import MIGRATIONS, Migration, newest, pending


def test_numbers_are_used_once_and_in_order():
    numbers = [migration.number for migration in MIGRATIONS]
    assert numbers == sorted(set(numbers)) and min(numbers) == 1
    assert {migration.table for migration in MIGRATIONS} <= set(TABLES)
    assert all("{table}" in migration.statement for migration in MIGRATIONS)


def test_a_table_has_those_ahead_that_it_has_not_had():
    some = [Migration(number, table, "", "") for number, table in ((3, "a"), (1, "a"), (2, "b"), (4, "a"))]
    assert [migration.number for migration in pending("a", 1, some)] == [3, 4]
    assert (newest("a", some), newest("b", some), newest("c", some)) == (4, 2, 0)
