"""The batches of a training run: a pure function of (seed, step, data), so that a run can be resumed.

Sequences are packed into rows once; every epoch shuffles the rows and splits them into batches of nearly
equal size, so that all epochs have the same number of steps.

Shape legend
    S  sequences    n  loss positions of some sequences    K  most labels of a position
    R  rows of a batch    L  slots of a row    P  loss positions of a batch that have a label
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset

from expectations.instants import SECOND_US
from model.arrays import Flags, Ints, stretches
from model.config import ObjectiveConfig
from model.data.cycle_tables import DatasetError
from model.data.labels import LATEST_US, NO_ITEM, HighValueEvents, LabelSets, Positions, label_sets
from model.data.packing import Packing, assemble, pack
from model.data.pair_signals import PairLists, Requests, pairs_of
from model.data.sequences import Sequences
from model.data.user_log import UserLog
from model.draws import Purpose, random_stream
from model.network.batch import Batch
from model.network.multi_token_loss import NEGLIGIBLE_WEIGHT
from model.network.pair_signals import Pairs

START = -1
"""Index of a start token's position within its sequence."""
ROWS_AT_ONCE = 4096
"""Sequences whose labels are counted at once."""


@dataclass(frozen=True)
class LabelInterval:
    """Labels with after < time ≤ until are trained on; None: no lower bound. Microseconds UTC."""

    after_us: int | None
    until_us: int


@dataclass(frozen=True)
class LossPositions:
    """Loss positions of some sequences."""

    owner: Ints
    """int64 [n]; index of the sequence among those given."""
    index: Ints
    """int64 [n]; index within the sequence, START for its start token."""
    positions: Positions
    next_at_us: Ints
    """int64 [n]; time of the next event of the row, LATEST_US where there is none."""


@dataclass(frozen=True)
class Coverage:
    """How much of the sequences an interval's labels cover."""

    sequences: Ints
    """int64; the sequences that have a label."""
    positions: int
    """Loss positions that have a label."""
    labels: int
    negligible_labels: int
    """Labels whose weight is below NEGLIGIBLE_WEIGHT."""
    requests: PositionRequests
    """The loss positions that have a label, as requests."""


@dataclass(frozen=True)
class PositionRequests:
    """Loss positions that have a label; int64 [n] each, in order of sequence and index."""

    sequence: Ints
    index: Ints
    """Index within the sequence, START for its start token."""
    at_us: Ints
    """Time of the first label."""


def loss_positions(sequences: Sequences, chosen: Ints, objective: ObjectiveConfig) -> LossPositions:
    """The positions that a loss is computed at: every event from `loss_start` on, and the start token.

    `tied_positions = "last"` keeps only the last of events at one instant: tied events share labels; only
    the last one's context matches what serving sees. A row's last event is kept even if the next row
    continues the same instant.
    """
    placed = sequences.placed(chosen)
    owner, event = stretches(placed.first, placed.length)
    index = event - placed.first[owner]
    at_us = sequences.events.event_at_us[event]
    kept = index >= sequences.loss_start[chosen][owner]
    next_at = np.full(len(event), LATEST_US)
    next_at[:-1] = np.where(owner[1:] == owner[:-1], at_us[1:], LATEST_US)
    if objective.tied_positions == "last":
        tied_with_next = np.zeros(len(event), dtype=bool)
        tied_with_next[:-1] = (owner[1:] == owner[:-1]) & (at_us[1:] == at_us[:-1])
        kept &= ~tied_with_next
    starts = np.flatnonzero(placed.begins)
    return LossPositions(
        owner=np.concatenate([starts, owner[kept]]),
        index=np.concatenate([np.full(len(starts), START), index[kept]]),
        next_at_us=np.concatenate([sequences.events.event_at_us[placed.first[starts]], next_at[kept]]),
        positions=Positions(
            row=np.concatenate([starts, owner[kept]]),
            item_index=np.concatenate(
                [np.full(len(starts), NO_ITEM), sequences.events.item_index[event[kept]].astype(np.int64)]
            ),
            # A start token lies a microsecond before the first event, so that the event can be its label.
            at_us=np.concatenate([sequences.events.event_at_us[placed.first[starts]] - 1, at_us[kept]]),
        ),
    )


def high_value_events(sequences: Sequences, chosen: Ints) -> HighValueEvents:
    """High-value events of some sequences and of their tails, in order of sequence, then of time."""
    owner, target = stretches(sequences.first_target[chosen], sequences.targets[chosen])
    event = sequences.first[chosen][owner] + sequences.target_position[target]
    tail_owner, tail = stretches(sequences.first_tail[chosen], sequences.tails[chosen])
    row = np.concatenate([owner, tail_owner])
    order = np.argsort(row, kind="stable")  # a row's own events come before its tail
    events = sequences.events
    item_index = np.concatenate([events.item_index[event], sequences.tail_item_index[tail]])[order]
    return HighValueEvents(
        row=row[order],
        item_index=item_index.astype(np.int64),
        at_us=np.concatenate([events.event_at_us[event], sequences.tail_event_at_us[tail]])[order],
        reward=np.concatenate([events.reward[event], sequences.tail_reward[tail]])[order],
    )


def labels_of(
    sequences: Sequences, chosen: Ints, objective: ObjectiveConfig, interval: LabelInterval
) -> tuple[LossPositions, LabelSets]:
    """Loss positions of some sequences, and the label sets of those that have any."""
    losses = loss_positions(sequences, chosen, objective)
    events = high_value_events(sequences, chosen)
    sets = label_sets(losses.positions, events, objective, interval.after_us, interval.until_us)
    if objective.positions == "requests":
        sets = sets.only(losses.next_at_us[sets.position] >= sets.first_at_us)
    return losses, sets


def coverage(sequences: Sequences, objective: ObjectiveConfig, interval: LabelInterval) -> Coverage:
    """Which sequences have a label in the interval, and how many labels there are."""
    covered, positions, labels, negligible = [], 0, 0, 0
    requests: list[tuple[Ints, Ints, Ints]] = []
    for start in range(0, sequences.rows, ROWS_AT_ONCE):
        chosen = np.arange(start, min(start + ROWS_AT_ONCE, sequences.rows))
        losses, sets = labels_of(sequences, chosen, objective, interval)
        covered.append(start + np.unique(losses.owner[sets.position]))
        positions += len(sets.position)
        requests.append((start + losses.owner[sets.position], losses.index[sets.position], sets.first_at_us))
        labels += int((sets.weight > 0).sum())
        negligible += int(((sets.weight > 0) & (sets.weight < NEGLIGIBLE_WEIGHT)).sum())
    sequence, index, at_us = (np.concatenate(column) for column in zip(*requests, strict=True))
    order = np.lexsort((index, sequence))
    asked = PositionRequests(sequence[order], index[order], at_us[order])
    return Coverage(np.concatenate(covered), positions, labels, negligible, asked)


def requests_of(sequences: Sequences, log: UserLog, positions: PositionRequests) -> Requests:
    """The positions as requests of users' whole histories."""
    user = pc.index_in(sequences.user_id, value_set=log.user_id).to_numpy().astype(np.int64)
    user = user[positions.sequence]
    place = sequences.first_position[positions.sequence] + positions.index + 1
    return Requests(user, log.offset[user] + place, positions.at_us)


@dataclass(frozen=True)
class PositionPairs:
    """Pair signals of loss positions."""

    positions: PositionRequests
    lists: PairLists
    """In the order of `positions`."""
    actions: int
    """Actions of the source."""

    def of(
        self,
        sequence: Ints,
        index: Ints,
        label_item: Ints,
        is_label: Flags,
        stream: np.random.Generator | None = None,
    ) -> Pairs:
        """Pairs of some of the positions, given by sequence and index; labels int64 and bool [P, K]. `stream` draws
        a sample."""
        stride = int(self.positions.index.max()) + 2
        key = self.positions.sequence * stride + self.positions.index
        number = np.searchsorted(key, sequence * stride + index)
        return pairs_of(self.lists, number, label_item, is_label, self.actions, stream)


class TrainingBatches(Dataset[Batch]):
    """The batches of the steps [0, total_steps). Holds the sequences, and 24 bytes for each packed one."""

    def __init__(
        self,
        sequences: Sequences,
        objective: ObjectiveConfig,
        interval: LabelInterval,
        batch_tokens: int,
        row_length: int,
        epochs: float,
        seed: int,
        pair_signals: Callable[[PositionRequests], PositionPairs] | None = None,
    ) -> None:
        """`pair_signals` makes the pair signals of the positions that have a label; None for a model that
        reads none. Raises DatasetError when no position has a label in the interval."""
        self.sequences, self.objective, self.interval, self.seed = sequences, objective, interval, seed
        self.coverage = coverage(sequences, objective, interval)
        if not self.coverage.positions:
            raise DatasetError("no loss position has a label in the training interval")
        self.pairs = None if pair_signals is None else pair_signals(self.coverage.requests)
        kept = self.coverage.sequences
        slots = sequences.length[kept] + sequences.begins[kept]
        packed = pack(slots, row_length, random_stream(Purpose.PACKING, seed, 0))
        self.packing: Packing = replace(packed, sequence=kept[packed.sequence])
        rows_per_batch = max(1, round(batch_tokens / row_length))
        self.steps_per_epoch = -(-packed.rows // rows_per_batch)
        self.total_steps = max(1, round(epochs * self.steps_per_epoch))
        self._epoch, self._shuffled = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        return self.total_steps

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        return self.batch(self.rows_of(step), random_stream(Purpose.PAIRS, self.seed, step))

    def rows_of(self, step: int) -> Ints:
        """Packed rows of a step's batch, int64 [R]."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            stream = random_stream(Purpose.EPOCH, self.seed, epoch)
            self._epoch, self._shuffled = epoch, stream.permutation(self.packing.rows)
        rows, steps = self.packing.rows, self.steps_per_epoch
        return self._shuffled[number * rows // steps : (number + 1) * rows // steps]

    def batch(self, rows: Ints, stream: np.random.Generator | None = None) -> Batch:
        """The batch of some packed rows, with its label sets; `stream` draws a sample of its pairs."""
        packing, sequences = self.packing, self.sequences
        row, entry = stretches(packing.bounds[rows], packing.bounds[rows + 1] - packing.bounds[rows])
        chosen = packing.sequence[entry]
        placed = sequences.placed(chosen, row, packing.slot[entry])
        batch = assemble(sequences.events, placed, len(rows), packing.row_length)
        losses, sets = labels_of(sequences, chosen, self.objective, self.interval)
        owner = losses.owner[sets.position]
        pairs = None
        if self.pairs is not None:
            index = losses.index[sets.position]
            pairs = self.pairs.of(chosen[owner], index, sets.item_index, sets.weight > 0, stream)
        first_event_slot = (row * packing.row_length + placed.slot + placed.begins)[owner]
        return replace(
            batch,
            label_slot=torch.from_numpy(first_event_slot + losses.index[sets.position]),
            label_item=torch.from_numpy(sets.item_index),
            label_weight=torch.from_numpy(sets.weight),
            earlier_item=torch.from_numpy(sets.earlier_item)
            if (sets.earlier_item != NO_ITEM).any()
            else None,
            label_at_seconds=torch.from_numpy(sets.first_at_us / SECOND_US),
            pairs=pairs,
        )
