"""Tables of a catalog: Delta, and those that are plain files."""

from __future__ import annotations

import pytest

from expectations.tables import EVENTS, ITEMS
from spark_jobs import events, items
from spark_jobs.config import EventMapping, ItemMapping, SourceConfig
from spark_jobs.landing.catalogs import by_files, kind_and_place
from spark_jobs.landing.files import LandingError
from spark_jobs.landing.source_tables import newest
from tests.spark_jobs.landed import content, job

MAPPED = {"user": "u", "item": "i", "time": "t"}


@pytest.fixture
def catalog(spark, landing):
    """A schema of the session's own catalog, whose tables lie beside the landing folder."""
    spark.sql(f"CREATE SCHEMA shop LOCATION '{landing.parent / 'warehouse'}'")
    yield "spark_catalog.shop"
    spark.sql("DROP SCHEMA shop CASCADE")


@pytest.mark.parametrize(
    "kind", ["delta", "parquet", *(pytest.param(kind, marks=pytest.mark.proof) for kind in ("orc", "avro"))]
)
def test_events_and_items_are_read_where_the_catalog_has_them(spark, landing, catalog, kind):
    spark.sql(
        f"CREATE TABLE {catalog}.views (u STRING, i STRING, t BIGINT, day STRING) USING {kind} PARTITIONED BY (day)"
    )
    spark.sql(f"CREATE TABLE {catalog}.films (id STRING, name STRING) USING {kind}")
    spark.sql(f"INSERT INTO {catalog}.films VALUES ('x', 'Up')")
    source = SourceConfig(
        name="films",
        events=EventMapping(table=f"{catalog}.views", page="day", **MAPPED),
        items=(ItemMapping(table=f"{catalog}.films", item="id", title="name"),),
    )
    read = []
    for day in ("2026-01-01", "2026-01-02"):
        before = newest(str(landing), f"{catalog}.views", lambda: spark)
        spark.sql(f"INSERT INTO {catalog}.views VALUES ('{day}', 'x', 1767225600, '{day}')")
        assert newest(str(landing), f"{catalog}.views", lambda: spark) != before
        ingested = events.main(spark, job(landing, source, passed_ingestion=len(read)))
        read.append(ingested.figures.lines)
    assert read == [1, 1]
    rows = content(spark, job(landing, source), EVENTS)
    assert sorted((row["user_id"], row["page"]) for row in rows) == [
        (day, day) for day in ("2026-01-01", "2026-01-02")
    ]
    items.main(spark, job(landing, source, versions=ingested.versions))
    assert [row["title"] for row in content(spark, job(landing, source), ITEMS)] == ["Up"]


def test_what_cannot_be_read_is_told(spark, landing, catalog):
    spark.sql("CREATE TEMPORARY VIEW seen AS SELECT 1 AS u")
    spark.sql(f"CREATE TABLE {catalog}.scattered (u STRING, day STRING) USING parquet PARTITIONED BY (day)")
    spark.sql(f"ALTER TABLE {catalog}.scattered ADD PARTITION (day = '1') LOCATION '{landing}'")
    try:
        for table, why in (
            ("seen", "is of the kind "),
            (f"{catalog}.scattered", "has a partition in .*, outside its folder"),
            ("a b", "cannot be found: .*; name it as Spark does"),
        ):
            with pytest.raises(LandingError, match=why):
                by_files(spark, EventMapping(table=table, **MAPPED))
    finally:
        spark.sql("DROP VIEW seen")


def test_a_mapping_of_files_or_of_a_folder_stays_as_it_is(spark):
    for mapping in (
        EventMapping(table="./views", **MAPPED),
        EventMapping(files=("a",), format="csv", **MAPPED),
    ):
        assert by_files(spark, mapping) is mapping
    with pytest.raises(LandingError):
        kind_and_place(spark, "none")
