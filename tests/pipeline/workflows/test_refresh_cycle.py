"""The map of a refresh cycle."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from expectations.tables import TABLES
from pipeline.workflows.refresh_cycle import MAX_RUNGS, refresh_cycle, rung_stage
from pipeline.workflows.stage import Workflow

SIZES = ("25k", "50k", "100k", "200k")
OUTSIDE = {"registry"}
"""What comes from outside a cycle."""


@pytest.fixture(params=(1, 2, 4, MAX_RUNGS))
def stages(request) -> Workflow:
    return refresh_cycle([f"size {number}" for number in range(request.param)])


def test_a_rung_is_a_stage_after_the_rung_before_it_and_before_the_full_model(stages):
    names = [stage.name for stage in stages.rungs]
    assert names == [rung_stage(number) for number in range(1, len(names) + 1)]
    assert [stage.rung for stage in stages.rungs] == list(range(1, len(names) + 1))
    assert [stage.after for stage in stages.rungs[1:]] == [(name,) for name in names[:-1]]
    assert stages.rungs[0].after == ("validate_sequences",) and stages["train"].after == (names[-1],)
    assert set(names) < set(stages["funnel"].records)


def test_every_read_was_written_by_a_stage_that_had_finished(stages):
    finished = {"resolve": set(stages.resolve.writes)}
    for stage in stages.stages:
        written = set().union(*(finished[name] for name in stage.after))
        # Read at the version before, or from earlier cycles.
        assert set(stage.reads) <= written | {"vocabulary", "text_vectors", "sequences"}, stage.name
        finished[stage.name] = written | set(stage.writes)


def test_every_record_read_is_of_a_stage_that_had_finished(stages):
    finished: dict[str, set[str]] = {"resolve": set()}
    for stage in stages.stages:
        upstream = set(stage.after).union(*(finished[name] for name in stage.after)) - {"resolve"}
        assert set(stage.records) <= upstream, stage.name
        finished[stage.name] = upstream


def test_every_table_is_written_by_a_stage(stages):
    assert set(TABLES) <= {name for stage in stages for name in stage.writes}


def test_every_written_artifact_is_read_or_is_for_people(stages):
    read = {name for stage in stages for name in stage.reads}
    for_people = {"expectation report", "report", "rejected_items", "alias", "cycle record"}
    assert {name for stage in stages for name in stage.writes} - read == for_people
    assert read - {name for stage in stages for name in stage.writes} == OUTSIDE


def test_only_the_stages_between_the_two_judgements_of_data_run_side_by_side(stages):
    after = Counter(stage.after for stage in stages)
    assert {names: count for names, count in after.items() if count > 1} == {("validate_events",): 6}
    assert set(stages["validate_sequences"].after) == {
        stage.name for stage in stages if stage.after == ("validate_events",)
    }


def test_every_stage_names_a_function_that_exists(stages):
    for stage in stages:
        assert callable(stage.load()), stage.function


def test_reading_the_map_loads_no_engine():
    code = (
        "import sys, pipeline.workflows.refresh_cycle; "
        "print([name for name in ('pyspark', 'torch', 'mlflow', 'airflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_listing_names_tables_and_records():
    rows = {row[0]: row for row in refresh_cycle(SIZES).listing()}
    assert rows["funnel"][2] == "ranks, records of rung_1, rung_2, rung_3, rung_4, evaluate"
    assert rows["promote"][2] == "registered version, records of funnel, register"
    assert rows["report"][2].endswith("every record")
