"""What an accepted version needs outlives a second run of its cycle; where it is lost, a new cycle says so."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from model.evaluation.names import CANDIDATE
from model.training.checkpoint import WEIGHTS, digest_of_weights
from pipeline.cycle import accepted
from pipeline.cycle.definition import AcceptedVersion, Cycle, CycleError, write_cycle
from pipeline.cycle.records import StageRecord, write_record
from pipeline.registry import tracking
from pipeline.stages.resolve import check_files, pin_cycle
from pipeline.training.fit import fit
from spark_jobs.figures import VocabularyFigures
from tests.factories import tiny_config
from tests.pipeline.tiny_training import first_cycle, second_cycle

VOCABULARY = VocabularyFigures(cold_start_rate=0.1, masking_rate=0.1, labels=10, cold_labels=1)


def record(stage: str, versions: dict[str, int]) -> StageRecord:
    return StageRecord(stage, "", {}, versions, VOCABULARY, None, 0.0, "", 0.0)


@pytest.fixture
def made(tmp_path):
    """A first cycle with its records on disk, and its fitted candidate's digest."""
    context = first_cycle(tmp_path, say=lambda text: None)
    folder = context.settings.cycle_folder(context.cycle.source, context.cycle.name)
    write_record(folder, record("vocabulary", {"vocabulary": 3}))
    write_cycle(context.settings, context.cycle, context.config, cold_start=False)
    return context, fit(context, CANDIDATE, "25k").checkpoint_digest


def test_a_second_run_of_the_cycle_leaves_the_version_as_it_was(made):
    context, digest = made
    settings, cycle = context.settings, context.cycle
    accepted.keep(settings, cycle, digest)
    version = AcceptedVersion(1, cycle.name, cycle.split, digest)

    other = context.config.training.model_copy(update={"learning_rate": 5e-3})
    again = replace(context, config=context.config.model_copy(update={"training": other}))
    assert fit(again, CANDIDATE, "25k").checkpoint_digest != digest
    folder = settings.cycle_folder(cycle.source, cycle.name)
    write_record(folder, record("vocabulary", {"vocabulary": 4}))
    write_cycle(settings, cycle, again.config, cold_start=False)
    accepted.keep(settings, cycle, digest)

    assert digest_of_weights(accepted.model_folder(settings, cycle.source, version, CANDIDATE)) == digest
    assert accepted.table_versions(settings, cycle.source, version) == {"vocabulary": 3}
    assert accepted.configuration(settings, cycle.source, version) == context.config
    check_files(version, settings, cycle.source)
    second = second_cycle(again, digest, say=lambda text: None)
    assert fit(second, CANDIDATE, "25k").figures.parent_digest == digest


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


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("weights", "version 3 is registered but its weights are missing in .*candidate"),
        ("bytes", "the weights of version 3 in .*candidate were altered"),
        ("records", "the records of version 3 are missing in "),
    ],
)
def test_a_broken_chain_says_what_to_do_and_a_cold_start_goes_on(home, monkeypatch, lost, told):
    cutoff, content = datetime(2026, 3, 1, tzinfo=UTC), b"weights"
    split = datetime(2026, 1, 1, tzinfo=UTC)
    version = AcceptedVersion(3, "2026-01-11", split, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(tracking, "accepted_versions", lambda *_: [version])
    monkeypatch.setattr(tracking, "champion_version", lambda *_: 3)
    folder = accepted.model_folder(home, "tiny", version, CANDIDATE)
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(content)
    write_record(folder.parent, record("vocabulary", {"vocabulary": 3}))
    write_cycle(home, Cycle("tiny", cutoff, timedelta(days=10), None), tiny_config(), cold_start=True)
    (home.cycle_folder("tiny", "2026-03-01") / "cycle.json").rename(folder.parent / "cycle.json")
    home.cycle_folder("tiny", "2026-03-01").rmdir()
    assert pin_cycle(tiny_config(), cutoff - timedelta(days=1), home).parent == version

    if lost == "weights":
        (folder / WEIGHTS).unlink()
    elif lost == "bytes":
        (folder / WEIGHTS).write_bytes(content[::-1])
    else:
        (folder.parent / "stage-vocabulary.json").unlink()
    with pytest.raises(CycleError, match=f"{told}.*; restore them, or train from scratch with --cold-start"):
        pin_cycle(tiny_config(), cutoff, home)
    assert not home.cycle_folder("tiny", "2026-03-01").exists()
    assert pin_cycle(tiny_config(), cutoff, home, cold_start=True).parent is None


def test_the_chain_of_champions_is_walked_back_by_what_each_cycle_was_compared_with(home):
    before = None
    versions = []
    for number in (1, 2, 3):
        cutoff = datetime(2026, number, 1, tzinfo=UTC)
        cycle = Cycle("tiny", cutoff, timedelta(days=7), None, before)
        write_cycle(home, cycle, tiny_config(), cold_start=False)
        before = AcceptedVersion(number, cycle.name, cycle.split, f"{number:064d}"[::-1])
        folder = home.accepted_folder("tiny", before.checkpoint_digest)
        folder.mkdir(parents=True)
        (home.cycle_folder("tiny", cycle.name) / "cycle.json").rename(folder / "cycle.json")
        versions.append(before)
    found = [accepted.ancestor(home, "tiny", versions[2], promotions) for promotions in range(4)]
    assert found == [versions[2], versions[1], versions[0], None]
    (home.accepted_folder("tiny", versions[1].checkpoint_digest) / "cycle.json").unlink()
    assert accepted.ancestor(home, "tiny", versions[2], 2) is None
