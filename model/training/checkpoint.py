"""Checkpoints on disk: weights, optimizer moments and a state, safe against a kill at any point.

    model.safetensors  optimizer.safetensors  state.json     a finished model
    partial/00000150/  partial/00000200/                     the same three files, for resuming a run

A partial state appears by one rename; a finished model exists once its state.json does, which is written
last. Files are checked by SHA-256 when they are read. Nothing is pickled.
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

from expectations.crash_points import reach

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, MOMENTS, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
PARTIAL = "partial"
KEPT_STATES = 2
"""Partial states kept: if the newest is damaged, the one before is used."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says which file and why."""


@dataclass(frozen=True)
class TrainingState:
    """How far a run is, without its tensors. Plain JSON values."""

    inputs_digest: str
    """Digest of all that the run is a function of; a state of other inputs is never resumed."""
    step: int
    """Steps taken."""
    total_steps: int
    finished: bool
    model: dict[str, Any]
    """The model's configuration."""
    progress: dict[str, Any] = field(default_factory=dict)
    """Curves and counts so far."""
    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the tensor files, filled in when they are written."""


@dataclass(frozen=True)
class Snapshot:
    """All that a run needs to resume."""

    state: TrainingState
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]


def save_partial(folder: Path, snapshot: Snapshot) -> None:
    """Adds a resumable state to a model's folder, and removes the oldest beyond KEPT_STATES."""
    reach("before-partial")
    home = folder / PARTIAL
    home.mkdir(parents=True, exist_ok=True)
    for leftover in home.glob(".*"):
        shutil.rmtree(leftover)  # from a save that was killed
    target, temporary = home / f"{snapshot.state.step:08d}", home / f".{snapshot.state.step:08d}"
    temporary.mkdir()
    digests = {name: _write_tensors(temporary / name, tensors) for name, tensors in _files(snapshot)}
    _write_state(temporary / STATE, snapshot.state, digests)
    _sync(temporary)
    reach("inside-partial")
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)
    _sync(home)
    reach("after-partial")
    for old in _partial_states(folder)[KEPT_STATES:]:
        shutil.rmtree(old)


def load_partial(folder: Path, inputs_digest: str, say: Callable[[str], None]) -> Snapshot | None:
    """The newest intact state of a run of the same inputs; None when there is none.

    Removes states of other inputs and damaged ones, and reports each with one line to `say`.
    """
    for partial in _partial_states(folder):
        try:
            state = _read_state(partial)
            if state.inputs_digest != inputs_digest:
                say(f"discards the partial state at step {state.step}: its inputs differ")
            else:
                weights = _read_tensors(partial / WEIGHTS, state)
                return Snapshot(state, weights, _read_tensors(partial / MOMENTS, state))
        except CheckpointError as error:
            say(f"discards a damaged training state: {error}")
        shutil.rmtree(partial)
    return None


def save_finished(folder: Path, snapshot: Snapshot) -> str:
    """Writes a finished model and removes the partial states. Returns the digest of its weights.

    A model that was finished in this folder before no longer is, from the first write on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).unlink(missing_ok=True)
    reach("before-weights")
    digests = {}
    for name, tensors in _files(snapshot):
        temporary = folder / f".{name}"
        digests[name] = _write_tensors(temporary, tensors)
        os.replace(temporary, folder / name)
        reach("after-weights" if name == WEIGHTS else "after-moments")
    temporary = folder / f".{STATE}"
    _write_state(temporary, snapshot.state, digests)
    os.replace(temporary, folder / STATE)
    _sync(folder)
    reach("after-state")
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    return digests[WEIGHTS]


def finished_state(folder: Path) -> TrainingState | None:
    """The state of a finished model; None when there is none.

    Raises CheckpointError when there is one whose weights were altered since.
    """
    if not (folder / STATE).exists():
        return None
    state = _read_state(folder)
    if not state.finished:
        return None
    if digest_of_weights(folder) != state.digests.get(WEIGHTS):
        raise CheckpointError(f"{folder / WEIGHTS} was altered: its SHA-256 is not the one in {STATE}")
    return state


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Weights of a finished model. Raises CheckpointError when missing, unfinished or altered."""
    return _read_tensors(folder / WEIGHTS, _finished(folder))


def load_moments(folder: Path) -> dict[str, Tensor]:
    """Optimizer moments of a finished model. Raises as `load_weights`."""
    return _read_tensors(folder / MOMENTS, _finished(folder))


def check_moments(folder: Path) -> None:
    """Raises CheckpointError as `load_moments` would, without loading the tensors."""
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
    """Writes and syncs a file; returns its SHA-256. The same tensors give the same bytes."""
    from safetensors.torch import save_file  # imports torch: 2 s that reading a digest need not wait for

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
            raise ValueError("its content was altered")
        return TrainingState(**content)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def _seal(content: dict[str, Any]) -> str:
    """SHA-256 of plain values, independent of key order and layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flushes a file's content, or a folder's entries, so that they survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
