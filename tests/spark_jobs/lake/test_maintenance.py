"""Which files of a table are small, and which no kept version refers to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from expectations.tables import REJECTED_ITEMS
from spark_jobs.lake import delta
from spark_jobs.lake.local_rows import local_rows
from spark_jobs.lake.maintenance import COMPACTED, small_files, unused_files


def test_small_files_are_of_the_newest_version_and_unused_ones_of_no_kept_version(spark, tmp_path):
    place, table = (str(tmp_path / "lake"), "films"), REJECTED_ITEMS

    def write(text: str) -> int:
        rows = local_rows(spark, [("f", "f.csv", 1, text, "why")], table.ddl)
        return delta.replace(spark, rows, table, *place, "true")

    assert unused_files(spark, *place, table, (), datetime.now(UTC)) == ()
    first, second, newest = write("a"), write("b"), write("c" * 10)
    (file,) = small_files(spark, *place, table, 1 << 20)
    assert small_files(spark, *place, table, file.size_bytes) == ()
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert len(unused_files(spark, *place, table, (), later)) == 2
    (unused,) = unused_files(spark, *place, table, (first, 99), later)
    assert unused_files(spark, *place, table, (first, second), later) == ()
    assert unused_files(spark, *place, table, (), later - timedelta(hours=1)) == ()
    delta.delete_files(spark, [unused, unused])
    assert delta.read(spark, *place, table, first).first()["raw"] == "a"
    assert delta.read(spark, *place, table, newest).count() == 1


def test_tables_of_partitions_by_cycle_are_not_compacted():
    assert {"events", "ingested_files", "items"} <= {table.name for table in COMPACTED}
    assert not any("cycle" in table.partitions for table in COMPACTED)
