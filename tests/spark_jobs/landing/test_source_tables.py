"""A Delta table as a source: read from the version on that the last cycle passed, and nothing lost on the way."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from spark_jobs.config import EventMapping, SourceConfig
from spark_jobs.landing.files import LandingError
from spark_jobs.landing.source_tables import TableVersion, newest, opened, read_again, versions, whole
from spark_jobs.landing.table_rows import measured, table_groups
from tests.spark_jobs.landed import content, job

TABLE = "./views"


@dataclass
class Views:
    """A Delta table of views, and what cycles read of it."""

    spark: SparkSession
    folder: Path
    ingested: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a cycle has passed, as rows of `ingested_files`."""

    @property
    def path(self) -> str:
        return str(self.folder / "views")

    def sql(self, statement: str) -> None:
        self.spark.sql(statement.format(t=f"delta.`{self.path}`"))

    def create(self) -> None:
        self.sql("CREATE TABLE {t} (u STRING, i STRING, t BIGINT, odd STRING) USING delta")

    def add(self, *users: str) -> None:
        values = ", ".join(f"('{user}', 'i', 1767225600, 'plain')" for user in users)
        self.sql(f"INSERT INTO {{t}} VALUES {values}")

    def vacuum(self) -> None:
        """Deletes every file that the newest version does not have."""
        key = "spark.databricks.delta.retentionDurationCheck.enabled"
        self.spark.conf.set(key, "false")
        try:
            self.sql("VACUUM {t} RETAIN 0 HOURS")
        finally:
            self.spark.conf.unset(key)

    def parts(self, *kept_out: str) -> list[TableVersion]:
        """The parts of the table's history that no cycle has passed."""
        found = versions(
            self.spark, str(self.folder), TABLE, self.ingested, 99, kept_out, partial(measured, self.spark)
        )
        assert [part.file_id for part in found[: len(self.ingested)]] == list(self.ingested)
        return found[len(self.ingested) :]

    def read(self, *kept_out: str) -> tuple[str, list[str]]:
        """The name and the users of the one part that is new, which a cycle then passes."""
        (part,) = self.parts(*kept_out)
        (group,) = table_groups(self.spark, [part], {("u",), ("i",)}, {})
        users = sorted(row["u"] for row in group.opened({("u",), ("i",)}).collect())
        assert group.counts == {part.file_id: len(users)}
        row = {"file_path": part.name, "size_bytes": part.size_bytes, "ingestion": len(self.ingested)}
        self.ingested[part.file_id] = row | {"file_id": part.file_id}
        return part.name, users


@pytest.fixture
def views(spark, landing) -> Views:
    table = Views(spark, landing)
    table.create()
    return table


def test_a_part_reaches_from_the_last_version_that_passed_to_the_newest(views):
    views.add("a", "b")
    views.add("c")
    assert views.read() == ("views@2", ["a", "b", "c"])
    assert views.parts() == []
    before = newest(str(views.folder), TABLE, lambda: views.spark)
    views.add("d")
    assert newest(str(views.folder), TABLE, lambda: views.spark) != before
    assert [part.name for part in views.parts()] == ["views@2..3"]
    views.add("e")
    views.sql("OPTIMIZE {t}")
    (part,) = views.parts()
    assert part.size_bytes > 0 and not part.is_again and part.partition == {}
    assert views.read() == ("views@2..5", ["d", "e"])


@pytest.mark.parametrize("has_feed", [True, False])
def test_of_a_rewritten_table_only_rows_that_are_new_count(views, has_feed):
    if has_feed:
        views.sql("ALTER TABLE {t} SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    views.add("a", "a", "b", "c")
    views.read()
    views.sql("UPDATE {t} SET u = 'x' WHERE u = 'b'")
    views.sql("UPDATE {t} SET odd = 'changed'")  # of no column that is read
    views.sql("DELETE FROM {t} WHERE u = 'c'")
    views.add("d", "a")
    assert views.read()[1] == ["a", "d", "x"]
    views.sql("INSERT OVERWRITE {t} SELECT * FROM {t}")
    assert views.read()[1] == []
    assert (views.parts() == []) and len(views.ingested) == 3


def test_what_cannot_be_followed_is_read_whole(views):
    views.add("a")
    views.read()
    views.add("b")
    views.sql("DELETE FROM {t} WHERE u = 'a'")
    views.vacuum()
    (part,) = views.parts()
    assert read_again([part]) == [part.file_id] and part.name == f"views@{part.version}"
    assert views.read()[1] == ["b"]
    # A table that was dropped and made again begins anew, under the name that it had.
    shutil.rmtree(views.path)
    views.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
    views.create()
    views.add("c")
    (part,) = views.parts()
    assert part.is_again and part.name.startswith("views@1 of ")
    assert views.read()[1] == ["c"]
    views.add("d")
    assert views.read()[1] == ["d"]


def test_what_is_withdrawn_counts_as_read_until_it_is_not(views):
    views.add("a")
    views.read()
    views.add("b")
    views.add("c")
    assert views.read("views@1..2") == ("views@2..3", ["c"])
    assert views.read() == ("views@1..2", ["b"])
    assert views.parts() == []


def test_a_cycle_ingests_a_table_and_keeps_what_can_be_read_no_more(views):
    mapping = {"table": TABLE, "user": "u", "item": "i", "time": "t"}
    passed = None

    def cycle(**more: str):
        source = SourceConfig(name="films", events=EventMapping(**(mapping | more)))
        ran = job(views.folder, source, passed_ingestion=passed)
        return ran, events.main(views.spark, ran)

    views.add("a", "")
    _, result = cycle()
    passed = result.versions[INGESTED_FILES.name]
    views.add("b")
    views.add("c")
    views.sql("DELETE FROM {t} WHERE u = 'a'")
    views.sql("OPTIMIZE {t}")
    views.vacuum()
    ran, result = cycle()  # the whole table, of which the rows of known events are no lines
    assert (result.figures.lines, result.figures.accepted) == (3, 2)
    passed = result.versions[INGESTED_FILES.name]
    refused = content(views.spark, ran, REJECTED_EVENTS)
    assert [row["reason"] for row in refused] == 2 * ["missing user"]
    assert refused[0]["file_path"].startswith("views@") and '"i":"i"' in refused[0]["raw"]
    ran, _ = cycle(page="odd")  # another mapping: what is vacuumed keeps what it gave
    pages = {row["user_id"]: row["page"] for row in content(views.spark, ran, EVENTS)}
    assert pages == {"a": None, "b": "plain", "c": "plain"}
    files = {row["file_path"]: row["line_count"] for row in content(views.spark, ran, INGESTED_FILES)}
    assert files["views@1"] == 2 and sum(files.values()) == 5


def test_a_table_that_is_not_there_is_told(spark, landing):
    for table, why in (("./none", "is no Delta table"), ("none", "table none cannot be found: .*catalog")):
        with pytest.raises(LandingError, match=why):
            opened(spark, str(landing), table)
    assert newest(str(landing), "none", lambda: spark) == []


def test_a_table_is_read_whole_or_some_files_of_it(views):
    for user in "abc":
        views.add(user)
    for most, count in ((None, 3), (2, 2)):
        part = whole(views.spark, str(views.folder), TABLE, most)
        assert part.size_bytes > 0
        (group,) = table_groups(views.spark, [part], {("u",)}, {})
        assert list(group.counts.values()) == [count]
