"""Contracts that are sound in themselves: keys, partitions and constraints name columns of their table."""

from __future__ import annotations

import re

import pytest

from expectations.tables import (
    CONTEXT_FIELDS,
    EVENTS,
    RANKS,
    REWARD_SIGNALS,
    SEQUENCES,
    TABLES,
    TOKEN_FIELDS,
    location,
)

EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@EVERY
def test_keys_partitions_and_clusters_are_columns_that_are_never_null(table):
    nullable = {column.name: column.nullable for column in table.columns}
    assert len(nullable) == len(table.columns), "a column is named twice"
    assert table.key
    for name in (*table.key, *table.partitions, *table.clustered_by):
        assert nullable[name] is False
    assert set(table.partitions) <= set(table.key)


@EVERY
def test_every_column_says_what_it_means_and_times_their_unit(table):
    for column in table.columns:
        assert column.doc, column.name
        if column.name.endswith("_us"):
            assert "microseconds since 1970-01-01 UTC" in column.doc or "times" in column.doc


@EVERY
def test_constraints_have_distinct_names_and_are_about_columns_of_the_table(table):
    names = [name for name, _ in table.constraints]
    assert len(set(names)) == len(names)
    for _, predicate in table.constraints:
        words = set(re.findall(r"\b[a-z_]+\b", re.sub(r"\b\w+\(", "", predicate)))
        assert words <= set(table.column_names), predicate


@EVERY
def test_spark_reads_the_ddl_as_the_columns(spark, table):
    schema = spark.createDataFrame([], table.ddl).schema
    assert [(field.name, field.nullable) for field in schema] == [
        (column.name, column.nullable) for column in table.columns
    ]


def test_a_column_has_a_type_and_an_unknown_one_is_an_error():
    assert EVENTS.type_of("event_at") == "timestamp"
    with pytest.raises(KeyError):
        EVENTS.type_of("when")


def test_shared_names_are_columns():
    assert {*CONTEXT_FIELDS, *REWARD_SIGNALS} <= set(EVENTS.column_names)
    assert set(TOKEN_FIELDS) <= set(SEQUENCES.column_names)
    assert RANKS.partitions == ("cycle", "model")


def test_a_table_lies_below_its_source():
    assert location("s3://bucket/lake/", "films", "events") == "s3://bucket/lake/films/events"
