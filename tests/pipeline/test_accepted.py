"""What an accepted version needs outlives a second run of its cycle under another configuration."""

from __future__ import annotations

import os

import pytest

from model.checkpoint import digest_of_weights
from model.model_names import CANDIDATE
from pipeline import accepted
from pipeline.cycle import Parent, check_parent
from pipeline.records import StageRecord, write_record
from pipeline.train import fit
from tests.pipeline.training import first_cycle, second_cycle


def record(stage: str, versions: dict[str, int]) -> StageRecord:
    return StageRecord(stage, "", {}, versions, {}, None, 0.0, "", 0.0)


@pytest.fixture
def made(tmp_path):
    """A first cycle with its records on disk, and its fitted candidate's digest."""
    context = first_cycle(tmp_path, say=lambda text: None)
    folder = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    write_record(folder, record("vocabulary", {"vocabulary": 3}))
    (folder / "cycle.json").write_text('{"configuration": {"preset": "first"}}')
    return context, fit(context, CANDIDATE, "25k").checkpoint_digest


def test_a_second_run_of_the_cycle_leaves_the_version_as_it_was(made):
    context, digest = made
    settings, cycle = context.settings, context.cycle
    accepted.keep(settings, cycle, digest)
    version = Parent(1, cycle.name, cycle.split, digest)

    other = context.config.training.model_copy(update={"learning_rate": 5e-3})
    again = type(context)(
        context.config.model_copy(update={"training": other}), cycle, settings, context.records, context.say
    )
    assert fit(again, CANDIDATE, "25k").checkpoint_digest != digest
    folder = settings.cycle_folder(cycle.source, cycle.name)
    write_record(folder, record("vocabulary", {"vocabulary": 4}))
    accepted.keep(settings, cycle, digest)

    assert digest_of_weights(accepted.model_folder(settings, cycle.source, version, CANDIDATE)) == digest
    assert accepted.table_versions(settings, cycle.source, version) == {"vocabulary": 3}
    assert accepted.configuration(settings, cycle.source, version) == {"preset": "first"}
    check_parent(version, settings, cycle.source)
    second = second_cycle(again, digest, say=lambda text: None)
    assert fit(second, CANDIDATE, "25k").figures["parent_digest"] == digest


def test_a_kill_while_keeping_leaves_nothing_and_the_next_try_keeps_all(made, monkeypatch):
    context, digest = made
    folder = context.settings.accepted_folder(context.cycle.source, digest)
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            accepted.keep(context.settings, context.cycle, digest)
    assert not folder.exists()
    accepted.keep(context.settings, context.cycle, digest)
    assert sorted(path.name for path in folder.iterdir()) == [
        "candidate",
        "cycle.json",
        "stage-vocabulary.json",
    ]
    assert sorted(path.name for path in folder.parent.iterdir()) == [digest[:16]]
