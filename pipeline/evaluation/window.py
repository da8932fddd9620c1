"""One cycle's evaluation window, and the models that are compared on it.

In: a stage's context. Out: the window (examples, candidates, what each condition may see), and
models of this cycle and of the champion's with their catalogues. It ranks and measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expectations.instants import microseconds
from model.config import ModelConfig
from model.data.candidates import Candidates
from model.data.context import read_context_names
from model.data.cycle_tables import CycleTables
from model.data.items import load_items
from model.evaluation.examples import (
    Examples,
    ItemFacts,
    build_examples,
    history_ends,
    read_histories,
    read_item_facts,
    read_vocabulary,
    request_times,
)
from model.evaluation.ranking import View
from model.evaluation.ranks import Condition
from model.network.batch import OUT_OF_VOCABULARY, Catalogue
from model.network.recommender import Recommender
from model.training.checkpoint import (
    WEIGHTS,
    CheckpointError,
    digest_of_weights,
    finished_state,
    load_weights,
)
from pipeline.config import Config, parse_stored
from pipeline.cycle import accepted
from pipeline.cycle.definition import Parent
from pipeline.cycle.records import StageContext
from pipeline.evaluation.measures import conditions

Ints = NDArray[np.int64]

INPUT_FIELDS = ("modalities", "actions", "context_fields", "context_buckets")
"""Fields of the model's configuration that say what it reads."""
ID_TABLE = "item_tower.table.weight"
"""Name of the ID table among a model's weights."""


@dataclass(frozen=True)
class Window:
    """One cycle's evaluation window: what is ranked, among what, and what may be seen."""

    examples: Examples
    candidates: Candidates
    items: ItemFacts
    ends: dict[Condition, Ints]
    """Where histories end, int64 [X] for every condition; the first is the one that gates read."""
    asked_at_us: dict[Condition, Ints]
    """When each example is asked for, int64 [X] for every condition."""

    @property
    def judged(self) -> Condition:
        """The condition that gates read: replay at the first delay."""
        return next(iter(self.ends))

    def view(self, condition: Condition, partner: Ints | None = None) -> View:
        """What every example is ranked from under a condition; with `partner`, int64 [X], as if it were
        that example."""
        chosen = np.arange(self.examples.size) if partner is None else partner
        user, end, asked = self.examples.user, self.ends[condition], self.asked_at_us[condition]
        return View(user[chosen], end[chosen], asked[chosen])


def open_window(context: StageContext) -> Window:
    """Reads the window's examples. Raises `model.evaluation.examples.ExamplesError` when it has none."""
    config, cycle, lake = context.config.evaluation, context.cycle, context.settings.lake
    source, versions = cycle.source, context.versions
    items = read_item_facts(lake, source, versions["items"])
    count, split_us = items.launched_at_us.size, microseconds(cycle.split)
    vocabulary = read_vocabulary(lake, source, cycle.name, versions["vocabulary"], count)
    champion = None
    if cycle.champion is not None:
        older = accepted.table_versions(context.settings, source, cycle.champion)["vocabulary"]
        champion = read_vocabulary(lake, source, cycle.champion.cycle, older, count)
    examples = build_examples(
        read_histories(lake, source, cycle.name, versions["evaluation_sequences"]),
        items,
        config.tasks,
        config.slices,
        vocabulary,
        champion,
        config.weak_id_events,
        _context_names(context),
    )
    return Window(
        examples=examples,
        candidates=Candidates.of(items.launched_at_us, vocabulary.retired),
        items=items,
        ends={
            one: history_ends(examples, one.protocol, one.delay_hours, split_us) for one in conditions(config)
        },
        asked_at_us={
            one: request_times(examples, one.protocol, one.delay_hours, split_us)
            for one in conditions(config)
        },
    )


def _context_names(context: StageContext) -> dict[str, dict[int, str]]:
    """The window's values of every context field that makes slices, by code."""
    config, cycle = context.config, context.cycle
    version, span = context.versions["events"], (microseconds(cycle.split), microseconds(cycle.cutoff))
    return {
        field: read_context_names(
            context.settings.lake, cycle.source, version, field, *span, config.sequences.context_buckets
        )
        for field in config.evaluation.slices
        if field in config.source.context_fields
    }


def window_figures(window: Window) -> dict[str, Any]:
    """Counts of the window."""
    examples, size = window.examples, window.candidates.sizes_at(window.examples.event_at_us)
    return {
        "labels": examples.size,
        "label_users": int(np.unique(examples.user).size),
        "catalogue_items": int(size.max()),
        "labels_outside_catalogue": int((window.candidates.column[examples.item_index] >= size).sum()),
        "tasks_not_applicable": list(examples.not_applicable),
    }


def champion_config(context: StageContext, champion: Parent) -> Config:
    """The configuration that the champion was made with."""
    content = accepted.configuration(context.settings, context.cycle.source, champion)
    return parse_stored(content, f"version {champion.version}")


def incomparable(context: StageContext, champion: Parent) -> str | None:
    """Why models of the champion's cycle cannot read today's tables; None when they can."""
    older, today = _read_by_models(champion_config(context, champion)), _read_by_models(context.config)
    changed = [name for name in today if older[name] != today[name]]
    return f"{', '.join(changed)} changed since cycle {champion.cycle}" if changed else None


def _read_by_models(config: Config) -> dict[str, Any]:
    """What a model's inputs mean, by name: their fields, and what an item's vectors are made of."""
    mappings = config.source.model_dump(mode="json", include={"items", "tags", "edges"})
    described = {
        name: [{key: value for key, value in one.items() if key != "files"} for one in several]
        for name, several in mappings.items()
    }
    network = config.network()
    return {name: getattr(network, name) for name in INPUT_FIELDS} | {
        "features": config.features,
        **described,
    }


def open_model(context: StageContext, name: str) -> tuple[Recommender, Catalogue]:
    """A model of this cycle with its catalogue. Raises `model.training.checkpoint.CheckpointError` when it is
    missing, unfinished or altered."""
    recommender = _load(context, _folder(context, name))
    return recommender, _todays_catalogue(context, recommender)


def open_champion_model(context: StageContext, champion: Parent, name: str) -> tuple[Recommender, Catalogue]:
    """A model of the champion's cycle as it would be served today: its weights and vocabulary, over
    today's items and features. Raises as `open_model`."""
    recommender = _load(context, _folder(context, name, champion))
    today = _todays_catalogue(context, recommender)
    cycle = context.cycle
    version = accepted.table_versions(context.settings, cycle.source, champion)["vocabulary"]
    member = read_vocabulary(context.settings.lake, cycle.source, champion.cycle, version, today.items).member
    known = torch.from_numpy(member).to(today.item_token.device)
    return recommender, Catalogue(torch.where(known, today.item_token, OUT_OF_VOCABULARY), today.features)


def digest_of(context: StageContext, name: str, champion: Parent | None = None) -> str:
    """SHA-256 of a model's weights; None is this cycle's."""
    return digest_of_weights(_folder(context, name, champion))


def megabytes_of(context: StageContext, name: str) -> float:
    """Size of a model's weights of this cycle."""
    return (_folder(context, name) / WEIGHTS).stat().st_size / 1e6


def champion_has(context: StageContext, champion: Parent, name: str) -> bool:
    """Whether the champion's cycle left this model, finished and unaltered."""
    return finished_state(_folder(context, name, champion)) is not None


def _folder(context: StageContext, name: str, champion: Parent | None = None) -> Path:
    source, settings = context.cycle.source, context.settings
    if champion is not None:
        return accepted.model_folder(settings, source, champion, name)
    return settings.checkpoint_folder(source, context.cycle.name, name)


def _load(context: StageContext, folder: Path) -> Recommender:
    """A finished model on the device that the configuration asks for."""
    state, training = finished_state(folder), context.config.training
    if state is None:
        raise CheckpointError(f"{folder} holds no finished model")
    weights = load_weights(folder)
    recommender = Recommender(ModelConfig.model_validate(state.model), weights[ID_TABLE].shape[0])
    recommender.load_state_dict(weights)
    torch.set_num_threads(training.threads)
    on_gpu = training.accelerator != "cpu" and torch.cuda.is_available()
    return recommender.to("cuda" if on_gpu else "cpu").eval()


def _todays_catalogue(context: StageContext, recommender: Recommender) -> Catalogue:
    """This cycle's vocabulary and features, in the model's modalities and on its device."""
    cycle = context.cycle
    tables = CycleTables(context.settings.lake, cycle.source, cycle.name, context.versions)
    catalogue = load_items(tables, recommender.config.features).catalogue
    return catalogue.to(next(recommender.parameters()).device)
