from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.data.batches import LabelInterval
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.items import load_items
from model.evaluation.names import CANDIDATE, rung_name
from model.training import checkpoint
from model.training.checkpoint import CheckpointError, digest_of_weights, load_weights
from model.training.progress import NotFiniteError
from pipeline.cycle import accepted
from pipeline.cycle.definition import CycleError
from pipeline.settings import CHECKOUT, Settings
from pipeline.training import fit as module
from pipeline.training.fit import fit, train
from tests.model import lake
from tests.pipeline.tiny_training import config, first_cycle, histories, second_cycle


class Killed(BaseException):
    """Stands for a kill: nothing in the program may catch it."""


def die_after(monkeypatch, saves: int) -> None:
    """The process ends right after so many resumable states."""
    save, left = checkpoint.save_partial, iter(range(saves - 1, -1, -1))

    def dying(*args):
        save(*args)
        if next(left) == 0:
            raise Killed

    monkeypatch.setattr(checkpoint, "save_partial", dying)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The first cycle's candidate, trained in one go; figures, live metrics and lines beside it."""
    lines, metrics = [], []
    context = first_cycle(tmp_path_factory.mktemp("home"), say=lines.append)
    fitted = fit(context, CANDIDATE, "25k", lambda figures, step: metrics.append((step, figures)))
    return context, fitted, lines, metrics


@pytest.fixture(scope="module")
def finetuned(unbroken):
    context, fitted, _, _ = unbroken
    lines = []
    second = second_cycle(context, fitted.checkpoint_digest, lines.append)
    return second, fit(second, CANDIDATE, "25k"), lines


def test_a_finished_model_has_its_figures(unbroken):
    context, fitted, lines, metrics = unbroken
    figures = fitted.figures
    assert json.loads(json.dumps(figures)) == figures
    assert fitted.folder == context.settings.checkpoint_folder("tiny", "1970-01-31", "candidate")
    assert fitted.checkpoint_digest == digest_of_weights(fitted.folder) == figures["checkpoint_digest"]
    assert figures["steps"] == metrics[-1][0] == len(figures["training_curve"]) >= 8
    assert figures["epochs"] == 2.0
    assert figures["vocabulary"] == 30 and figures["candidates"] == 40
    assert figures["packing_efficiency"] > 0.9
    assert figures["validation_examples"] > 0
    assert figures["validation_mrr"][-1][1] == metrics[-1][1]["validation_mrr"]
    assert figures["parent"] == "from scratch" and figures["parent_digest"] is None
    assert figures["backbone_parameters"] < figures["parameters"]
    assert lines[0].startswith("candidate: from scratch, ") and lines[-1].startswith("step ")


def test_a_finished_model_is_not_trained_again(unbroken, monkeypatch):
    context, fitted, _, _ = unbroken
    lines = []
    monkeypatch.setattr(module, "_Session", None)
    again = fit(replace(context, say=lines.append), CANDIDATE, "25k")
    assert again == fitted
    assert lines == ["candidate: trained before on the same inputs"]


@pytest.mark.parametrize("saves", [1, 2])
def test_a_run_killed_and_resumed_ends_with_the_same_weights(unbroken, tmp_path, monkeypatch, saves):
    _, fitted, _, _ = unbroken
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    with monkeypatch.context() as patch:
        die_after(patch, saves)
        with pytest.raises(Killed):
            fit(context, CANDIDATE, "25k")
    resumed = fit(context, CANDIDATE, "25k")
    assert f"resumes at step {3 * saves} of {fitted.figures['steps']}" in lines
    assert resumed.checkpoint_digest == fitted.checkpoint_digest
    for name in ("training_curve", "validation_mrr", "tokens", "final_loss"):
        assert resumed.figures[name] == fitted.figures[name], name
    content = [(one.folder / "optimizer.safetensors").read_bytes() for one in (resumed, fitted)]
    assert content[0] == content[1]


def test_a_damaged_state_is_said_and_the_run_still_ends_the_same(unbroken, tmp_path, monkeypatch):
    _, fitted, _, _ = unbroken
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
    _, fitted, _, _ = unbroken
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    with monkeypatch.context() as patch:
        die_after(patch, 1)
        with pytest.raises(Killed):
            fit(replace(context, config=config(seed=2)), CANDIDATE, "25k")
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == fitted.checkpoint_digest
    assert any("it is of other inputs" in line for line in lines)


@pytest.mark.slow
def test_a_process_killed_by_the_system_is_resumed(unbroken, tmp_path):
    _, fitted, _, _ = unbroken
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    command = [sys.executable, "-m", "tests.pipeline.training", str(tmp_path)]
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
    assert other.checkpoint_digest != unbroken[1].checkpoint_digest


def test_items_planted_after_the_split_change_no_weight(unbroken, tmp_path):
    context = first_cycle(tmp_path)
    launched = {48: 29 * lake.DAY, 49: 29 * lake.DAY}
    items = [{"item_id": f"i{n}", "item_index": n, "launched_at": launched.get(n)} for n in range(50)]
    place = Path(context.settings.lake) / "tiny" / "items"
    place.rename(tmp_path / "gone")
    lake.write(Path(context.settings.lake), lake.ITEMS, items)
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == unbroken[1].checkpoint_digest


def test_an_event_after_the_split_is_refused(tmp_path):
    users = histories(20)
    users["u000"].append((5, 21 * lake.DAY, 2.0))
    with pytest.raises(DatasetError, match="later than the split"):
        fit(first_cycle(tmp_path, users=users), CANDIDATE, "25k")


def test_without_validation_days_every_label_up_to_the_split_is_trained_on(unbroken, tmp_path):
    _, fitted, _, _ = unbroken
    whole = fit(first_cycle(tmp_path, config(validation_days=0.0)), CANDIDATE, "25k").figures
    assert whole["validation_mrr"] == [] and whole["validation_examples"] == 0
    assert whole["labels"] > fitted.figures["labels"]


def test_a_second_cycle_starts_from_the_first_and_trains_on_newer_labels_alone(unbroken, finetuned):
    _, parent, _, _ = unbroken
    _, child, lines = finetuned
    assert any("starts from version 1, cycle 1970-01-31: 30 ID rows kept, 4 new" in line for line in lines)
    assert child.figures["vocabulary"] == 34
    assert child.figures["parent_digest"] == parent.checkpoint_digest
    assert child.figures["labels"] < parent.figures["labels"]
    before, after = load_weights(parent.folder), load_weights(child.folder)
    moved = (before["item_tower.table.weight"] - after["item_tower.table.weight"][:30]).abs().max()
    fresh = (before["head.output.weight"] - torch.zeros(1)).abs().max()
    assert 0 < moved < fresh


def test_a_cycle_trains_on_the_labels_between_its_parents_split_and_its_own_held_out_days(finetuned):
    second, _, _ = finetuned
    start = module._start(second, CANDIDATE, second.config.network())
    _, _, batches, examples = module._data(second, second.config.network(), start)
    assert batches.interval == LabelInterval(20 * lake.DAY, 28 * lake.DAY)
    high = [at for events in histories(30).values() for _, at, reward in events if reward > 0]
    assert examples.examples == sum(at > 28 * lake.DAY for at in high) > 0


def test_an_altered_parent_is_an_error_for_the_full_model(unbroken, finetuned):
    second, _, _ = finetuned
    parent = second.cycle.parent
    wrong = replace(
        second.cycle, parent=replace(parent, checkpoint_digest=parent.checkpoint_digest[:16] + "0" * 48)
    )
    with pytest.raises(CycleError, match="not those registered as version 1; pass --cold-start"):
        fit(replace(second, cycle=wrong), CANDIDATE, "25k")


def test_a_missing_parent_is_an_error_for_the_full_model(finetuned):
    second, _, _ = finetuned
    wrong = replace(second.cycle, parent=replace(second.cycle.parent, checkpoint_digest="0" * 64))
    with pytest.raises(CycleError, match="holds no finished model"):
        fit(replace(second, cycle=wrong), CANDIDATE, "25k")


def test_a_parent_of_another_architecture_is_an_error_for_the_full_model(finetuned):
    second, _, _ = finetuned
    with pytest.raises(CycleError, match="has another architecture"):
        fit(second, CANDIDATE, "50k")


def test_a_rung_without_a_parent_rung_starts_cold_and_says_so(finetuned):
    second, _, _ = finetuned
    lines = []
    rung = fit(replace(second, say=lines.append), rung_name("25k"), "25k")
    assert lines[0].startswith("starts from scratch, not from rung-25k: ") and "no finished" in lines[0]
    assert rung.folder.name == "rung-25k" and rung.figures["parent"] == "from scratch"


@pytest.fixture(params=["was altered", "is missing"])
def bare_parent(request, finetuned, tmp_path):
    """The second cycle in a home of its own, its parent's models there: a candidate and a rung without
    sound optimizer moments; what is told of them and lines beside it."""
    second, _, _ = finetuned
    candidate = accepted.model_folder(second.settings, "tiny", second.cycle.parent, CANDIDATE)
    settings = Settings.at(tmp_path)
    shutil.copytree(second.settings.lake, settings.lake)
    for name in (CANDIDATE, rung_name("25k")):
        folder = accepted.model_folder(settings, "tiny", second.cycle.parent, name)
        shutil.copytree(candidate, folder)
        (folder / "optimizer.safetensors").unlink()
        if request.param == "was altered":
            (folder / "optimizer.safetensors").write_bytes(b"rubbish")
    lines = []
    told = f"optimizer.safetensors {request.param}"
    return replace(second, settings=settings, say=lines.append), told, lines


def test_a_rung_whose_parents_moments_are_damaged_starts_cold_and_says_so(bare_parent):
    second, told, lines = bare_parent
    rung = fit(second, rung_name("25k"), "25k")
    assert lines[0].startswith("starts from scratch, not from rung-25k: ") and told in lines[0]
    assert rung.figures["parent"] == "from scratch"


def test_damaged_moments_of_a_parent_are_an_error_for_the_full_model(bare_parent):
    second, told, _ = bare_parent
    with pytest.raises(CycleError, match=f"{told}.*; pass --cold-start"):
        fit(second, CANDIDATE, "25k")


def test_damaged_moments_do_not_matter_where_none_are_carried(bare_parent):
    second, _, _ = bare_parent
    fresh = config(carry_moments=False)
    start = module._start(replace(second, config=fresh), CANDIDATE, fresh.network())
    assert start.digest == second.cycle.parent.checkpoint_digest


def test_a_model_may_start_from_one_of_another_name(finetuned):
    second, child, _ = finetuned
    control = fit(second, "control", "25k", parent_model=CANDIDATE)
    assert control.checkpoint_digest == child.checkpoint_digest and control.folder.name == "control"


def test_a_cycle_may_train_with_the_item_features_of_its_parents_split(finetuned):
    second, _, _ = finetuned
    earlier = config(features_as_of="parent split")
    start = module._start(second, CANDIDATE, earlier.network())
    own, *_ = module._data(second, second.config.network(), start)
    older, *_ = module._data(replace(second, config=earlier), earlier.network(), start)
    graph = (own.catalogue.features["graph"], older.catalogue.features["graph"])
    assert not torch.equal(*graph)
    first = CycleTables(second.settings.lake, "tiny", second.cycle.parent.cycle, second.versions)
    assert torch.equal(graph[1], load_items(first, (("graph", 8),)).catalogue.features["graph"])


def test_an_altered_model_is_trained_again(unbroken, tmp_path):
    _, fitted, _, _ = unbroken
    lines = []
    context = first_cycle(tmp_path, say=lines.append)
    one = fit(context, CANDIDATE, "25k")
    (one.folder / "model.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError):
        load_weights(one.folder)
    assert fit(context, CANDIDATE, "25k").checkpoint_digest == fitted.checkpoint_digest
    assert any(line.startswith("trains again: ") for line in lines)


def test_the_stage_logs_live_and_returns_the_figures(unbroken, monkeypatch):
    from pipeline.registry import tracking

    context, fitted, _, _ = unbroken
    asked = []
    monkeypatch.setattr(tracking, "live_metrics", lambda of, model: asked.append(model))
    result = train(context)
    assert asked == ["candidate"]
    assert result.figures == fitted.figures and result.refused is None and result.versions == {}


def test_loss_throughput_and_validation_mrr_reach_the_registry_while_it_trains(
    unbroken, tmp_path, monkeypatch
):
    from pipeline.registry import tracking

    def curve(name: str) -> list[tuple[int, float]]:
        points = store.get_metric_history(tracking.run_id(context), f"training/{name}")
        return sorted((point.step, point.value) for point in points)

    _, fitted, _, _ = unbroken
    context = first_cycle(tmp_path)
    store = tracking.client(context.settings)
    monkeypatch.setattr("model.training.lightning_module.SECONDS_BETWEEN_METRICS", 0.0)
    with monkeypatch.context() as patch:
        die_after(patch, 2)
        with pytest.raises(Killed):
            train(context)
    for last in (6, fitted.figures["steps"]):
        wanted = {name: fitted.figures[name] for name in ("training_curve", "validation_mrr")}
        wanted = {name: [(step, value) for step, value in of if step <= last] for name, of in wanted.items()}
        assert curve("loss") == wanted["training_curve"] and len(wanted["training_curve"]) == last
        assert curve("validation_mrr") == wanted["validation_mrr"] and len(wanted["validation_mrr"]) > 1
        throughput = curve("tokens_per_second")
        assert [step for step, _ in throughput] == list(range(1, last + 1))
        assert all(0 < value < math.inf for _, value in throughput)
        train(context)  # goes on, in the same run


def test_no_module_of_training_names_the_evaluation_sequences_or_pickle():
    names = (
        "batches", "catalogue", "checkpoint", "cycle_tables", "datamodule", "dataset", "held_out", "labels",
        "lightning_module", "optimizer", "packing", "progress", "recommender", "warm_start",
    )  # fmt: skip
    forbidden_words = (
        "EVALUATION_SEQUENCES", "evaluation_sequences", "model.evaluation.examples",
        "pickle", "torch.load", "torch.save",
    )  # fmt: skip
    for path in [CHECKOUT / "model" / f"{name}.py" for name in names] + [CHECKOUT / "pipeline" / "train.py"]:
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
        for forbidden in forbidden_words:
            assert forbidden not in code, f"{path.name} names {forbidden}"


def test_a_loss_that_leaves_the_numbers_is_a_refusal(tmp_path, monkeypatch):
    def leave(*_):
        raise NotFiniteError("the loss is not finite at step 3")

    monkeypatch.setattr(module, "fit", leave)
    monkeypatch.setattr("pipeline.registry.tracking.live_metrics", lambda of, model: None)
    result = train(first_cycle(tmp_path))
    assert result.refused == result.figures["not_finite"] == "the loss is not finite at step 3"
