"""Rows of a Delta table: their numbers, their columns, and files that are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_jobs.landing.files import LandingError
from spark_jobs.landing.layouts import LINE_NUMBER, RAW
from spark_jobs.landing.source_tables import whole
from spark_jobs.landing.table_rows import lost_to_reading, table_groups

COLUMNS = "u STRING, s STRUCT<a: INT, b: DATE>, oddName BIGINT, unread MAP<STRING, BINARY>"


@pytest.fixture
def table(spark, landing):
    """A function (properties, partition) → the path of a table with six rows in two commits."""

    def made(properties: str = "", partition: str = "") -> str:
        path = str(landing / "t")
        spark.sql(f"CREATE TABLE delta.`{path}` ({COLUMNS}) USING delta {partition} {properties}")
        for start in (0, 3):
            rows = spark.range(start, start + 3).selectExpr(
                "CONCAT('u', id) AS u",
                "named_struct('a', CAST(id AS INT), 'b', DATE '2026-01-01') AS s",
                "id AS oddName",
                "map('k', X'00') AS unread",
            )
            rows.coalesce(1).write.format("delta").mode("append").save(path)
        return path

    return made


def lines(spark, landing, *paths: tuple[str, ...]):
    (group,) = table_groups(spark, [whole(spark, str(landing), "./t")], set(paths), {})
    return group, sorted(group.opened(set(paths)).collect(), key=lambda row: row[LINE_NUMBER])


@pytest.mark.parametrize(
    ("properties", "partition"),
    [
        ("", "PARTITIONED BY (u)"),
        ("TBLPROPERTIES (delta.columnMapping.mode = 'name')", ""),
        ("TBLPROPERTIES (delta.enableDeletionVectors = true)", ""),
    ],
)
def test_rows_have_a_number_each_whatever_the_table_has(spark, landing, table, properties, partition):
    path = table(properties, partition)
    spark.sql(f"DELETE FROM delta.`{path}` WHERE oddName = 1")
    if "columnMapping" in properties:
        spark.sql(f"ALTER TABLE delta.`{path}` RENAME COLUMN s TO other")
        spark.sql(f"ALTER TABLE delta.`{path}` RENAME COLUMN u TO s")
        spark.sql(f"ALTER TABLE delta.`{path}` RENAME COLUMN other TO u")
    user = "s" if "columnMapping" in properties else "u"
    group, rows = lines(spark, landing, (user,), ("ODDNAME",))
    assert list(group.counts.values()) == [5]
    assert {row[user]: row["ODDNAME"] for row in rows} == {"u0": 0, "u2": 2, "u3": 3, "u4": 4, "u5": 5}
    assert len({row[LINE_NUMBER] for row in rows}) == 5 and rows[0][LINE_NUMBER] >= 1
    assert rows == lines(spark, landing, (user,), ("ODDNAME",))[1]


def test_the_text_of_a_row_is_what_the_mapping_reads_of_it(spark, landing, table):
    table()
    _, rows = lines(spark, landing, ("s", "a"))
    assert {row[RAW] for row in rows} == {f'{{"s":{{"a":{a},"b":"2026-01-01"}}}}' for a in range(6)}


def test_a_file_that_is_damaged_or_gone_is_told_and_changes_nothing(spark, landing, table):
    path = table()
    part = whole(spark, str(landing), "./t")
    damaged = min(Path(path).glob("*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[4:60] = bytes(56)
    damaged.write_bytes(content)
    (Path(path) / f".{damaged.name}.crc").unlink()
    with pytest.raises(
        LandingError, match="the rows of t@2 cannot be read: .*; mend the table, or withdraw t@2"
    ):
        table_groups(spark, [part], {("u",)}, {})
    assert lost_to_reading(spark, [part], {part.file_id}) == set()
    spark.sql(f"INSERT INTO delta.`{path}` (u) VALUES ('more')")
    damaged.unlink()
    assert lost_to_reading(spark, [part], {part.file_id}) == {part.file_id}
    unreadable: dict[str, str] = {}
    assert table_groups(spark, [part], {("u",)}, unreadable) == []
    assert "1 of its files were vacuumed" in unreadable[part.file_id]
