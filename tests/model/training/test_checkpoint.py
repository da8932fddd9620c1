"""Checkpoints survive kills and detect damage."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from model.training import checkpoint
from model.training.checkpoint import CheckpointError, Snapshot, TrainingState


def snapshot(step: int = 3, value: float = 1.0, inputs: str = "x", finished: bool = False) -> Snapshot:
    state = TrainingState(inputs, step, 9, finished, {"size": "25k"}, {"losses": [[1, 0.1 + 0.2]]})
    return Snapshot(state, {"w": torch.full((2, 3), value)}, {"w/exp_avg": torch.full((2, 3), -value)})


def save_states(folder, *steps):
    for step in steps:
        checkpoint.save_partial(folder, snapshot(step, float(step)))


def partial_names(folder):
    return sorted(path.name for path in (folder / "partial").iterdir())


def load(folder, inputs="x"):
    said: list[str] = []
    return checkpoint.load_partial(folder, inputs, said.append), said


def test_a_partial_state_is_read_back_unchanged(tmp_path):
    save_states(tmp_path, 3)
    found, said = load(tmp_path)
    assert not said
    assert found.state.step == 3 and found.state.progress == {"losses": [[1, 0.1 + 0.2]]}
    assert torch.equal(found.weights["w"], torch.full((2, 3), 3.0))
    assert torch.equal(found.moments["w/exp_avg"], torch.full((2, 3), -3.0))


def test_the_newest_two_states_are_kept(tmp_path):
    save_states(tmp_path, 2, 4, 100)
    assert partial_names(tmp_path) == ["00000004", "00000100"]
    assert load(tmp_path)[0].state.step == 100


@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_state_is_reported_and_the_previous_one_is_used(tmp_path, damage, how):
    save_states(tmp_path, 2, 4)
    file = tmp_path / "partial" / "00000004" / damage
    content = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 2] if how == "cut" else content)
    found, said = load(tmp_path)
    assert len(said) == 1 and damage in said[0] and "damaged" in said[0]
    assert found.state.step == 2
    assert partial_names(tmp_path) == ["00000002"]


def test_a_state_of_other_inputs_is_discarded_and_reported(tmp_path):
    save_states(tmp_path, 2)
    found, said = load(tmp_path, inputs="y")
    assert found is None and said == ["discards the partial state at step 2: its inputs differ"]
    assert partial_names(tmp_path) == []


@pytest.mark.parametrize("moment", range(8))
def test_a_save_killed_at_any_point_leaves_the_last_good_state(tmp_path, monkeypatch, moment):
    save_states(tmp_path, 2)
    calls = iter(range(100))

    def dies(function):
        def wrapped(*args, **kwargs):
            if next(calls) == moment:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_sync", dies(checkpoint._sync))
        patch.setattr(checkpoint, "_write_tensors", dies(checkpoint._write_tensors))
        patch.setattr(checkpoint.os, "replace", dies(checkpoint.os.replace))
        with pytest.raises(KeyboardInterrupt):
            save_states(tmp_path, 4)
    found, said = load(tmp_path)
    assert not said
    assert torch.equal(found.weights["w"], torch.full((2, 3), float(found.state.step)))
    save_states(tmp_path, 6)
    assert load(tmp_path)[0].state.step == 6
    assert not [name for name in partial_names(tmp_path) if name.startswith(".")]


def test_a_finished_model_replaces_the_partial_states(tmp_path):
    save_states(tmp_path, 2)
    digest = checkpoint.save_finished(tmp_path, snapshot(9, 5.0, finished=True))
    content = (tmp_path / "model.safetensors").read_bytes()
    assert digest == hashlib.sha256(content).hexdigest() == checkpoint.digest_of_weights(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]
    assert checkpoint.finished_state(tmp_path).step == 9
    assert torch.equal(checkpoint.load_weights(tmp_path)["w"], torch.full((2, 3), 5.0))
    assert torch.equal(checkpoint.load_moments(tmp_path)["w/exp_avg"], torch.full((2, 3), -5.0))


@pytest.mark.parametrize("moment", range(3))
def test_a_finish_that_was_killed_leaves_the_partial_state(tmp_path, monkeypatch, moment):
    save_states(tmp_path, 2)
    calls = iter(range(100))
    replace = checkpoint.os.replace

    def dies(*args):
        if next(calls) == moment:
            raise KeyboardInterrupt
        replace(*args)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save_finished(tmp_path, snapshot(9, finished=True))
    assert checkpoint.finished_state(tmp_path) is None
    assert load(tmp_path)[0].state.step == 2
    with pytest.raises(CheckpointError, match="holds no finished model"):
        checkpoint.load_weights(tmp_path)


def test_altered_weights_are_refused(tmp_path):
    checkpoint.save_finished(tmp_path, snapshot(9, finished=True))
    file = tmp_path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for reader in (checkpoint.finished_state, checkpoint.load_weights):
        with pytest.raises(CheckpointError, match="model.safetensors was altered"):
            reader(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(b"rubbish", "was altered"), (None, "is missing")])
def test_damaged_moments_are_detected_without_loading_them(tmp_path, content, message):
    checkpoint.save_finished(tmp_path, snapshot(9, finished=True))
    checkpoint.check_moments(tmp_path)
    file = tmp_path / "optimizer.safetensors"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert checkpoint.finished_state(tmp_path).step == 9
    for reader in (checkpoint.check_moments, checkpoint.load_moments):
        with pytest.raises(CheckpointError, match=f"optimizer.safetensors {message}"):
            reader(tmp_path)


def test_missing_weights_are_named(tmp_path):
    assert checkpoint.finished_state(tmp_path) is None
    with pytest.raises(CheckpointError, match="model.safetensors is missing"):
        checkpoint.digest_of_weights(tmp_path)


def test_the_same_tensors_give_the_same_bytes_in_any_order(tmp_path):
    tensors = {name: torch.arange(5.0) for name in "bca"}
    orders = (tensors, dict(sorted(tensors.items())))
    digests = {
        checkpoint.save_finished(tmp_path / str(number), Snapshot(snapshot().state, weights, {}))
        for number, weights in enumerate(orders)
    }
    assert len(digests) == 1


def test_nothing_is_pickled(tmp_path):
    save_states(tmp_path, 1)
    for file in (tmp_path / "partial" / "00000001").iterdir():
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            header = int.from_bytes(file.read_bytes()[:8], "little")
            json.loads(file.read_bytes()[8 : 8 + header])
