"""What a stage and a workflow are."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from pipeline.workflows.stage import Stage, Workflow

RESOLVE = Stage("resolve", "", "json:loads", "python", after=(), writes=("files",))
WRITES = Stage("writes", "", "json:dumps", "python", after=("resolve",), reads=("files",), writes=("table",))
AGAIN = Stage("again", "", "json:dumps", "python", after=("writes",), writes=("table",))
READS = Stage("reads", "", "json:dumps", "python", after=("again",), reads=("table",), records=("writes",))
STAGES = Workflow(RESOLVE, (WRITES, AGAIN, READS))


def test_a_stage_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        WRITES.name = "other"


def test_a_function_is_loaded_by_its_name():
    assert WRITES.load()({"a": 1}) == '{"a": 1}'


def test_the_last_stage_before_that_writes_a_table_is_its_writer():
    assert STAGES.writer("table", before=READS) is AGAIN
    assert STAGES.writer("table", before=AGAIN) is WRITES
    assert STAGES.writer("table", before=WRITES) is None


def test_a_stage_is_found_by_its_name_and_an_unknown_one_names_all():
    assert STAGES["again"] is AGAIN and "again" in STAGES and "other" not in STAGES
    with pytest.raises(KeyError, match="resolve, writes, again, reads"):
        STAGES["other"]


def test_the_last_stage_finishes_the_cycle():
    assert STAGES.last is READS
    assert [stage.name for stage in STAGES] == ["resolve", "writes", "again", "reads"]
