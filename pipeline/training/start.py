"""From which checkpoint a model of a cycle starts training."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from model.config import ModelConfig
from model.evaluation.names import CANDIDATE
from model.training import checkpoint
from model.training.checkpoint import CheckpointError
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import CycleError

NOT_WEIGHTS = ("dropout", "max_length")
"""Fields of the network's configuration in which a parent may differ: they shape no weights."""


@dataclass(frozen=True)
class Start:
    """What training starts from."""

    folder: Path | None = None
    """The parent's checkpoint; None is a cold start."""
    digest: str | None = None
    """SHA-256 of the parent's weights."""
    after: datetime | None = None
    """Split of the parent; only later labels are trained on."""
    name: str = "from scratch"
    """For people."""


def find_start(context: StageContext, model_name: str, config: ModelConfig) -> Start:
    """The parent's checkpoint of the same name. The full model's must be sound, with its optimizer
    moments where they are carried; a rung without a sound one of the same architecture starts cold
    and says so."""
    parent = context.cycle.parent
    if parent is None:
        return Start()
    folder = accepted.model_folder(context.settings, context.cycle.source, parent, model_name)
    problem = ""
    try:
        state = checkpoint.finished_state(folder)
        if state is None:
            problem = f"{folder} holds no finished model"
        elif model_name == CANDIDATE and state.digests[checkpoint.WEIGHTS] != parent.checkpoint_digest:
            problem = f"the weights in {folder} are not those registered as version {parent.version}"
        elif _architecture(state.model) != _architecture(config.model_dump(mode="json")):
            problem = f"the model in {folder} has another architecture"
        elif context.config.training.carry_moments:
            checkpoint.check_moments(folder)
    except CheckpointError as error:
        problem = str(error)
    if not problem:
        name = f"version {parent.version}, cycle {parent.cycle}"
        return Start(folder, state.digests[checkpoint.WEIGHTS], parent.split, name)
    if model_name == CANDIDATE:
        advice = "pass --cold-start to start anew"
        raise CycleError(f"cannot fine-tune from version {parent.version}: {problem}; {advice}")
    context.say(f"starts from scratch, not from {model_name}: {problem}")
    return Start()


def _architecture(model: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key not in NOT_WEIGHTS}
