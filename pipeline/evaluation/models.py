"""The models that are compared on a window, opened from their checkpoints, each with its catalogue.

    candidate = open_contender(context, CANDIDATE)
    champion = open_reference(context, context.cycle.reference, CANDIDATE, CHAMPION)

Ranking them is in `ranking`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model.arrays import Ints
from model.config import ModelConfig
from model.data.cycle_items import load_items
from model.data.cycle_tables import CycleTables
from model.data.histories import Histories
from model.data.vocabulary import read_vocabulary
from model.evaluation.names import ModelName
from model.network.catalogue import OUT_OF_VOCABULARY, Catalogue
from model.network.recommender import Recommender
from model.training.checkpoint import (
    CheckpointError,
    digest_of_weights,
    finished_state,
    load_weights,
)
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion
from pipeline.cycle.meaning import action_codes, changed, unreadable
from pipeline.cycle.signals import days, signals_shape, version_half_lives

ID_TABLE = "item_tower.table.weight"
"""Name of the ID table among a model's weights."""


@dataclass(frozen=True)
class Contender:
    """A model to be ranked: its name in `ranks`, and everything its scores are a function of."""

    name: ModelName
    recommender: Recommender
    """In evaluation mode, on the configured device."""
    catalogue: Catalogue
    """Vocabulary and features of this cycle's items, on the same device."""
    digest: str
    """SHA-256 of the weights."""
    context_length: int
    """Events that a window repeats of the one before, as in the rows that the model was trained on."""
    action_code: Ints | None = None
    """int64 [actions]; the model's own code of each of this cycle's actions. None: they are the same."""


def open_contender(context: StageContext, name: ModelName) -> Contender:
    """A model that this cycle trained. Raises `model.training.checkpoint.CheckpointError` when its
    checkpoint is missing, unfinished or altered."""
    folder = checkpoint_folder(context, name)
    recommender = _load(context, folder)
    catalogue, length = _catalogue(context, recommender), context.config.sequences.context_length
    return Contender(name, recommender, catalogue, digest_of_weights(folder), length)


def open_reference(
    context: StageContext, reference: AcceptedVersion, checkpoint: ModelName, name: ModelName
) -> Contender:
    """A model of the reference's cycle as it would be served today: its own weights, vocabulary, codes of
    actions and length of histories, over this cycle's items and features.

    `checkpoint` is its name in that cycle, `name` the one in `ranks`. Raises as `open_contender`.
    """
    cycle, settings = context.cycle, context.settings
    folder = accepted.model_folder(settings, cycle.source, reference, checkpoint)
    recommender = _load(context, folder)
    catalogue = _catalogue(context, recommender)
    version = accepted.table_versions(settings, cycle.source, reference)["vocabulary"]
    older = read_vocabulary(settings.lake, cycle.source, reference.cycle, version, catalogue.items)
    tokens = catalogue.item_token
    is_known = torch.from_numpy(older.member).to(tokens.device)
    own = replace(catalogue, item_token=torch.where(is_known, tokens, OUT_OF_VOCABULARY))
    config = reference_config(context, reference)
    codes = action_codes(config, context.config)
    return Contender(
        name,
        recommender,
        own,
        digest_of_weights(folder),
        config.sequences.context_length,
        None if codes is None else np.array(codes, dtype=np.int64),
    )


def checkpoint_folder(context: StageContext, name: ModelName) -> Path:
    """Folder of a model that this cycle trained."""
    return context.settings.checkpoint_folder(context.cycle.source, context.cycle.name, name)


def reference_has(context: StageContext, reference: AcceptedVersion, checkpoint: ModelName) -> bool:
    """Whether the reference's cycle has kept a finished checkpoint of this name. Raises CheckpointError
    when it was altered."""
    folder = accepted.model_folder(context.settings, context.cycle.source, reference, checkpoint)
    return finished_state(folder) is not None


def reference_config(context: StageContext, reference: AcceptedVersion) -> Config:
    """The configuration that the reference was made with."""
    return accepted.configuration(context.settings, context.cycle.source, reference)


def incomparable(
    context: StageContext, reference: AcceptedVersion, histories: Histories | None = None
) -> str | None:
    """Why models of the reference's cycle cannot be ranked on this cycle's tables, or on these histories;
    None when they can."""
    older, newer = reference_config(context, reference), context.config
    if lost := unreadable(older, newer):
        return f"{', '.join(lost)} changed since cycle {reference.cycle}"
    if older.model.item_signals:
        own, today = version_half_lives(context, reference), signals_shape(context).half_lives_days
        if own is not None and own != today:
            return f"its item signals have half-lives of {days(own)}, those of this cycle have {days(today)}"
    codes = action_codes(older, newer)
    if codes is None or histories is None:
        return None
    unknown = [name for code, name in enumerate(newer.source.actions) if codes[code] < 0]
    used = {newer.source.actions[code] for code in np.unique(histories.action)}
    new = [name for name in unknown if name in used]
    return f"cycle {reference.cycle} did not know the action {', '.join(new)}" if new else None


def new_lineage(context: StageContext, reference: AcceptedVersion) -> tuple[str, ...]:
    """Names of the inputs whose meaning has changed since the reference's cycle."""
    return changed(reference_config(context, reference), context.config)


def _load(context: StageContext, folder: Path) -> Recommender:
    """A finished model, in evaluation mode on the configured device."""
    state, training = finished_state(folder), context.config.training
    if state is None:
        raise CheckpointError(f"{folder} holds no finished model")
    weights = load_weights(folder)
    recommender = Recommender(ModelConfig.model_validate(state.model), weights[ID_TABLE].shape[0])
    recommender.load_state_dict(weights)
    torch.set_num_threads(training.threads)
    on_gpu = training.accelerator != "cpu" and torch.cuda.is_available()
    return recommender.to("cuda" if on_gpu else "cpu").eval()


def _catalogue(context: StageContext, recommender: Recommender) -> Catalogue:
    """This cycle's vocabulary and features, in the model's modalities and on its device."""
    cycle = context.cycle
    tables = CycleTables(context.settings.lake, cycle.source, cycle.name, context.versions)
    catalogue = load_items(tables, recommender.config.features).catalogue
    return catalogue.to(next(recommender.parameters()).device)
