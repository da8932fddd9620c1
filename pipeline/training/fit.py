"""Trains a model of a cycle: from its parent or from scratch, resumed where a run was killed.

    fitted = fit(context, CANDIDATE, "200k")                    # the full model
    fitted = fit(context, ModelName.rung("25k"), "25k")         # a small model of the funnel

Reads the cycle's `sequences`, `vocabulary`, `item_features` and `items`, and the parent's checkpoint;
`evaluation_sequences` cannot be opened from here. Leaves a finished checkpoint with its figures. The
weights are a function of the configuration, the tables' versions, the split and the parent's weights.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expectations import wording
from expectations.instants import DAY_US, SECOND_US, microseconds
from model.config import ModelConfig
from model.data.batches import (
    LabelInterval,
    PositionPairs,
    PositionRequests,
    TrainingBatches,
    requests_of,
)
from model.data.cycle_items import CycleItems, load_items
from model.data.cycle_tables import READABLE, CycleTables
from model.data.eligible_items import eligible_for_training
from model.data.items import UNKNOWN_LAUNCH
from model.data.pair_signals import pair_lists
from model.data.sequences import Sequences, load_sequences
from model.data.signals import Signals, training_signals
from model.data.user_log import load_user_log
from model.draws import Purpose, torch_seed
from model.evaluation.names import ModelName
from model.network.recommender import Recommender
from model.training import checkpoint
from model.training.checkpoint import CheckpointError, Snapshot, TrainingState
from model.training.held_out import HeldOut, held_out
from model.training.lightning_module import LogMetrics, Plan, RefreshModule, Watch, run
from model.training.optimizer import Optimizers, build_optimizers, load_moments, moments
from model.training.progress import Progress
from model.training.warm_start import carry_moments, start_from_parent
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import TrainingFigures
from pipeline.cycle.records import plain_figures, typed_figures
from pipeline.cycle.signals import signals_shape
from pipeline.training.start import Start, find_start
from spark_jobs.figures import VocabularyFigures

FINAL_LOSS_POINTS = 10
"""The final loss is the mean of this many last points of the loss curve."""


@dataclass(frozen=True)
class Fitted:
    """A finished model."""

    folder: Path
    """Holds `model.safetensors`, `optimizer.safetensors` and `state.json`."""
    checkpoint_digest: str
    """SHA-256 of `model.safetensors`."""
    figures: TrainingFigures


def fit(
    context: StageContext,
    model_name: ModelName,
    size: str,
    log_metrics: LogMetrics | None = None,
    parent_model: ModelName | None = None,
) -> Fitted:
    """A finished model of this cycle: the stored one, where it was trained on the same inputs, else one
    that is resumed or trained now.

    `size` is the backbone's. `log_metrics` receives figures during training. `parent_model` is the model
    of the parent's cycle to start from, by default the one of the same name. Raises CycleError when the
    full model's parent is missing, altered or of another architecture, DatasetError when the tables cannot
    be trained on, NotFiniteError when the loss is not a finite number.
    """
    cycle, say = context.cycle, context.say
    folder = context.settings.checkpoint_folder(cycle.source, cycle.name, model_name)
    config = context.config.network(size)
    start = find_start(context, parent_model or model_name, config)
    digest = _inputs_digest(context, config, start)
    stored = _stored(context, folder, digest)
    if stored is not None:
        say(f"{model_name}: already trained on the same inputs")
        return stored
    torch.set_num_threads(context.config.training.threads)
    session = _Session(context, config, start, digest, folder)
    session.resume_or_begin()
    say(f"{model_name}: {session.description()}")
    run(session.module, session.batches, Watch(say, session.save_partial), log_metrics)
    return session.finish()


class _Session:
    """One training run in one process: its data, model and progress, and how they are saved."""

    def __init__(
        self, context: StageContext, config: ModelConfig, start: Start, inputs_digest: str, folder: Path
    ) -> None:
        self.context, self.config, self.start = context, config, start
        self.inputs_digest, self.folder = inputs_digest, folder
        training = context.config.training
        self.items, self.sequences, self.batches, examples = _data(context, config, start)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(Purpose.INITIAL_WEIGHTS, training.seed, 0))
            self.model = Recommender(config, self.items.catalogue.vocabulary_size)
        finetune = start.folder is not None
        self.optimizers: Optimizers = build_optimizers(self.model, training, finetune)
        eligible = eligible_for_training(self.items, self.sequences.seen, microseconds(context.cycle.split))
        self.plan = Plan(
            objective=context.config.objective,
            training=training,
            masking_rate=context.figures("vocabulary", VocabularyFigures).masking_rate,
            catalogue=self.items.catalogue,
            eligible=torch.from_numpy(eligible),
            held_out=examples,
        )
        self.progress = Progress(self.batches.total_steps, self.batches.steps_per_epoch)

    def resume_or_begin(self) -> None:
        """Loads the last saved state of the same inputs, else the parent's weights, if any."""
        say = self.context.say
        snapshot = checkpoint.load_partial(self.folder, self.inputs_digest, say)
        if snapshot is not None:
            self.model.load_state_dict(dict(snapshot.weights))
            load_moments(self.model, self.optimizers, snapshot.moments)
            self.progress = Progress(**snapshot.state.progress)
            say(f"resumes at step {self.progress.step} of {self.progress.total_steps}")
        elif self.start.folder is not None:
            growth = start_from_parent(self.model, checkpoint.load_weights(self.start.folder))
            if self.context.config.training.carry_moments:
                carry_moments(self.model, self.optimizers, checkpoint.load_moments(self.start.folder))
            say(f"starts from {self.start.name}: {growth.known_rows} ID rows kept, {growth.new_rows} new")
        self.module = RefreshModule(self.model, self.optimizers, self.plan, self.progress)

    def description(self) -> str:
        """The run in one line, for people."""
        batches, coverage = self.batches, self.batches.coverage
        return (
            f"{self.start.name}, {batches.total_steps} steps over {coverage.positions:,} loss positions of "
            f"{len(coverage.sequences):,} sequences, {batches.packing.efficiency:.1%} of the slots used, "
            f"{len(self.plan.eligible):,} eligible items, "
            f"{_backbone_parameters(self.model):,} backbone parameters"
        )

    def save_partial(self) -> None:
        """Writes a resumable state."""
        checkpoint.save_partial(self.folder, self._snapshot(finished=False, progress=self.progress.plain()))

    def finish(self) -> Fitted:
        """Writes the finished model with its figures."""
        figures = self._figures()
        snapshot = self._snapshot(finished=True, progress=plain_figures(figures))
        digest = checkpoint.save_finished(self.folder, snapshot)
        return Fitted(self.folder, digest, replace(figures, checkpoint_digest=digest))

    def _snapshot(self, finished: bool, progress: dict[str, Any]) -> Snapshot:
        state = TrainingState(
            inputs_digest=self.inputs_digest,
            step=self.progress.step,
            total_steps=self.progress.total_steps,
            finished=finished,
            model=self.config.model_dump(mode="json"),
            progress=progress,
        )
        return Snapshot(state, self.model.state_dict(), moments(self.model, self.optimizers))

    def _figures(self) -> TrainingFigures:
        progress, batches = self.progress, self.batches
        last = [loss for _, loss in progress.losses[-FINAL_LOSS_POINTS:]]
        return TrainingFigures(
            steps=progress.step,
            epochs=round(progress.step / progress.steps_per_epoch, 3),
            tokens=progress.tokens,
            seconds=round(progress.seconds, 3),
            tokens_per_second=round(progress.tokens_per_second, 1),
            final_loss=sum(last) / len(last),
            validation_mrr=tuple((step, mrr) for step, mrr in progress.held_out_mrr),
            validation_examples=self.plan.held_out.examples if self.plan.held_out else 0,
            training_curve=tuple((step, loss) for step, loss in progress.losses),
            sequences=len(batches.coverage.sequences),
            loss_positions=batches.coverage.positions,
            labels=batches.coverage.labels,
            negligible_label_fraction=batches.coverage.negligible_labels / batches.coverage.labels,
            packing_efficiency=round(batches.packing.efficiency, 4),
            eligible_items=len(self.plan.eligible),
            vocabulary=self.model.vocabulary_size,
            masking_rate=self.plan.masking_rate,
            backbone_parameters=_backbone_parameters(self.model),
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            start=self.start.name,
            parent_digest=self.start.digest,
        )


def _data(
    context: StageContext, config: ModelConfig, start: Start
) -> tuple[CycleItems, Sequences, TrainingBatches, HeldOut | None]:
    """Reads the cycle's tables: items, sequences, training batches, and the held-out examples, if any."""
    cycle, training = context.cycle, context.config.training
    split_us = microseconds(cycle.split)
    after_us = None if start.after is None else microseconds(start.after)
    tables = CycleTables(context.settings.lake, cycle.source, cycle.name, context.versions)
    items = load_items(tables, config.features, _earlier_features(context, start, tables))
    sequences = load_sequences(tables, config.context_fields, after_us, split_us, items.items.count)
    items = _existing_since(items, sequences)
    pair_signals = None
    if config.reads_signals:
        signals = training_signals(tables, signals_shape(context), items.items.count)
        items = items.with_signals(signals.items)
        if config.pair_signals:
            pair_signals = _pair_signals(context, config, tables, signals, sequences)
    row_length = config.max_length + 1  # with the start token
    trained_until_us = split_us - round(training.validation_days * DAY_US)
    batches = TrainingBatches(
        sequences,
        context.config.objective,
        LabelInterval(after_us, trained_until_us),
        batch_tokens=training.batch_tokens,
        row_length=row_length,
        epochs=training.epochs if start.folder is None else training.finetune_epochs,
        seed=training.seed,
        pair_signals=pair_signals,
    )
    held_out_labels = LabelInterval(trained_until_us, split_us)
    examples = held_out(
        sequences, held_out_labels, training.batch_tokens, row_length, training.seed, pair_signals
    )
    return items, sequences, batches, examples if examples.examples else None


def _existing_since(items: CycleItems, sequences: Sequences) -> CycleItems:
    """The items with the time since which each exists: its launch or, where unknown, its first event."""
    seen = np.where(sequences.seen, sequences.first_seen_us / SECOND_US, np.nan)
    launched = items.items.launched_at_us
    since = np.where(launched == UNKNOWN_LAUNCH, seen, launched / SECOND_US)
    return items.existing_since(torch.from_numpy(since))


def _pair_signals(
    context: StageContext,
    config: ModelConfig,
    tables: CycleTables,
    signals: Signals,
    sequences: Sequences,
) -> Callable[[PositionRequests], PositionPairs]:
    log = load_user_log(tables)

    def of(positions: PositionRequests) -> PositionPairs:
        started = time.perf_counter()
        requests = requests_of(sequences, log, positions)
        lists = pair_lists(log, requests, signals.successors, signals.items.count, signals.bucket_us)
        took = wording.seconds(round(time.perf_counter() - started))
        context.say(f"pair signals: {lists.item_index.size:,} pairs of {lists.size:,} requests in {took}")
        return PositionPairs(positions, lists, config.actions)

    return of


def _earlier_features(context: StageContext, start: Start, tables: CycleTables) -> CycleTables | None:
    """The parent's tables, where training uses item features as of the parent's split."""
    if start.folder is None or context.config.training.features_as_of == "split":
        return None
    parent = context.cycle.parent
    versions = accepted.table_versions(context.settings, context.cycle.source, parent)
    return replace(tables, cycle=parent.cycle, versions=versions)


def _stored(context: StageContext, folder: Path, digest: str) -> Fitted | None:
    """The finished model in the folder, when it is sound and was trained on these inputs."""
    try:
        state = checkpoint.finished_state(folder)
    except CheckpointError as error:
        context.say(f"trains again: {error}")
        return None
    if state is None or state.inputs_digest != digest:
        return None
    weights = state.digests[checkpoint.WEIGHTS]
    try:
        figures = typed_figures(TrainingFigures.__name__, state.progress)
    except ValueError:
        context.say("trains again: the stored model was written by an earlier revision")
        return None
    return Fitted(folder, weights, replace(figures, checkpoint_digest=weights))


def _inputs_digest(context: StageContext, config: ModelConfig, start: Start) -> str:
    """Digest of everything that the weights are a function of."""
    content = {
        "cycle": context.cycle.name,
        "split": microseconds(context.cycle.split),
        "parent": start.digest,
        "after": None if start.after is None else microseconds(start.after),
        "model": config.model_dump(mode="json"),
        "objective": context.config.objective.model_dump(mode="json"),
        "training": context.config.training.model_dump(mode="json"),
        "masking_rate": context.figures("vocabulary", VocabularyFigures).masking_rate,
        "versions": {table.name: context.versions.get(table.name) for table in READABLE},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _backbone_parameters(model: Recommender) -> int:
    return sum(parameter.numel() for parameter in model.backbone.parameters())
