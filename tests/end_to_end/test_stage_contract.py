"""What every stage owes, whatever it does; a new stage of the map is tested by being in it.

One cycle over the tiny log, stage by stage: a stage cannot do without anything that it declares to read,
and is told so; killed before its record is written and run again it comes to the same result; run once
more it does nothing; and its record is read back as it was written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from expectations.tables import TABLES
from pipeline import runner
from pipeline.cycle import lease
from pipeline.cycle.context import StageContext, UndeclaredError
from pipeline.cycle.records import read_records, write_record
from pipeline.runner import Outcome, run_stage
from pipeline.stages.resolve import pin_cycle
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import Stage
from spark_jobs.lake.delta import TableError
from tests.factories import CUTOFFS, tiny_config

STAGES = workflow(tiny_config()).stages
TIMED = ("seconds", "tokens_per_second", "latency_milliseconds")
"""Figures that are measured with a clock."""
OTHER_VERSION = ("vocabulary", "text_vectors")
"""Tables of which a stage reads an earlier version than its own, and none in a first cycle."""


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


def test_a_stage_needs_every_table_and_record_that_it_declares(bench, stage):
    tables = [name for name in stage.reads if name in TABLES and name not in stage.writes]
    for name in tables:
        if name in OTHER_VERSION and name in stage.writes:
            continue
        without = replace(stage, reads=tuple(other for other in stage.reads if other != name))
        with pytest.raises((UndeclaredError, TableError)):
            bench.call(without)
    needed = () if stage.always else stage.records
    for name in needed:
        without = replace(stage, records=tuple(other for other in stage.records if other != name))
        with pytest.raises(UndeclaredError):
            bench.call(without)


def test_killed_before_its_record_and_run_again_it_comes_to_the_same(bench, stage, monkeypatch):
    results = []
    with monkeypatch.context() as patch:

        def kill(folder, record):
            results.append(record)
            raise Killed

        patch.setattr(runner, "write_record", kill)
        with pytest.raises(Killed):
            bench.run(stage.name)
    assert stage.name not in read_records(bench.folder)
    record = bench.run(stage.name).record
    (killed,) = results
    assert record.inputs_digest == killed.inputs_digest and record.refused == killed.refused
    assert untimed(runner_plain(record)) == untimed(runner_plain(killed))


def runner_plain(record) -> dict[str, Any]:
    from pipeline.cycle.records import plain_figures

    return plain_figures(record.figures)


def test_run_again_it_does_nothing(bench, stage):
    before = read_records(bench.folder)[stage.name]
    outcome = bench.run(stage.name)
    assert not outcome.worked and outcome.record == before


def test_its_record_is_read_back_as_it_was_written(bench, stage, tmp_path):
    record = read_records(bench.folder)[stage.name]
    write_record(tmp_path, record)
    assert read_records(tmp_path) == {stage.name: record}


def test_the_source_is_free_afterwards(bench):
    assert lease.release(bench.house.settings, "tiny") == bench.cycle.name
