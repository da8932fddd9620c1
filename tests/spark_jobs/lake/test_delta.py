"""Delta writes: contract enforced, reruns change nothing, old versions stay readable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from expectations.tables import Column, Table
from pipeline.settings import CHECKOUT
from spark_jobs.lake import delta

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
    # `jars` runs a script once that records the classes Spark loads; it has no table of ours.
    assert users == {"spark_jobs/lake/delta.py", "pipeline/setup/jars.py"}


def test_counts_and_predicates(spark, lake):
    assert delta.row_count(spark, lake, "club", RUNS) == 0
    delta.append_new(spark, rows(spark, ("c1", "ann", 5), ("c1", "bob", 2)), RUNS, lake, "club")
    assert delta.row_count(spark, lake, "club", RUNS) == 2
    assert delta.within("runner", []) == "false"
    kept = delta.read(spark, lake, "club", RUNS).where(delta.within("runner", ["o'ann", "bob"]))
    assert [row["runner"] for row in kept.collect()] == ["bob"]
