"""What training leaves on disk: weights, optimizer moments and a state, written so that a kill hurts nothing.

    model.safetensors  optimizer.safetensors  state.json     a finished model
    partial/00000150/  partial/00000200/                     the same three of the newest states of a run

Comes in: tensors and a `TrainingState`. Goes out: files, or what they hold, checked by SHA-256. A
partial state appears by one rename; a finished model exists once its state.json does, which is
written last. Nothing is pickled. This module does not know what the tensors mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, MOMENTS, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
PARTIAL = "partial"
KEPT_STATES = 2
"""Partial states kept: should the newest be damaged, the one before is used."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says which file and why."""


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands, beside its tensors. Plain JSON values."""

    inputs_digest: str
    """What the run is a function of; a state of other inputs is never continued."""
    step: int
    """Steps taken."""
    total_steps: int
    finished: bool
    model: dict[str, Any]
    """The model's configuration."""
    progress: dict[str, Any] = field(default_factory=dict)
    """Curves and counts so far."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files beside it; filled in on writing."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that a run needs to go on."""

    state: TrainingState
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]


def save_partial(folder: Path, snapshot: Snapshot) -> None:
    """Adds a resumable state to a model's folder and removes the oldest beyond KEPT_STATES."""
    home = folder / PARTIAL
    home.mkdir(parents=True, exist_ok=True)
    for leftover in home.glob(".*"):
        shutil.rmtree(leftover)  # of a save that was killed
    target, temporary = home / f"{snapshot.state.step:08d}", home / f".{snapshot.state.step:08d}"
    temporary.mkdir()
    digests = {name: _write_tensors(temporary / name, tensors) for name, tensors in _files(snapshot)}
    _write_state(temporary / STATE, snapshot.state, digests)
    _sync(temporary)
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)
    _sync(home)
    for old in _partial_states(folder)[KEPT_STATES:]:
        shutil.rmtree(old)


def load_partial(folder: Path, inputs_digest: str, say: Callable[[str], None]) -> Snapshot | None:
    """The newest sound state of a run of the same inputs; None when there is none.

    States of other inputs and damaged ones are removed, and `say` is told so in one line each.
    """
    for place in _partial_states(folder):
        try:
            state = _read_state(place)
            if state.inputs_digest != inputs_digest:
                say(f"discards a partial training state (step {state.step}): it is of other inputs")
            else:
                weights = _read_tensors(place / WEIGHTS, state)
                return Snapshot(state, weights, _read_tensors(place / MOMENTS, state))
        except CheckpointError as error:
            say(f"discards a damaged training state: {error}")
        shutil.rmtree(place)
    return None


def save_finished(folder: Path, snapshot: Snapshot) -> str:
    """Writes a finished model and removes the partial states. Returns the digest of its weights.

    The folder's former model, if any, is no longer finished from the first write on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).unlink(missing_ok=True)
    digests = {}
    for name, tensors in _files(snapshot):
        temporary = folder / f".{name}"
        digests[name] = _write_tensors(temporary, tensors)
        os.replace(temporary, folder / name)
    temporary = folder / f".{STATE}"
    _write_state(temporary, snapshot.state, digests)
    os.replace(temporary, folder / STATE)
    _sync(folder)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    return digests[WEIGHTS]


def finished_state(folder: Path) -> TrainingState | None:
    """The state of a finished model; None when there is none.

    Raises CheckpointError when there is one and its weights are not those that were written.
    """
    if not (folder / STATE).exists():
        return None
    state = _read_state(folder)
    if not state.finished:
        return None
    found = digest_of_weights(folder)
    if found != state.digests.get(WEIGHTS):
        raise CheckpointError(f"{folder / WEIGHTS} was altered: its SHA-256 is not the one in {STATE}")
    return state


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of a finished model. Raises CheckpointError when missing, unfinished or altered."""
    return _read_tensors(folder / WEIGHTS, _finished(folder))


def load_moments(folder: Path) -> dict[str, Tensor]:
    """Optimizer moments of a finished model. Raises as `load_weights`."""
    return _read_tensors(folder / MOMENTS, _finished(folder))


def check_moments(folder: Path) -> None:
    """Raises CheckpointError as `load_moments` does, and loads nothing."""
    _check_digest(folder / MOMENTS, _finished(folder))


def digest_of_weights(folder: Path) -> str:
    """SHA-256 of a model's `model.safetensors`, hexadecimal. Raises CheckpointError when it is missing."""
    try:
        return _digest(folder / WEIGHTS)
    except FileNotFoundError:
        raise CheckpointError(f"{folder / WEIGHTS} is missing") from None


def _finished(folder: Path) -> TrainingState:
    if not (folder / STATE).exists():
        raise CheckpointError(f"{folder} holds no finished model")
    state = _read_state(folder)
    if not state.finished:
        raise CheckpointError(f"the model in {folder} is not finished")
    return state


def _files(snapshot: Snapshot) -> tuple[tuple[str, Mapping[str, Tensor]], ...]:
    return (WEIGHTS, snapshot.weights), (MOMENTS, snapshot.moments)


def _partial_states(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted((path for path in folder.glob(f"{PARTIAL}/*") if path.name.isdigit()), reverse=True)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes to the disk itself and returns the SHA-256 of the file. The same tensors give the same bytes."""
    from safetensors.torch import save_file  # torch: 2 s that readers of a digest need not wait

    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    _sync(path)
    return _digest(path)


def _read_tensors(path: Path, state: TrainingState) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    _check_digest(path, state)
    return load_file(path)


def _check_digest(path: Path, state: TrainingState) -> None:
    if not path.exists():
        raise CheckpointError(f"{path} is missing")
    if _digest(path) != state.digests.get(path.name):
        raise CheckpointError(f"{path} was altered: its SHA-256 is not the one in {STATE}")


def _write_state(path: Path, state: TrainingState, digests: dict[str, str]) -> None:
    content = {**asdict(state), "digests": digests}
    sealed = {"sha256": _seal(content), "state": content}
    path.write_text(json.dumps(sealed, indent=1), encoding="utf-8")
    _sync(path)


def _read_state(folder: Path) -> TrainingState:
    path = folder / STATE
    try:
        sealed = json.loads(path.read_text(encoding="utf-8"))
        content = sealed["state"]
        if _seal(content) != sealed["sha256"]:
            raise ValueError("its content is not what was written")
        return TrainingState(**content)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of plain values, whatever their layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Makes a file's content, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
