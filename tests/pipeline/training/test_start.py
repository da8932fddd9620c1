"""Which checkpoint training starts from: the parent's, none, or an error that says what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from model.evaluation.names import CANDIDATE, ModelName
from pipeline.cycle import accepted
from pipeline.cycle.definition import CycleError
from pipeline.settings import Settings
from pipeline.training.fit import fit
from pipeline.training.start import Start, find_start
from tests.pipeline.tiny_training import config

RUNG = ModelName.rung("25k")


def test_without_a_parent_training_starts_from_scratch(unbroken):
    context = unbroken.context
    assert find_start(context, CANDIDATE, context.config.network()) == Start()


def test_a_sound_parent_gives_its_checkpoint_and_its_split(unbroken, finetuned):
    second = finetuned.context
    start = find_start(second, CANDIDATE, second.config.network())
    assert start.folder == accepted.model_folder(second.settings, "tiny", second.cycle.parent, CANDIDATE)
    assert start.digest == unbroken.fitted.checkpoint_digest
    assert start.after == unbroken.context.cycle.split
    assert start.name == "version 1, cycle 1970-01-31"


def test_a_parent_may_differ_where_no_weight_depends_on_it(finetuned):
    second = finetuned.context
    other = second.config.network().model_copy(update={"dropout": 0.5, "max_length": 64})
    assert find_start(second, CANDIDATE, other).digest == second.cycle.parent.checkpoint_digest


def test_an_altered_parent_is_an_error_for_the_full_model(finetuned):
    second = finetuned.context
    parent = second.cycle.parent
    wrong = replace(
        second.cycle, parent=replace(parent, checkpoint_digest=parent.checkpoint_digest[:16] + "0" * 48)
    )
    with pytest.raises(CycleError, match="not those registered as version 1; pass --cold-start to train"):
        fit(replace(second, cycle=wrong), CANDIDATE, "25k")


def test_a_missing_parent_is_an_error_for_the_full_model(finetuned):
    second = finetuned.context
    wrong = replace(second.cycle, parent=replace(second.cycle.parent, checkpoint_digest="0" * 64))
    with pytest.raises(CycleError, match="holds no finished model"):
        fit(replace(second, cycle=wrong), CANDIDATE, "25k")


def test_a_parent_of_another_architecture_is_an_error_for_the_full_model(finetuned):
    second = finetuned.context
    with pytest.raises(CycleError, match="has another architecture"):
        fit(second, CANDIDATE, "50k")


def test_a_rung_without_a_parent_rung_starts_from_scratch_and_says_so(finetuned):
    second = finetuned.context
    lines = []
    rung = fit(replace(second, say=lines.append), RUNG, "25k")
    assert lines[0].startswith("starts from scratch, not from rung-25k: ") and "no finished" in lines[0]
    assert rung.folder.name == "rung-25k" and rung.figures.start == "from scratch"


@pytest.fixture(params=["was altered", "is missing"])
def bare_parent(request, finetuned, tmp_path):
    """The second cycle in another home, where its parent's candidate and rung lack sound optimizer moments;
    beside it, what is wrong with them and the progress shown."""
    second = finetuned.context
    candidate = accepted.model_folder(second.settings, "tiny", second.cycle.parent, CANDIDATE)
    settings = Settings.at(tmp_path)
    shutil.copytree(second.settings.lake, settings.lake)
    for name in (CANDIDATE, RUNG):
        folder = accepted.model_folder(settings, "tiny", second.cycle.parent, name)
        shutil.copytree(candidate, folder)
        (folder / "optimizer.safetensors").unlink()
        if request.param == "was altered":
            (folder / "optimizer.safetensors").write_bytes(b"rubbish")
    lines = []
    problem = f"optimizer.safetensors {request.param}"
    return replace(second, settings=settings, say=lines.append), problem, lines


def test_a_rung_whose_parents_moments_are_damaged_starts_from_scratch_and_says_so(bare_parent):
    second, problem, lines = bare_parent
    assert find_start(second, RUNG, second.config.network()) == Start()
    assert lines[0].startswith("starts from scratch, not from rung-25k: ") and problem in lines[0]


def test_damaged_moments_of_a_parent_are_an_error_for_the_full_model(bare_parent):
    second, problem, _ = bare_parent
    with pytest.raises(CycleError, match=f"{problem}.*; pass --cold-start"):
        fit(second, CANDIDATE, "25k")


def test_damaged_moments_do_not_matter_where_none_are_carried(bare_parent):
    second, _, _ = bare_parent
    fresh = config(carry_moments=False)
    start = find_start(replace(second, config=fresh), CANDIDATE, fresh.network())
    assert start.digest == second.cycle.parent.checkpoint_digest
