"""What every stage owes, whatever it does; a new stage of the map is tested by being in it.

One cycle over the tiny log, stage by stage: a stage cannot do without anything that it declares to read,
and is told so; killed before its record is written and run again it comes to the same result; run once
more it does nothing; and its record is read back as it was written.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from deltalake import DeltaTable

from expectations.tables import TABLES, location
from pipeline import runner
from pipeline.cycle.context import StageContext, UndeclaredError
from pipeline.cycle.records import StageRecord, plain_figures, read_records, write_record
from pipeline.runner import Outcome, run_stage
from pipeline.stages.resolve import pin_cycle
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import Stage
from spark_jobs.lake.delta import TableError
from tests.factories import CUTOFFS, tiny_config

STAGES = workflow(tiny_config()).stages
TIMED = ("seconds", "tokens_per_second", "latency_milliseconds")
"""Figures that are measured with a clock."""
COUNT_THE_RUN = ("events", "items")
"""Stages whose figures count what this run read: a run that was killed after its tables were whole leaves
the next one nothing to read."""
READ_EVERY_RECORD = ("funnel", "register", "report")
"""Stages that go through all the records that they declare, and so miss none by its name."""


class Killed(BaseException):
    """Stands for a kill: nothing in the program may catch it."""


class Bench:
    """A home in which the stages of one cycle run in order."""

    def __init__(self, house) -> None:
        self.house, self.config = house, house.config
        self.cycle = pin_cycle(self.config, CUTOFFS[0], house.settings)
        self.folder = house.settings.cycle_folder("tiny", self.cycle.name)

    def run(self, stage: str) -> Outcome:
        return run_stage(stage, self.config, self.cycle, self.house.settings, self.house.lines.append)

    def content(self, stage: Stage) -> dict[str, list[str]]:
        """Rows of the tables that a stage writes, in a stable order."""
        address = {
            name: location(self.house.settings.lake, "tiny", name) for name in stage.writes if name in TABLES
        }
        return {
            name: sorted(
                json.dumps(row, default=str) for row in DeltaTable(path).to_pyarrow_table().to_pylist()
            )
            for name, path in address.items()
            if DeltaTable.is_deltatable(path)
        }

    def call(self, stage: Stage) -> Any:
        """The stage's work alone, with a map entry of ours."""
        records = read_records(self.folder)
        context = StageContext(
            stage, self.config, self.cycle, self.house.settings, records, self.house.lines.append
        )
        return runner._call(stage, context)


@pytest.fixture(scope="module")
def bench(make_house) -> Bench:
    return Bench(make_house())


@pytest.fixture(scope="module", params=STAGES, ids=lambda stage: stage.name)
def stage(request) -> Stage:
    return request.param


def untimed(value: Any) -> Any:
    """Plain figures without what a clock measured."""
    if isinstance(value, dict):
        return {key: untimed(part) for key, part in value.items() if key not in TIMED}
    return [untimed(part) for part in value] if isinstance(value, list) else value


def plain(record: StageRecord) -> Any:
    """Figures of a record without what a clock measured."""
    return untimed(plain_figures(record.figures))


def test_a_stage_needs_every_table_and_record_that_it_declares(bench, stage):
    tables = [name for name in stage.reads if name in TABLES and name not in stage.writes]
    for name in tables:
        without = replace(stage, reads=tuple(other for other in stage.reads if other != name))
        with pytest.raises((UndeclaredError, TableError)):
            bench.call(without)
    for name in () if stage.name in READ_EVERY_RECORD else stage.records:
        without = replace(stage, records=tuple(other for other in stage.records if other != name))
        with pytest.raises(UndeclaredError):
            bench.call(without)


def test_killed_before_its_record_and_run_again_it_comes_to_the_same(bench, stage, monkeypatch):
    killed = []
    with monkeypatch.context() as patch:

        def kill(folder, record):
            killed.append(record)
            raise Killed

        patch.setattr(runner, "write_record", kill)
        with pytest.raises(Killed):
            bench.run(stage.name)
    assert stage.name not in read_records(bench.folder)
    before = bench.content(stage)
    record = bench.run(stage.name).record
    assert bench.content(stage) == before
    assert (record.inputs_digest, record.refused) == (killed[0].inputs_digest, killed[0].refused)
    if stage.name not in COUNT_THE_RUN:
        assert plain(record) == plain(killed[0])


def test_run_again_it_does_nothing(bench, stage):
    before = read_records(bench.folder)[stage.name]
    outcome = bench.run(stage.name)
    assert not outcome.worked and outcome.record == before


def test_its_record_is_read_back_as_it_was_written(bench, stage, tmp_path):
    record = read_records(bench.folder)[stage.name]
    write_record(tmp_path, record)
    assert read_records(tmp_path) == {stage.name: record}


def test_the_cycle_is_finished_and_accepted(bench):
    assert runner.is_finished(bench.config, bench.cycle, bench.house.settings)
    assert read_records(bench.folder)["report"].figures.outcome == "accepted"
