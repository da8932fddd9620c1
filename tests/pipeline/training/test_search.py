"""The search for the number of passes: what it holds out, when it stops, what it leaves, and its kills."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from model.evaluation.names import ModelName
from model.training import lightning_module
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import PassesFigures
from pipeline.cycle.records import plain_figures, typed_figures
from pipeline.training import search as module
from pipeline.training.search import find_passes
from tests.pipeline.tiny_training import EPOCH, Killed, config, die_after, first_cycle, with_signals

RUNG = ModelName.rung("25k")


def searching(home, lines=None, **training) -> StageContext:
    """The first cycle, whose held-out labels find between a quarter and six passes."""
    settings = {"validation_min_labels": 10, "epochs": 6.0, "patience": 3} | training
    say = (lambda text: None) if lines is None else lines.append
    return first_cycle(home, config(**settings), say=say)


def untimed(found: PassesFigures) -> PassesFigures:
    return replace(found, seconds=0.0)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> tuple[StageContext, PassesFigures, list[str]]:
    """A search in one go, and the lines that it showed."""
    lines: list[str] = []
    context = searching(tmp_path_factory.mktemp("home"), lines)
    return context, find_passes(context, RUNG), lines


def test_the_passes_are_the_most_at_which_held_out_mrr_is_as_good_as_its_highest(unbroken):
    _, found, lines = unbroken
    curve = dict(found.held_out_mrr)
    good = [passes for passes, mrr in curve.items() if mrr >= 0.98 * max(curve.values())]
    assert found.passes == max(good)
    assert 0 < found.passes <= found.most_passes == 6.0 and not found.fine_tuned
    assert f"{max(curve.values()):.4f}" in found.why and found.why in lines[-1]
    assert typed_figures("PassesFigures", plain_figures(found)) == found


def test_held_out_labels_lie_in_the_last_days_before_the_split(unbroken):
    context, found, _ = unbroken
    split = context.cycle.split
    assert found.held_out_until == split.isoformat() == (EPOCH + timedelta(days=20)).isoformat()
    assert found.held_out_after == (split - timedelta(days=2)).isoformat()
    assert found.held_out_labels >= 10


def test_the_search_stops_when_held_out_mrr_has_not_grown_for_its_patience(tmp_path, monkeypatch):
    values = iter([0.1, 0.3, 0.2, 0.295, 0.1, 0.9])
    monkeypatch.setattr(lightning_module, "held_out_mrr", lambda *_: next(values))
    found = find_passes(searching(tmp_path), RUNG)
    assert [mrr for _, mrr in found.held_out_mrr] == [0.1, 0.3, 0.2, 0.295, 0.1]
    assert found.passes == found.held_out_mrr[3][0]
    assert "held-out MRR 0.2950 is the last within 2 % of the highest, 0.3000" in found.why


def test_a_search_is_not_made_twice(unbroken, monkeypatch):
    context, found, _ = unbroken
    monkeypatch.setattr(module, "Session", None)
    assert find_passes(context, RUNG) == found


@pytest.mark.parametrize("saves", [1, 2])
def test_a_search_killed_and_resumed_finds_the_same(tmp_path, monkeypatch, saves):
    lines = []
    patient = searching(tmp_path / "whole", patience=9)
    context = searching(tmp_path / "killed", lines, patience=9)
    with monkeypatch.context() as patch:
        die_after(patch, saves)
        with pytest.raises(Killed):
            find_passes(context, RUNG)
    assert untimed(find_passes(context, RUNG)) == untimed(find_passes(patient, RUNG))
    assert any(line.startswith(f"resumes at step {3 * saves} ") for line in lines)


def test_a_search_killed_before_its_result_is_written_finds_the_same(unbroken, tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    context = searching(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("model.training.checkpoint.save_finished", killed)
        with pytest.raises(Killed):
            find_passes(context, RUNG)
    assert untimed(find_passes(context, RUNG)) == untimed(unbroken[1])


def test_a_damaged_result_is_said_and_searched_again(unbroken, tmp_path):
    lines = []
    context = searching(tmp_path, lines)
    find_passes(context, RUNG)
    folder = context.settings.checkpoint_folder("tiny", context.cycle.name, RUNG) / module.FOLDER
    (folder / "state.json").write_text("rubbish")
    assert untimed(find_passes(context, RUNG)) == untimed(unbroken[1])
    assert any(line.startswith("searches again: ") for line in lines)


def test_without_validation_days_the_configured_passes_are_made(tmp_path):
    found = find_passes(searching(tmp_path, validation_days=0.0), RUNG)
    assert found == PassesFigures(6.0, "training.validation_days is 0", False, 6.0)


def test_too_few_labels_hold_out_nothing_and_say_so(tmp_path):
    lines = []
    found = find_passes(searching(tmp_path, lines, validation_min_labels=1000), RUNG)
    assert (found.passes, found.held_out_after, found.held_out_mrr) == (6.0, None, ())
    assert found.why.endswith("labels could be held out, and 1000 are needed")
    assert lines[-1] == f"makes the configured 6 passes: {found.why}"


def test_metrics_of_the_search_have_names_of_their_own(tmp_path):
    metrics = []
    find_passes(searching(tmp_path), RUNG, lambda figures, step: metrics.append(figures))
    names = {name for figures in metrics for name in figures}
    assert {"search_validation_mrr", "search_loss"} <= names
    assert all(name.startswith("search_") for name in names)


def test_a_model_with_signals_is_searched_with_the_pairs_of_held_out_labels(tmp_path):
    lines = []
    context = first_cycle(
        tmp_path, with_signals(config(validation_min_labels=10, epochs=1.0)), say=lines.append
    )
    found = find_passes(context, RUNG)
    assert found.held_out_labels >= 10 and 0 < found.passes <= 1.0
    assert all(0 < mrr < 1 for _, mrr in found.held_out_mrr)
    counted = [line for line in lines if line.startswith("pair signals: ")]
    assert len(counted) == 2 and f"of {found.held_out_labels} requests" in " ".join(counted)
