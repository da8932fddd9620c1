"""Training: figures, resuming after a kill, what the weights depend on and what they do not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.data.cycle_tables import DatasetError
from model.evaluation.names import CANDIDATE, ModelName, Variant
from model.training.checkpoint import CheckpointError, digest_of_weights, load_weights
from model.training.held_out import label_times
from pipeline.cycle.figures import PassesFigures
from pipeline.cycle.records import plain_figures, typed_figures
from pipeline.settings import CHECKOUT
from pipeline.training import fit as module
from pipeline.training.fit import fit
from pipeline.training.session import load_data
from pipeline.training.start import Start
from tests.model import lake
from tests.pipeline.tiny_training import Killed, config, die_after, first_cycle, histories, with_signals


def test_a_finished_model_has_its_figures(unbroken):
    context, fitted, lines, metrics = unbroken
    figures = fitted.figures
    assert typed_figures("TrainingFigures", plain_figures(figures)) == figures
    assert fitted.folder == context.settings.checkpoint_folder("tiny", "1970-01-31", "candidate")
    assert fitted.checkpoint_digest == digest_of_weights(fitted.folder) == figures.checkpoint_digest
    assert figures.steps == metrics[-1][0] == len(figures.training_curve) >= 8
    assert figures.epochs == 2.0
    assert figures.vocabulary == 30 and figures.eligible_items == 40
    assert figures.packing_efficiency > 0.9
    assert figures.validation_examples == 0 and figures.validation_mrr == ()
    assert "validation_mrr" not in metrics[-1][1]
    assert figures.start == "from scratch" and figures.parent_digest is None
    assert figures.backbone_parameters < figures.parameters
    assert lines[0].startswith("candidate: from scratch, ") and lines[-1].startswith("step ")


def test_a_finished_model_is_not_trained_again(unbroken, monkeypatch):
    context, fitted = unbroken.context, unbroken.fitted
    lines = []
    monkeypatch.setattr(module, "Session", None)
    again = fit(replace(context, say=lines.append), CANDIDATE, "25k")
    assert again == fitted
    assert lines == ["candidate: already trained on the same inputs"]


@pytest.mark.parametrize("saves", [1, 2])
def test_a_run_killed_and_resumed_ends_with_the_same_weights(unbroken, tmp_path, monkeypatch, saves):
    fitted = unbroken.fitted
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    with monkeypatch.context() as patch:
        die_after(patch, saves)
        with pytest.raises(Killed):
            fit(context, CANDIDATE, "25k")
    resumed = fit(context, CANDIDATE, "25k")
    assert f"resumes at step {3 * saves} of {fitted.figures.steps}" in lines
    assert resumed.checkpoint_digest == fitted.checkpoint_digest
    for name in ("training_curve", "tokens", "final_loss"):
        assert getattr(resumed.figures, name) == getattr(fitted.figures, name), name
    content = [(one.folder / "optimizer.safetensors").read_bytes() for one in (resumed, fitted)]
    assert content[0] == content[1]


def test_a_damaged_state_is_said_and_the_run_still_ends_the_same(unbroken, tmp_path, monkeypatch):
    fitted = unbroken.fitted
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            fit(context, CANDIDATE, "25k")
    folder = context.settings.checkpoint_folder("tiny", "1970-01-31", CANDIDATE)
    (folder / "partial" / "00000006" / "model.safetensors").write_bytes(b"rubbish")
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == fitted.checkpoint_digest
    assert any("damaged training state" in line for line in lines)
    assert any(line.startswith("resumes at step 3 ") for line in lines)


def test_a_state_of_other_inputs_is_not_continued(unbroken, tmp_path, monkeypatch):
    fitted = unbroken.fitted
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    with monkeypatch.context() as patch:
        die_after(patch, 1)
        with pytest.raises(Killed):
            fit(replace(context, config=config(seed=2)), CANDIDATE, "25k")
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == fitted.checkpoint_digest
    assert any("its inputs differ" in line for line in lines)


@pytest.mark.slow
def test_a_process_killed_by_the_system_is_resumed(unbroken, tmp_path):
    fitted = unbroken.fitted
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    command = [sys.executable, "-m", "tests.pipeline.tiny_training", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {"cwd": CHECKOUT, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **options) as process:
        for line in process.stdout:
            if line == "saved\n":
                os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == fitted.checkpoint_digest
    assert any(line.startswith("resumes at step 3 ") for line in lines)


def test_another_seed_gives_other_weights(unbroken, tmp_path):
    other = fit(first_cycle(tmp_path, config(seed=2)), CANDIDATE, "25k")
    assert other.checkpoint_digest != unbroken.fitted.checkpoint_digest


def test_items_planted_after_the_split_change_no_weight(unbroken, tmp_path):
    context = first_cycle(tmp_path)
    launched = {48: 29 * lake.DAY, 49: 29 * lake.DAY}
    items = [{"item_id": f"i{n}", "item_index": n, "launched_at": launched.get(n)} for n in range(50)]
    place = Path(context.settings.lake) / "tiny" / "items"
    place.rename(tmp_path / "gone")
    lake.write(Path(context.settings.lake), lake.ITEMS, items)
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == unbroken.fitted.checkpoint_digest


def test_an_event_after_the_split_is_refused(tmp_path):
    users = histories(20)
    users["u000"].append((5, 21 * lake.DAY, 2.0))
    with pytest.raises(DatasetError, match="later than the split"):
        fit(first_cycle(tmp_path, users=users), CANDIDATE, "25k")


def test_every_label_up_to_the_split_is_trained_on_whatever_is_held_out_to_find_the_passes(
    unbroken, tmp_path
):
    fitted = unbroken.fitted
    whole = fit(first_cycle(tmp_path, config(validation_days=0.0)), CANDIDATE, "25k").figures
    assert whole.labels == fitted.figures.labels
    last = max(at for events in histories(20).values() for _, at, reward in events if reward > 0)
    context = unbroken.context
    data = load_data(context, context.config.network("25k"), Start())
    assert max(label_times(data.sequences, data.interval)) == last


def test_a_model_makes_its_share_of_the_passes_found_and_no_more_than_are_configured(unbroken, tmp_path):
    found = PassesFigures(1.0, "found by hand", fine_tuned=False, most_passes=2.0)
    for passes, share, made in ((found, 1.0, 1.0), (found, 0.5, 0.5), (replace(found, passes=9.0), 1.0, 2.0)):
        context = first_cycle(tmp_path / f"{passes.passes} {share}", say=lambda text: None)
        figures = fit(context, CANDIDATE, "25k", passes=passes, share=share).figures
        assert (figures.epochs, figures.passes) == (made, passes)
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == unbroken.fitted.checkpoint_digest


def test_passes_found_with_a_model_that_started_otherwise_are_not_made(unbroken, tmp_path):
    lines = []
    found = PassesFigures(0.5, "found by hand", fine_tuned=True, most_passes=1.0)
    fitted = fit(first_cycle(tmp_path, say=lines.append), CANDIDATE, "25k", passes=found)
    assert fitted.checkpoint_digest == unbroken.fitted.checkpoint_digest and fitted.figures.passes is None
    assert lines[0] == "candidate: makes the configured 2 passes: the search started from a parent"


def test_a_second_cycle_starts_from_the_first_and_trains_on_newer_labels_alone(unbroken, finetuned):
    parent, child, lines = unbroken.fitted, finetuned.fitted, finetuned.lines
    assert any("starts from version 1, cycle 1970-01-31: 30 ID rows kept, 4 new" in line for line in lines)
    assert child.figures.vocabulary == 34
    assert child.figures.parent_digest == parent.checkpoint_digest
    assert child.figures.labels < parent.figures.labels
    before, after = load_weights(parent.folder), load_weights(child.folder)
    moved = (before["item_tower.table.weight"] - after["item_tower.table.weight"][:30]).abs().max()
    fresh = (before["head.output.weight"] - torch.zeros(1)).abs().max()
    assert 0 < moved < fresh


def test_a_model_may_start_from_one_of_another_name(finetuned):
    second, child = finetuned.context, finetuned.fitted
    control = fit(second, ModelName.rung("25k", Variant.CONTROL), "25k", parent_model=CANDIDATE)
    assert control.checkpoint_digest == child.checkpoint_digest
    assert control.folder.name == "rung-25k-control"


def test_an_altered_model_is_trained_again(unbroken, tmp_path):
    fitted = unbroken.fitted
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    first = fit(context, CANDIDATE, "25k")
    (first.folder / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError):
        load_weights(first.folder)
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == fitted.checkpoint_digest
    assert any(line.startswith("trains again: ") for line in lines)


def modules_of_training() -> set[Path]:
    """Every module under `pipeline/training` and `model/training`, and those of `model/data` and
    `model/network` that they import, however indirectly."""
    folders = (CHECKOUT / "pipeline" / "training", CHECKOUT / "model" / "training")
    waiting = [path for folder in folders for path in folder.glob("*.py")]
    modules: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in modules:
            continue
        modules.add(path)
        imported = re.findall(r"^from (model\.(?:data|network)\.\w+) import", path.read_text(), re.MULTILINE)
        waiting += [CHECKOUT / f"{name.replace('.', '/')}.py" for name in imported]
    return modules


def test_no_module_of_training_names_the_evaluation_sequences_or_pickle():
    forbidden_words = (
        "EVALUATION_SEQUENCES", "evaluation_sequences", "model.evaluation.examples",
        "pickle", "torch.load", "torch.save",
    )  # fmt: skip
    modules = modules_of_training()
    assert {"fit.py", "checkpoint.py", "cycle_tables.py", "recommender.py"} <= {path.name for path in modules}
    for path in modules:
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
        for forbidden in forbidden_words:
            assert forbidden not in code, f"{path.name} names {forbidden}"


def test_a_run_with_signals_killed_and_resumed_ends_with_the_same_weights(tmp_path, monkeypatch):
    def context(name):
        return first_cycle(tmp_path / name, with_signals(config()), say=lambda _: None)

    whole = fit(context("whole"), CANDIDATE, "25k")
    killed = context("killed")
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            fit(killed, CANDIDATE, "25k")
    resumed = fit(killed, CANDIDATE, "25k")
    assert resumed.checkpoint_digest == whole.checkpoint_digest
    weights = load_weights(whole.folder)
    assert weights["item_term.weights.weight"].shape[0] == 2 + 7 + 8  # two half-lives, not five
    assert {"pair_term.outer.weight", "request.outer.weight"} <= set(weights)
