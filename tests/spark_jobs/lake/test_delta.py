"""Delta writes: contract enforced, reruns change nothing, old versions stay readable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from expectations import delta_log
from expectations.tables import Column, Table
from pipeline.settings import CHECKOUT
from spark_jobs.lake import delta, migrations

RUNS = Table(
    name="runs",
    grain="one row per cycle and runner",
    key=("cycle", "runner"),
    columns=(
        Column("cycle", "string", "the cycle"),
        Column("runner", "string", "who"),
        Column("metres", "int", "how far, metres", nullable=True),
    ),
    partitions=("cycle",),
    constraints=(("metres_positive", "metres IS NULL OR metres > 0"),),
)


@pytest.fixture
def lake(tmp_path) -> str:
    return str(tmp_path / "a lake")


def rows(spark, *values, ddl="cycle string, runner string, metres int"):
    return spark.createDataFrame(list(values), ddl)


def content(spark, lake, version=None):
    return sorted(tuple(row) for row in delta.read(spark, lake, "club", RUNS, version).collect())


def test_a_table_is_created_by_its_contract(spark, lake):
    assert delta.latest_version(spark, lake, "club", RUNS) is None
    version = delta.replace(spark, rows(spark, ("c1", "ann", 5)), RUNS, lake, "club", "cycle = 'c1'")
    assert version == delta.latest_version(spark, lake, "club", RUNS) == 1
    detail = spark.sql(f"DESCRIBE DETAIL delta.`{lake}/club/runs`").first()
    assert detail["partitionColumns"] == ["cycle"]
    assert detail["properties"]["delta.constraints.metres_positive"] == "metres IS NULL OR metres > 0"
    assert detail["minReaderVersion"] == 1
    assert detail["numFiles"] == 1


def test_a_table_of_an_earlier_revision_gets_the_nullable_columns_that_it_lacks(spark, lake):
    older = replace(RUNS, columns=RUNS.columns[:2], constraints=())
    first = delta.replace(
        spark,
        rows(spark, ("c1", "ann"), ddl="cycle string, runner string"),
        older,
        lake,
        "club",
        "cycle = 'c1'",
    )
    delta.replace(spark, rows(spark, ("c2", "bob", 7)), RUNS, lake, "club", "cycle = 'c2'")
    assert content(spark, lake) == [("c1", "ann", None), ("c2", "bob", 7)]
    assert content(spark, lake, version=first) == [("c1", "ann")]


def test_replacing_a_cycle_again_changes_nothing_and_touches_no_other(spark, lake):
    delta.replace(spark, rows(spark, ("c1", "ann", 5)), RUNS, lake, "club", "cycle = 'c1'")
    delta.replace(spark, rows(spark, ("c2", "ann", 7)), RUNS, lake, "club", "cycle = 'c2'")
    again = delta.replace(spark, rows(spark, ("c2", "ann", 7)), RUNS, lake, "club", "cycle = 'c2'")
    assert content(spark, lake) == [("c1", "ann", 5), ("c2", "ann", 7)]
    assert content(spark, lake, version=1) == [("c1", "ann", 5)]
    assert again == 3


def test_rows_outside_the_replaced_part_are_refused(spark, lake):
    with pytest.raises(delta.ConstraintError, match="table runs: .*cycle"):
        delta.replace(spark, rows(spark, ("c2", "ann", 5)), RUNS, lake, "club", "cycle = 'c1'")


def test_a_violated_constraint_is_named_with_its_table_and_values(spark, lake):
    with pytest.raises(delta.ConstraintError, match="table runs: constraint metres_positive .*metres : -5"):
        delta.replace(spark, rows(spark, ("c1", "ann", -5)), RUNS, lake, "club", "cycle = 'c1'")


def test_a_null_in_a_required_column_is_refused(spark, lake):
    with pytest.raises(delta.ConstraintError, match="table runs: column runner must not be null"):
        delta.replace(spark, rows(spark, ("c1", None, 5)), RUNS, lake, "club", "cycle = 'c1'")


def test_other_columns_are_refused_with_every_difference(spark, lake):
    wrong = rows(spark, ("c1", 5, 1.0), ddl="cycle string, metres bigint, pace double")
    with pytest.raises(delta.SchemaError) as problem:
        delta.replace(spark, wrong, RUNS, lake, "club", "cycle = 'c1'")
    assert "column runner is missing" in str(problem.value)
    assert "column pace is not in the contract" in str(problem.value)
    assert "column metres is bigint, the contract says int" in str(problem.value)


def test_append_new_adds_unknown_keys_only(spark, lake):
    first = delta.append_new(spark, rows(spark, ("c1", "ann", 5)), RUNS, lake, "club")
    same = delta.append_new(spark, rows(spark, ("c1", "ann", 9)), RUNS, lake, "club")
    more = delta.append_new(spark, rows(spark, ("c1", "ann", 9), ("c1", "bob", 2)), RUNS, lake, "club")
    assert (same, more) == (first, first + 1)
    assert content(spark, lake) == [("c1", "ann", 5), ("c1", "bob", 2)]


def test_upsert_touches_only_rows_that_differ(spark, lake):
    first = delta.upsert(spark, rows(spark, ("c1", "ann", 5), ("c1", "bob", 2)), RUNS, lake, "club")
    same = delta.upsert(spark, rows(spark, ("c1", "ann", 5)), RUNS, lake, "club")
    changed = delta.upsert(spark, rows(spark, ("c1", "ann", 6), ("c1", "cid", 1)), RUNS, lake, "club")
    assert (same, changed) == (first, first + 1)
    assert content(spark, lake) == [("c1", "ann", 6), ("c1", "bob", 2), ("c1", "cid", 1)]


def test_every_upsert_keeps_its_note_the_first_too(spark, lake):
    for note, metres in (("first", 5), ("second", 6)):
        delta.upsert(spark, rows(spark, ("c1", "ann", metres)), RUNS, lake, "club", note=note)
        assert delta.last_note(spark, lake, "club", RUNS) == note


def test_the_note_of_any_version_is_found(spark, lake):
    for number, note in ((1, "one"), (2, "two")):
        delta.upsert(spark, rows(spark, ("c1", "ann", number)), RUNS, lake, "club", note=note)
    notes = [delta.note_of(spark, lake, "club", RUNS, version) for version in range(4)]
    assert notes == [None, "one", "two", None]


def test_compaction_keeps_rows_and_the_note_and_leaves_one_file(spark, lake):
    for metres in (5, 6):
        delta.upsert(spark, rows(spark, (f"c{metres}", "ann", metres)), RUNS, lake, "club", note="n")
        delta.upsert(spark, rows(spark, ("c5", f"bob{metres}", metres)), RUNS, lake, "club", note="n")
    before, many = content(spark, lake), delta.files_of(spark, lake, "club", RUNS)
    pinned = delta.latest_version(spark, lake, "club", RUNS)
    assert delta.compact(spark, RUNS, lake, "club", 1 << 20, 1 << 22) == pinned + 1
    assert content(spark, lake) == content(spark, lake, pinned) == before
    now = delta.files_of(spark, lake, "club", RUNS)
    assert len(now) == 2 < len(many)  # one a partition
    assert delta.last_note(spark, lake, "club", RUNS) == "n"
    assert delta.compact(spark, RUNS, lake, "club", 1 << 20, 1 << 22) == pinned + 1
    assert many | now <= delta.data_files(spark, lake, "club", RUNS).keys()


def test_a_missing_table_or_version_is_named(spark, lake):
    with pytest.raises(delta.TableError, match="table runs of club does not exist"):
        delta.read(spark, lake, "club", RUNS)
    delta.append_new(spark, rows(spark, ("c1", "ann", 5)), RUNS, lake, "club")
    with pytest.raises(delta.TableError, match="has no version 9, the newest is 1"):
        delta.read(spark, lake, "club", RUNS, 9)


def test_spark_reads_and_writes_delta_here_only():
    folders = ("dags", "expectations", "model", "pipeline", "spark_jobs")
    users = {
        str(path.relative_to(CHECKOUT))
        for folder in folders
        for path in (CHECKOUT / folder).rglob("*.py")
        if 'format("delta")' in path.read_text(encoding="utf-8")
    }
    # `jars` runs a script once that records the classes Spark loads, and `table_rows` reads the change feed of a
    # source's own table; neither has a table of ours.
    assert users == {
        "spark_jobs/lake/delta.py",
        "spark_jobs/landing/table_rows.py",
        "pipeline/setup/jars.py",
    }


def test_counts_and_predicates(spark, lake):
    assert delta.row_count(spark, lake, "club", RUNS) == 0
    delta.append_new(spark, rows(spark, ("c1", "ann", 5), ("c1", "bob", 2)), RUNS, lake, "club")
    assert delta.row_count(spark, lake, "club", RUNS) == 2
    assert delta.within("runner", []) == "false"
    kept = delta.read(spark, lake, "club", RUNS).where(delta.within("runner", ["o'ann", "bob"]))
    assert [row["runner"] for row in kept.collect()] == ["bob"]


@pytest.mark.parametrize("reachable", [True, False])
def test_the_log_answers_alike_where_delta_rs_cannot_read_it(spark, lake, monkeypatch, reachable):
    if not reachable:

        def refused(address: str, version: int | None = None):
            raise OSError("no such store")

        monkeypatch.setattr(delta_log, "open_table", refused)
    assert delta.row_count(spark, lake, "club", RUNS) == 0
    before = delta.append_new(spark, rows(spark, ("c1", "ann", 5)), RUNS, lake, "club")
    delta.append_new(spark, rows(spark, ("c2", "bob", 2)), RUNS, lake, "club")
    assert delta.row_count(spark, lake, "club", RUNS) == 2
    found = {row["runner"]: row.asDict() for row in delta.small_table(spark, lake, "club", RUNS)}
    assert found["ann"] == {"cycle": "c1", "runner": "ann", "metres": 5} and len(found) == 2
    stored = delta.data_files(spark, lake, "club", RUNS)
    assert delta.files_of(spark, lake, "club", RUNS) == set(stored)
    assert len(delta.files_of(spark, lake, "club", RUNS, before)) == 1
    with pytest.raises(delta.TableError, match="has no version 9"):
        delta.files_of(spark, lake, "club", RUNS, 9)


def properties(spark, lake):
    return spark.sql(f"DESCRIBE DETAIL delta.`{lake}/club/runs`").first()["properties"]


def test_a_table_of_an_earlier_release_gets_constraints_properties_and_loosened_columns(spark, lake):
    required = tuple(replace(column, nullable=False) for column in RUNS.columns)
    older = replace(RUNS, columns=required, constraints=(("metres_positive", "metres > 1"), ("old", "true")))
    delta.replace(spark, rows(spark, ("c1", "ann", 5)), older, lake, "club", "true")
    spark.sql(
        f"ALTER TABLE delta.`{lake}/club/runs` SET TBLPROPERTIES ('delta.logRetentionDuration' = 'interval 30 days')"
    )
    delta.create(spark, lake, "club", RUNS)
    stored = properties(spark, lake)
    assert {key: value for key, value in stored.items() if "constraints" in key} == {
        "delta.constraints.metres_positive": "metres IS NULL OR metres > 0"
    }
    assert delta.PROPERTIES.items() <= stored.items()
    version = delta.latest_version(spark, lake, "club", RUNS)
    assert delta.create(spark, lake, "club", RUNS) == version
    delta.replace(spark, rows(spark, ("c1", "ann", None)), RUNS, lake, "club", "true")
    with pytest.raises(delta.ConstraintError, match="metres_positive"):
        delta.replace(spark, rows(spark, ("c1", "ann", -5)), RUNS, lake, "club", "true")


def test_a_migration_mends_rows_before_a_new_constraint_and_runs_once(spark, lake, monkeypatch):
    older = replace(RUNS, columns=RUNS.columns[:2], constraints=())
    delta.replace(
        spark, rows(spark, ("c1", "ann"), ddl="cycle string, runner string"), older, lake, "club", "true"
    )
    newer = replace(RUNS, constraints=(("known", "metres IS NOT NULL"),))
    with pytest.raises(
        delta.ConstraintError, match="stored rows violate the constraint known .* mend or remove"
    ):
        delta.create(spark, lake, "club", newer)
    fill = migrations.Migration(7, "runs", "", "UPDATE {table} SET metres = 1 WHERE metres IS NULL")
    monkeypatch.setattr(migrations, "MIGRATIONS", (fill,))
    monkeypatch.setattr(migrations.newest, "__defaults__", ((fill,),))
    monkeypatch.setattr(migrations.pending, "__defaults__", ((fill,),))
    version = delta.create(spark, lake, "club", newer)
    assert content(spark, lake) == [("c1", "ann", 1)] and properties(spark, lake)[migrations.PROPERTY] == "7"
    assert delta.create(spark, lake, "club", newer) == version
    monkeypatch.undo()
    with pytest.raises(
        delta.SchemaError, match="has migration 7, this revision knows up to 0; update the code"
    ):
        delta.create(spark, lake, "club", newer)


def test_files_of_old_versions_that_hold_a_row_are_deleted_and_others_are_readable(spark, lake):
    for cycle, runner in (("c1", "ann"), ("c2", "bob"), ("c3", "ann")):
        delta.replace(spark, rows(spark, (cycle, runner, 5)), RUNS, lake, "club", f"cycle = '{cycle}'")
    bob = delta.delete(spark, F.col("cycle") == "c2", RUNS, lake, "club")
    delta.delete(spark, F.col("runner") == "ann", RUNS, lake, "club")
    assert delta.purge(spark, RUNS, lake, "club", F.col("runner") == "ann", "runner") == 2
    assert delta.purge(spark, RUNS, lake, "club", F.col("runner") == "ann", "runner") == 0
    assert delta.cut_statistics(spark, RUNS, lake, "club", "ann") > 0
    log = "".join(path.read_text() for path in (Path(lake) / "club/runs/_delta_log").glob("*.json"))
    assert '"ann' not in log.replace("runner = 'ann'", "").replace("\\", "") and "bob" in log
    assert content(spark, lake) == []
    spark.catalog.clearCache()
    with pytest.raises(Exception, match=r"(?i)not exist|no such file|FILE_NOT_EXIST"):
        content(spark, lake, bob)


def test_a_clone_begins_with_the_rows_of_a_version_and_leaves_the_first_table_alone(spark, lake, tmp_path):
    for number in (1, 2):
        delta.replace(
            spark, rows(spark, (f"c{number}", "ann", number)), RUNS, lake, "club", f"cycle = 'c{number}'"
        )
    before, other = {path for path in Path(lake).rglob("*")}, str(tmp_path / "other")
    version = delta.clone(spark, lake, "club", RUNS, 1, other)
    # Version 0 is taken for an empty table.
    assert version > 0 and content(spark, other, version) == [("c1", "ann", 1)]
    assert not list(Path(other).rglob("part-*.parquet"))
    delta.replace(spark, rows(spark, ("c1", "bob", 7)), RUNS, other, "club", "cycle = 'c1'")
    assert content(spark, other) == [("c1", "bob", 7)]
    assert content(spark, lake) == [("c1", "ann", 1), ("c2", "ann", 2)]
    assert {path for path in Path(lake).rglob("*")} == before
    assert delta.clone(spark, lake, "club", RUNS, 0, str(tmp_path / "empty")) == 0


def test_files_that_a_version_has_lost_are_named(spark, lake):
    for number in (1, 2):
        version = delta.replace(spark, rows(spark, ("c1", "ann", number)), RUNS, lake, "club", "true")
    assert delta.missing_files(spark, lake, "club", RUNS, version) == ([], 1)
    (name,) = delta.files_of(spark, lake, "club", RUNS, version - 1)
    next(Path(lake).rglob(name)).unlink()
    assert delta.missing_files(spark, lake, "club", RUNS, version - 1) == ([name], 1)
    assert delta.missing_files(spark, lake, "club", RUNS, version) == ([], 1)


def test_values_of_chosen_rows_are_set(spark, lake):
    delta.replace(spark, rows(spark, ("c1", "ann", 5), ("c1", "bob", 5)), RUNS, lake, "club", "true")
    delta.set_values(spark, F.col("runner") == "bob", {"metres": F.lit(1)}, RUNS, lake, "club")
    assert content(spark, lake) == [("c1", "ann", 5), ("c1", "bob", 1)]


def test_changes_between_versions_are_rows_and_not_files(spark, lake):
    table = replace(RUNS, partitions=())
    place = (table, lake, "club")
    first = delta.append_once(spark, rows(spark, ("c1", "ann", 5), ("c1", "bob", 2)), *place, "one")
    delta.append_once(spark, rows(spark, ("c2", "ann", 7), ("c2", "cy", 1)), *place, "two")
    delta.set_values(spark, F.col("metres") == 5, {"metres": F.lit(6)}, *place)
    delta.delete(spark, F.col("runner") == "cy", *place)
    last = delta.compact(spark, *place, 2**30, 2**30)

    def between(before, after):
        found = delta.changes(spark, lake, "club", table, before, after)
        return [
            sorted(tuple(row) for row in side.select("cycle", "runner", "metres").collect())
            for side in (found.added, found.removed)
        ]

    assert between(first, last) == [[("c1", "ann", 6), ("c2", "ann", 7)], [("c1", "ann", 5)]]
    assert between(last - 1, last) == [[], []]
    assert between(first, first + 1) == [[("c2", "ann", 7), ("c2", "cy", 1)], []]
    assert delta.changes(spark, lake, "club", table, first, last + 5) is None
    for name in delta.files_of(spark, lake, "club", table, first):
        next(Path(lake).rglob(name)).unlink()
    assert not delta.can_be_read(spark, lake, "club", table, first)
    assert delta.changes(spark, lake, "club", table, first, last) is None
    with pytest.raises(ValueError, match="runs is partitioned"):
        delta.changes(spark, lake, "club", RUNS, first, last)
