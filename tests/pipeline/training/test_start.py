"""Which checkpoint training starts from: the parent's, none, or an error that says what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from model.evaluation.names import CANDIDATE, ModelName
from model.training import checkpoint
from pipeline.cycle import accepted
from pipeline.cycle.definition import CycleError
from pipeline.cycle.records import StageRecord
from pipeline.cycle.signals import network
from pipeline.settings import Settings
from pipeline.training.fit import fit
from pipeline.training.start import Start, continues, find_start
from tests.pipeline.tiny_training import config, first_cycle, second_cycle, with_signals

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


# --- signals --------------------------------------------------------------------------------------


TERMS = {"half_lives": 2, "pair_signals": True, "request_time": True}


@pytest.mark.parametrize("lacks", [*((name,) for name in TERMS), tuple(TERMS)], ids=",".join)
def test_a_model_may_have_terms_that_its_parent_lacks_but_not_the_reverse(finetuned, lacks):
    plain = finetuned.context.config.network()
    child = plain.model_copy(update=TERMS)
    parent = child.model_copy(update={name: getattr(plain, name) for name in lacks})
    assert continues(parent, child) and continues(child, child)
    assert not continues(child, parent)
    assert not continues(parent, child.model_copy(update={"item_width": 24}))


def test_a_model_with_other_half_lives_is_no_parent(finetuned):
    child = finetuned.context.config.network().model_copy(update=TERMS)
    assert not continues(child.model_copy(update={"half_lives": 3}), child)


def test_a_model_with_signals_continues_a_parent_without_any(finetuned, tmp_path):
    lines = []
    second = replace(finetuned.context, config=with_signals(finetuned.context.config), say=lines.append)
    second = elsewhere(second, tmp_path)
    fitted = fit(second, CANDIDATE, "25k")
    assert fitted.figures.start == "version 1, cycle 1970-01-31"
    assert fitted.figures.parent_digest == second.cycle.parent.checkpoint_digest
    assert any(line.startswith("pair signals: ") for line in lines)


def test_a_record_from_before_signals_stands_for_a_model_without_any(finetuned, tmp_path):
    second = elsewhere(finetuned.context, tmp_path)
    newer = (*TERMS, "history")
    store(second, lambda model: {name: value for name, value in model.items() if name not in newer})
    reading = replace(second, config=with_signals(second.config))
    for context in (second, reading):
        start = find_start(context, CANDIDATE, network(context))
        assert start.digest == second.cycle.parent.checkpoint_digest


def test_a_record_with_an_unknown_field_is_another_architecture(finetuned, tmp_path):
    second = elsewhere(finetuned.context, tmp_path)
    store(second, lambda model: model | {"experts": 4})
    with pytest.raises(CycleError, match="has another architecture; pass --cold-start"):
        find_start(second, CANDIDATE, network(second))


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A cycle whose parent read item signals too; both have half-lives of 0.5 and 4 days."""
    first = first_cycle(tmp_path_factory.mktemp("home"), with_signals(config(epochs=1.0)), say=lambda _: None)
    return second_cycle(first, fit(first, CANDIDATE, "25k").checkpoint_digest, say=lambda _: None)


def test_a_parent_with_signals_of_the_same_half_lives_is_continued(reading):
    fitted = fit(reading, CANDIDATE, "25k")
    assert fitted.figures.parent_digest == reading.cycle.parent.checkpoint_digest


@pytest.mark.parametrize("half_lives", [(0.5, 8.0), (0.5, 4.0, 8.0)])
def test_a_parent_with_signals_of_other_half_lives_is_an_error_with_the_remedy(reading, half_lives):
    figures = replace(reading.finished["item_signals"].figures, half_lives_days=half_lives)
    record = StageRecord("item_signals", "", {}, {}, figures, None, 0.0, "", 0.0)
    other = replace(reading, finished=reading.finished | {"item_signals": record})
    expected = (
        r"cannot fine-tune from version 1: its item signals have half-lives of 0\.5 and 4 days, those of this "
        r"cycle have .*8 days; set signals\.half_lives_days to \[0\.5, 4\.0\] or pass --cold-start"
    )
    with pytest.raises(CycleError, match=expected):
        find_start(other, CANDIDATE, network(other))
    # Where only one of both reads item signals their half-lives do not matter.
    with pytest.raises(CycleError, match="has another architecture"):
        find_start(other, CANDIDATE, config().network())


def test_a_model_without_signals_does_not_continue_one_with_them(reading):
    plain = replace(reading, config=config())
    with pytest.raises(CycleError, match="has another architecture; pass --cold-start"):
        find_start(plain, CANDIDATE, network(plain))


def store(context, change):
    """Saves the parent's candidate with a changed configuration of the network."""
    folder = accepted.model_folder(context.settings, "tiny", context.cycle.parent, CANDIDATE)
    state = checkpoint.finished_state(folder)
    tensors = checkpoint.load_weights(folder), checkpoint.load_moments(folder)
    checkpoint.save_finished(folder, checkpoint.Snapshot(replace(state, model=change(state.model)), *tensors))


def elsewhere(context, home):
    """The same cycle in another home, with a copy of what its parent left."""
    settings = Settings.at(home)
    shutil.copytree(context.settings.lake, settings.lake)
    shutil.copytree(
        context.settings.accepted_folder("tiny", context.cycle.parent.checkpoint_digest),
        settings.accepted_folder("tiny", context.cycle.parent.checkpoint_digest),
    )
    return replace(context, settings=settings)
