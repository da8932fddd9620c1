"""One training run in one process: its data, model and progress, and how they are saved and resumed.

    session = Session(context, config, start, digest, folder, Run(interval, passes=3.0, most_passes=5.0))
    session.train(log_metrics)

Whether a run is needed, and what becomes of its weights, is decided in `fit` and `search`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expectations import wording
from expectations.instants import SECOND_US, microseconds
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
from model.data.kept_pairs import KeptPairs
from model.data.pair_signals import RULES as PAIR_RULES
from model.data.pair_signals import pair_parts
from model.data.sequences import Sequences, load_sequences
from model.data.signals import Signals, training_signals
from model.data.user_log import load_user_log
from model.draws import Purpose, torch_seed
from model.network.recommender import Recommender
from model.training import checkpoint
from model.training.checkpoint import Snapshot, TrainingState
from model.training.held_out import HeldOut
from model.training.lightning_module import LogMetrics, Plan, RefreshModule, Watch, run
from model.training.optimizer import Optimizers, Schedule, build_optimizers, load_moments, moments
from model.training.progress import Progress
from model.training.warm_start import carry_moments, start_from_parent
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.signals import signals_shape
from pipeline.training.start import Start
from spark_jobs.figures import VocabularyFigures


@dataclass(frozen=True)
class TrainingData:
    """What a cycle's models are trained on."""

    items: CycleItems
    sequences: Sequences
    interval: LabelInterval
    """(parent split, split]; without a parent no lower bound."""
    row_length: int
    """Slots of a packed row: the longest sequence and its start token."""
    pair_signals: Callable[[PositionRequests], PositionPairs] | None = None
    """Counts the pair signals of positions; None: the model reads none."""


@dataclass(frozen=True)
class Run:
    """What one run trains on, and for how long."""

    interval: LabelInterval
    passes: float
    """Passes over the loss positions of the interval."""
    most_passes: float
    """Those that are configured; the warm-up follows from them."""
    share: float = 1.0
    """Share of all these passes that the run makes; below one pass, a sample of the packed rows by the seed …"""
    least_steps: int = 1
    """… but at least this many steps, and at most those of the whole passes."""
    decays: bool = True
    """Whether the learning rate falls at the end."""
    held_out: HeldOut | None = None
    """Labels whose MRR may end the run; None: every step is taken."""


class Session:
    """One training run in one process."""

    def __init__(
        self,
        context: StageContext,
        config: ModelConfig,
        start: Start,
        inputs_digest: str,
        folder: Path,
        data: TrainingData,
        run: Run,
    ) -> None:
        self.context, self.config, self.start = context, config, start
        self.inputs_digest, self.folder = inputs_digest, folder
        training = context.config.training
        torch.set_num_threads(training.threads)
        self.batches = TrainingBatches(
            data.sequences,
            context.config.objective,
            run.interval,
            batch_tokens=training.batch_tokens,
            row_length=data.row_length,
            epochs=run.passes,
            seed=training.seed,
            pair_signals=data.pair_signals,
        )
        whole, per_epoch = self.batches.total_steps, self.batches.steps_per_epoch
        steps = self.batches.total_steps = min(whole, max(run.least_steps, round(run.share * whole)))
        configured = round(steps / whole * run.most_passes * per_epoch)
        schedule = Schedule.of(steps, configured, training)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(Purpose.INITIAL_WEIGHTS, training.seed, 0))
            self.model = Recommender(config, data.items.catalogue.vocabulary_size)
        self.optimizers: Optimizers = build_optimizers(self.model, training, start.folder is not None)
        eligible = eligible_for_training(data.items, data.sequences.seen, microseconds(context.cycle.split))
        self.plan = Plan(
            objective=context.config.objective,
            training=training,
            schedule=schedule if run.decays else replace(schedule, decay_steps=0),
            masking_rate=context.figures("vocabulary", VocabularyFigures).masking_rate,
            catalogue=data.items.catalogue,
            eligible=torch.from_numpy(eligible),
            held_out=run.held_out,
        )
        self.progress = Progress(steps, per_epoch)
        if run.held_out is not None:
            self.progress.validate_every = max(1, per_epoch // training.validations_per_epoch)
            self.progress.patience = training.patience

    def train(self, title: str, log_metrics: LogMetrics | None) -> None:
        """Takes the steps that are left since the last saved state of the same inputs."""
        self._resume_or_begin()
        self.context.say(f"{title}: {self._description()}")
        module = RefreshModule(self.model, self.optimizers, self.plan, self.progress)
        if not self.progress.finished:
            run(module, self.batches, Watch(self.context.say, self._save_partial), log_metrics)

    def snapshot(self, finished: bool, progress: dict[str, Any]) -> Snapshot:
        """Weights, moments and a state with these plain values as its progress."""
        state = TrainingState(
            inputs_digest=self.inputs_digest,
            step=self.progress.step,
            total_steps=self.progress.total_steps,
            finished=finished,
            model=self.config.model_dump(mode="json"),
            progress=progress,
        )
        return Snapshot(state, self.model.state_dict(), moments(self.model, self.optimizers))

    @property
    def backbone_parameters(self) -> int:
        """Numbers in the backbone alone."""
        return sum(parameter.numel() for parameter in self.model.backbone.parameters())

    def _resume_or_begin(self) -> None:
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

    def _description(self) -> str:
        """The run in one line, for people."""
        batches, coverage = self.batches, self.batches.coverage
        return (
            f"{self.start.name}, {batches.total_steps} steps over {coverage.positions:,} loss positions of "
            f"{len(coverage.sequences):,} sequences, {batches.packing.efficiency:.1%} of the slots used, "
            f"{len(self.plan.eligible):,} eligible items, {self.backbone_parameters:,} backbone parameters"
        )

    def _save_partial(self) -> None:
        """Writes a resumable state."""
        checkpoint.save_partial(self.folder, self.snapshot(finished=False, progress=self.progress.plain()))


def load_data(context: StageContext, config: ModelConfig, start: Start) -> TrainingData:
    """Reads the cycle's tables. Raises DatasetError when they cannot be trained on."""
    cycle = context.cycle
    split_us = microseconds(cycle.split)
    after_us = None if start.after is None else microseconds(start.after)
    tables = CycleTables(context.settings.lake, cycle.source, cycle.name, context.versions)
    items = load_items(tables, config.features, _earlier_features(context, start, tables))
    sequences = load_sequences(tables, config.context_fields, after_us, split_us, items.items.count)
    items = _with_ages(items, sequences, cycle.window.total_seconds())
    pair_signals = None
    if config.reads_signals:
        signals = training_signals(tables, signals_shape(context), items.items.count)
        items = items.with_signals(signals.items)
        if config.pair_signals:
            pair_signals = _pair_signals(context, config, tables, signals, sequences)
    interval = LabelInterval(after_us, split_us)
    return TrainingData(items, sequences, interval, config.max_length + 1, pair_signals)


def configured_passes(context: StageContext, start: Start) -> float:
    """Passes over the loss positions that the configuration names for this start."""
    training = context.config.training
    return training.epochs if start.folder is None else training.finetune_epochs


def inputs_digest(context: StageContext, config: ModelConfig, start: Start, what: dict[str, Any]) -> str:
    """Digest of everything that a run's weights are a function of; `what` are plain values of the run."""
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
        "signals": asdict(signals_shape(context)) if config.reads_signals else None,
        "run": what,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _with_ages(items: CycleItems, sequences: Sequences, window_seconds: float) -> CycleItems:
    """The items with the time from which each may be a negative: its launch or, where that is unknown, one
    window before its first event. An item is young for one window after its first event: that is how old the items
    that an evaluation finds outside the vocabulary are at most.

    An evaluation ranks every item of unknown launch that has an event by the cutoff, so up to one window before its
    first. Were an item no negative before that event, an item without events would always be a label in training.
    """
    first = np.where(sequences.seen, sequences.first_seen_us / SECOND_US, np.nan)
    launched = items.items.launched_at_us
    since = np.where(launched == UNKNOWN_LAUNCH, first - window_seconds, launched / SECOND_US)
    return items.with_ages(torch.from_numpy(since), torch.from_numpy(first + window_seconds))


def _pair_signals(
    context: StageContext,
    config: ModelConfig,
    tables: CycleTables,
    signals: Signals,
    sequences: Sequences,
) -> Callable[[PositionRequests], PositionPairs]:
    log, shape = load_user_log(tables), signals_shape(context)
    content = {
        "rules": PAIR_RULES,
        "versions": {table.name: context.versions.get(table.name) for table in READABLE},
        "signals": asdict(shape),
        "items": signals.items.count,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    kept = KeptPairs(context.settings.pairs_folder(context.cycle.source, context.cycle.name) / digest)
    count = partial(
        pair_parts,
        log,
        successors=signals.successors,
        items=signals.items.count,
        bucket_us=signals.items.bucket_us,
    )

    def of(positions: PositionRequests) -> PositionPairs:
        started = time.perf_counter()
        requests = requests_of(sequences, log, positions)
        lists, new = kept.lists(requests, count)
        took = wording.seconds(round(time.perf_counter() - started))
        counted = f", {new:,} of them counted in {took}" if new else ", all counted before"
        context.say(f"pair signals: {lists.pairs:,} pairs of {lists.size:,} requests{counted}")
        return PositionPairs(positions, lists, config.actions)

    return of


def _earlier_features(context: StageContext, start: Start, tables: CycleTables) -> CycleTables | None:
    """The parent's tables, where training uses item features as of the parent's split."""
    if start.folder is None or context.config.training.features_as_of == "split":
        return None
    parent = context.cycle.parent
    versions = accepted.table_versions(context.settings, context.cycle.source, parent)
    return replace(tables, cycle=parent.cycle, versions=versions)
