"""The batches of a training run: a pure function of (seed, step, data), so that a run can be resumed.

Comes in: `Sequences`, the objective, and the interval of the labels. Goes out: the batch of any
step. Sequences are packed into rows once; every epoch shuffles the rows anew and deals them into
batches of nearly equal size, so that all epochs have the same number of steps. It does not know
the model, nor which steps were already taken.

Shape legend
    S  sequences    n  positions asked for    T  high-value events    K  labels of a position at most
    R  rows of a batch    L  slots of a row    P  loss positions of a batch
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from model.config import ObjectiveConfig
from model.data.cycle_tables import DatasetError
from model.data.labels import NO_ITEM, HighValueEvents, LabelSets, Positions, label_sets
from model.data.packing import Ints, Packing, assemble, pack, stretches
from model.data.sequences import Sequences
from model.draws import Purpose, random_stream
from model.network.batch import Batch
from model.network.multi_token_loss import NEGLIGIBLE_WEIGHT

START = -1
"""Index of a start token's position within its sequence."""
ROWS_AT_ONCE = 4096
"""Sequences whose labels are looked up at once while those without any are dropped."""


@dataclass(frozen=True)
class LabelInterval:
    """Labels with after < time ≤ until are trained on; None does not bind. Microseconds UTC."""

    after_us: int | None
    until_us: int


@dataclass(frozen=True)
class LossPositions:
    """Loss positions of some sequences."""

    owner: Ints
    """int64 [n]; number of the sequence among those given."""
    index: Ints
    """int64 [n]; index within the sequence, START for its start token."""
    positions: Positions


@dataclass(frozen=True)
class Coverage:
    """What the labels of an interval come to."""

    sequences: Ints
    """int64; sequences with a label."""
    positions: int
    """Loss positions that have a label."""
    labels: int
    negligible_labels: int
    """Labels that weigh less than NEGLIGIBLE_WEIGHT."""


def loss_positions(sequences: Sequences, chosen: Ints, objective: ObjectiveConfig) -> LossPositions:
    """Where a loss may be taken: every event from `loss_start` on, and the start token.

    With `tied_positions = "last"`, of events at the same instant only the last is kept: all of them
    have the same labels, and only there is the context what it is when a request comes. A row's
    last event is kept though the next row may go on with the same instant.
    """
    placed = sequences.placed(chosen)
    owner, place = stretches(placed.first, placed.length)
    index = place - placed.first[owner]
    at_us = sequences.events.event_at_us[place]
    wanted = index >= sequences.loss_start[chosen][owner]
    if objective.tied_positions == "last":
        goes_on = np.zeros(len(place), dtype=bool)
        goes_on[:-1] = (owner[1:] == owner[:-1]) & (at_us[1:] == at_us[:-1])
        wanted &= ~goes_on
    starts = np.flatnonzero(placed.begins)
    return LossPositions(
        owner=np.concatenate([starts, owner[wanted]]),
        index=np.concatenate([np.full(len(starts), START), index[wanted]]),
        positions=Positions(
            row=np.concatenate([starts, owner[wanted]]),
            item_index=np.concatenate(
                [np.full(len(starts), NO_ITEM), sequences.events.item_index[place[wanted]].astype(np.int64)]
            ),
            # A start token stands a microsecond before the first event, which can so be its label.
            at_us=np.concatenate([sequences.events.event_at_us[placed.first[starts]] - 1, at_us[wanted]]),
        ),
    )


def high_value_events(sequences: Sequences, chosen: Ints) -> HighValueEvents:
    """High-value events of some sequences and of their tails, in order of sequence and time."""
    owner, target = stretches(sequences.first_target[chosen], sequences.targets[chosen])
    place = sequences.first[chosen][owner] + sequences.target_position[target]
    tail_owner, tail = stretches(sequences.first_tail[chosen], sequences.tails[chosen])
    row = np.concatenate([owner, tail_owner])
    order = np.argsort(row, kind="stable")  # a row's own events come before its tail
    events = sequences.events
    item_index = np.concatenate([events.item_index[place], sequences.tail_item_index[tail]])[order]
    return HighValueEvents(
        row=row[order],
        item_index=item_index.astype(np.int64),
        at_us=np.concatenate([events.event_at_us[place], sequences.tail_event_at_us[tail]])[order],
        reward=np.concatenate([events.reward[place], sequences.tail_reward[tail]])[order],
    )


def labels_of(
    sequences: Sequences, chosen: Ints, objective: ObjectiveConfig, interval: LabelInterval
) -> tuple[LossPositions, LabelSets]:
    """Loss positions of some sequences and the label sets of those that have any."""
    where = loss_positions(sequences, chosen, objective)
    events = high_value_events(sequences, chosen)
    return where, label_sets(where.positions, events, objective, interval.after_us, interval.until_us)


def coverage(sequences: Sequences, objective: ObjectiveConfig, interval: LabelInterval) -> Coverage:
    """Which sequences have a label in the interval, and how many labels there are."""
    kept, positions, labels, negligible = [], 0, 0, 0
    for start in range(0, sequences.rows, ROWS_AT_ONCE):
        chosen = np.arange(start, min(start + ROWS_AT_ONCE, sequences.rows))
        where, found = labels_of(sequences, chosen, objective, interval)
        kept.append(start + np.unique(where.owner[found.position]))
        positions += len(found.position)
        labels += int((found.weight > 0).sum())
        negligible += int(((found.weight > 0) & (found.weight < NEGLIGIBLE_WEIGHT)).sum())
    return Coverage(np.concatenate(kept), positions, labels, negligible)


class TrainingBatches(Dataset[Batch]):
    """The batch of every step, [0, total_steps). Holds the sequences and 24 bytes a packed one."""

    def __init__(
        self,
        sequences: Sequences,
        objective: ObjectiveConfig,
        interval: LabelInterval,
        batch_tokens: int,
        row_length: int,
        epochs: float,
        seed: int,
    ) -> None:
        """Raises DatasetError when no position has a label in the interval."""
        self.sequences, self.objective, self.interval, self.seed = sequences, objective, interval, seed
        self.coverage = coverage(sequences, objective, interval)
        if not self.coverage.positions:
            raise DatasetError("no loss position has a label in the interval that is trained on")
        kept = self.coverage.sequences
        slots = sequences.length[kept] + sequences.begins[kept]
        packed = pack(slots, row_length, random_stream(Purpose.PACKING, seed, 0))
        self.packing: Packing = replace(packed, sequence=kept[packed.sequence])
        rows_per_batch = max(1, round(batch_tokens / row_length))
        self.steps_per_epoch = -(-packed.rows // rows_per_batch)
        self.total_steps = max(1, round(epochs * self.steps_per_epoch))
        self._epoch, self._dealt = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.total_steps

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step counted from 0 over all epochs."""
        return self.batch(self.rows_of(step))

    def rows_of(self, step: int) -> Ints:
        """Packed rows of a step's batch, int64 [R]."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            stream = random_stream(Purpose.EPOCH, self.seed, epoch)
            self._epoch, self._dealt = epoch, stream.permutation(self.packing.rows)
        rows, steps = self.packing.rows, self.steps_per_epoch
        return self._dealt[number * rows // steps : (number + 1) * rows // steps]

    def batch(self, rows: Ints) -> Batch:
        """The batch of some packed rows, with its label sets."""
        packing, sequences = self.packing, self.sequences
        row, entry = stretches(packing.bounds[rows], packing.bounds[rows + 1] - packing.bounds[rows])
        chosen = packing.sequence[entry]
        placed = sequences.placed(chosen, row, packing.slot[entry])
        batch = assemble(sequences.events, placed, len(rows), packing.row_length)
        where, found = labels_of(sequences, chosen, self.objective, self.interval)
        owner = where.owner[found.position]
        begin = (row * packing.row_length + placed.slot + placed.begins)[owner]
        return replace(
            batch,
            label_slot=torch.from_numpy(begin + where.index[found.position]),
            label_item=torch.from_numpy(found.item_index),
            label_weight=torch.from_numpy(found.weight),
            label_at_seconds=torch.from_numpy(found.first_at_us / 1e6),
        )
