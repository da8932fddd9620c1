"""Which checkpoint a model of a cycle starts training from.

start = find_start(context, CANDIDATE, config)     # start.folder is None: from scratch
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from model.config import ModelConfig
from model.evaluation.names import CANDIDATE, ModelName
from model.training import checkpoint
from model.training.checkpoint import CheckpointError
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, CycleError
from pipeline.cycle.signals import days, signals_shape, version_half_lives

NOT_WEIGHTS = ("dropout", "max_length")
"""Fields of the network's configuration in which a parent may differ, since no weight depends on them."""
TERMS = ("half_lives", "pair_signals", "request_time")
"""Fields of terms of the score that a parent may lack: they start at zero, and no score changes."""


@dataclass(frozen=True)
class Start:
    """What training starts from."""

    folder: Path | None = None
    """The parent's checkpoint; None: from scratch."""
    digest: str | None = None
    """SHA-256 of the parent's weights."""
    after: datetime | None = None
    """Split of the parent; only labels after it are trained on."""
    name: str = "from scratch"
    """For people."""


def find_start(context: StageContext, model_name: ModelName, config: ModelConfig) -> Start:
    """The checkpoint of this name of the parent's cycle.

    The full model's must be sound and of the same architecture, signals and the time of the request apart,
    which a parent may lack, with its optimizer moments where they are carried over: CycleError otherwise.
    Any other model then starts from scratch and says so. A model of any name whose parent read item signals
    of other half-lives is a CycleError.
    """
    parent = context.cycle.parent
    if parent is None:
        return Start()
    folder = accepted.model_folder(context.settings, context.cycle.source, parent, model_name)
    try:
        digest = _usable(context, parent, folder, model_name, config)
    except CheckpointError as problem:
        if model_name == CANDIDATE:
            raise CycleError(
                f"cannot fine-tune from version {parent.version}: {problem}; "
                "pass --cold-start to train from scratch"
            ) from None
        context.say(f"starts from scratch, not from {model_name}: {problem}")
        return Start()
    return Start(folder, digest, parent.split, f"version {parent.version}, cycle {parent.cycle}")


def _usable(
    context: StageContext, parent: AcceptedVersion, folder: Path, model_name: ModelName, config: ModelConfig
) -> str:
    """Digest of the weights in the folder. Raises CheckpointError when training cannot start from them."""
    state = checkpoint.finished_state(folder)
    if state is None:
        raise CheckpointError(f"{folder} holds no finished model")
    digest = state.digests[checkpoint.WEIGHTS]
    if model_name == CANDIDATE and digest != parent.checkpoint_digest:
        raise CheckpointError(f"the weights in {folder} are not those registered as version {parent.version}")
    try:
        own = ModelConfig.model_validate(state.model)  # a field that is newer than the record has its default
    except ValidationError:
        raise CheckpointError(f"the model in {folder} has another architecture") from None
    if own.half_lives and config.half_lives:
        _check_half_lives(context, parent)
    if not continues(own, config):
        raise CheckpointError(f"the model in {folder} has another architecture")
    if context.config.training.carry_moments:
        checkpoint.check_moments(folder)
    return digest


def continues(parent: ModelConfig, child: ModelConfig) -> bool:
    """Whether a model can start from weights of another: the same architecture, or terms more."""
    added = {name: getattr(child, name) for name in TERMS if not getattr(parent, name)}
    first, second = (model.model_dump(exclude=set(NOT_WEIGHTS)) for model in (parent, child))
    return first | added == second


def _check_half_lives(context: StageContext, parent: AcceptedVersion) -> None:
    own, today = version_half_lives(context, parent), signals_shape(context).half_lives_days
    if own is not None and own != today:
        raise CycleError(
            f"cannot fine-tune from version {parent.version}: its item signals have half-lives of {days(own)}, "
            f"those of this cycle have {days(today)}; set signals.half_lives_days to {list(own)} or pass "
            "--cold-start to train from scratch"
        )
