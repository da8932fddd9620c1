"""Held-out MRR: the model's mean reciprocal rank on the last labels before the split, while it trains.

A held-out label is ranked from the last position of its row strictly before it (serving without a
delay), among all items that are eligible in training. Held-out MRR finds the number of passes and helps a
person choose hyperparameters; gates judge a model on the evaluation window instead.

Shape legend
    X  held-out examples    C  eligible items    Y  high-value events of an interval
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from expectations.instants import SECOND_US
from model.arrays import Floats, Ints, stretches
from model.data.batches import LabelInterval, PositionPairs, PositionRequests
from model.data.packing import assemble, pack
from model.data.pair_signals import pairs_of
from model.data.sequences import Sequences
from model.draws import Purpose, random_stream
from model.evaluation.metrics import tied_rank
from model.network.batch import Batch
from model.network.catalogue import Catalogue
from model.network.pair_signals import Pairs
from model.network.recommender import Recommender

MOST_EXAMPLES = 2000
"""Most examples; of more, a fixed sample is used."""
SCORES_AT_ONCE = 2**23
"""Scores held at once (32 MiB in float32), or those of one example if that is more."""
ITEMS_AT_ONCE = 65_536
"""Item vectors computed at once."""
LARGEST_SHARE = 0.25
"""Largest share of an interval, and of its labels, that is held out."""


@dataclass(frozen=True)
class HeldOut:
    """Batches of the examples' sequences."""

    batches: tuple[Batch, ...]
    """`label_slot` is the position to rank from, `label_item` [·, 1] the label, `label_weight` 1."""

    @property
    def examples(self) -> int:
        """X"""
        return sum(len(batch.label_slot) for batch in self.batches)


def held_out_interval(
    label_at_us: Ints, interval: LabelInterval, longest_us: int
) -> tuple[LabelInterval, LabelInterval]:
    """Cuts a training interval in two: what is trained on, and the held-out end of it.

    `label_at_us` int64 [Y] are the times of the interval's labels, at least one. The end is at most
    `longest_us` long, at most LARGEST_SHARE of the interval, which for a first cycle begins at its first
    label, and holds at most LARGEST_SHARE of the labels. It may hold none.

    Labels at 1, 2, …, 8 of the interval (0, 8], longest 4 → (0, 6] and (6, 8].
    """
    ordered = np.sort(label_at_us)
    begin_us = int(ordered[0]) if interval.after_us is None else interval.after_us
    by_time = interval.until_us - int(LARGEST_SHARE * (interval.until_us - begin_us))
    by_labels = int(ordered[ordered.size - int(LARGEST_SHARE * ordered.size) - 1])
    cut_us = max(interval.until_us - longest_us, by_time, by_labels)
    return LabelInterval(interval.after_us, cut_us), LabelInterval(cut_us, interval.until_us)


def label_times(sequences: Sequences, interval: LabelInterval) -> Ints:
    """Times of the interval's high-value events at loss positions, int64 [Y]; microseconds UTC."""
    return _labels(sequences, interval)[3]


def _labels(sequences: Sequences, interval: LabelInterval) -> tuple[Ints, Ints, Ints, Ints]:
    """The interval's high-value events at loss positions, int64 [Y] each: their sequence, their place among
    all events and within the sequence, and their time."""
    owner, target = stretches(sequences.first_target, sequences.targets)
    index = sequences.target_position[target].astype(np.int64)
    event = sequences.first[owner] + index
    at_us = sequences.events.event_at_us[event]
    kept = (index >= sequences.loss_start[owner]) & (at_us <= interval.until_us)
    if interval.after_us is not None:
        kept &= at_us > interval.after_us
    return owner[kept], event[kept], index[kept], at_us[kept]


def held_out(
    sequences: Sequences,
    interval: LabelInterval,
    batch_tokens: int,
    row_length: int,
    seed: int,
    pair_signals: Callable[[PositionRequests], PositionPairs] | None = None,
) -> HeldOut:
    """Every high-value event of the interval that is a loss position, or MOST_EXAMPLES of them.

    An event with none before it in its row is ranked from the start token, or skipped if the row does
    not begin its history.
    """
    owner, event, index, at_us = _labels(sequences, interval)
    # Events at the label's own instant are not part of its history: step back over the tie.
    before = index - 1
    while len(tied := np.flatnonzero((before >= 0) & (_at(sequences, owner, before) == at_us))):
        before[tied] -= 1
    possible = np.flatnonzero((before >= 0) | sequences.begins[owner])
    if len(possible) > MOST_EXAMPLES:
        stream = random_stream(Purpose.HELD_OUT, seed, 0)
        possible = np.sort(stream.choice(possible, MOST_EXAMPLES, replace=False))
    item = sequences.events.item_index[event[possible]].astype(np.int64)
    owner, before, at_us = owner[possible], before[possible], at_us[possible]
    pairs = None
    if pair_signals is not None:
        pairs = pair_signals(PositionRequests(owner, before, at_us))
    return HeldOut(_batches(sequences, owner, before, item, at_us, batch_tokens, row_length, pairs))


def _at(sequences: Sequences, owner: Ints, index: Ints) -> Ints:
    return sequences.events.event_at_us[sequences.first[owner] + np.maximum(index, 0)]


def _batches(
    sequences: Sequences,
    owner: Ints,
    before: Ints,
    item: Ints,
    at_us: Ints,
    batch_tokens: int,
    row_length: int,
    pairs: PositionPairs | None,
) -> tuple[Batch, ...]:
    """Packs the sequences `owner` [X]; `before` [X] is the index to rank from, −1 for the start token."""
    distinct = np.unique(owner)
    slots = sequences.length[distinct] + sequences.begins[distinct]
    packing = pack(slots, row_length, random_stream(Purpose.HELD_OUT, 0, 1))
    row = np.repeat(np.arange(packing.rows), np.diff(packing.bounds))
    chosen = distinct[packing.sequence]
    placed = sequences.placed(chosen, row, packing.slot)
    # Index into the packing of each example's sequence.
    entry = np.argsort(packing.sequence)[np.searchsorted(distinct, owner)]
    slot = packing.slot[entry] + placed.begins[entry] + before
    rows_at_once = max(1, batch_tokens // row_length)
    batches = []
    for start in range(0, packing.rows, rows_at_once):
        rows = min(rows_at_once, packing.rows - start)
        in_batch = (row >= start) & (row < start + rows)
        part = sequences.placed(chosen[in_batch], row[in_batch] - start, packing.slot[in_batch])
        examples = in_batch[entry]
        batches.append(
            replace(
                assemble(sequences.events, part, rows, row_length),
                label_slot=torch.from_numpy((row[entry] - start)[examples] * row_length + slot[examples]),
                label_item=torch.from_numpy(item[examples])[:, None],
                label_weight=torch.ones(int(examples.sum()), 1),
                label_at_seconds=torch.from_numpy(at_us[examples] / SECOND_US),
                pairs=None if pairs is None else _pairs(pairs, np.flatnonzero(examples), item[examples]),
            )
        )
    return tuple(batches)


def _pairs(pairs: PositionPairs, example: Ints, item: Ints) -> Pairs:
    """Pairs of some examples, given by their number; the list of an example has its number."""
    label = item[:, None]
    return pairs_of(pairs.lists, example, label, np.ones_like(label, dtype=bool), pairs.actions)


@torch.no_grad()
def held_out_mrr(model: Recommender, catalogue: Catalogue, eligible: Tensor, examples: HeldOut) -> float:
    """Mean of 1 / rank of the held-out labels among the eligible items; NaN without examples.

    A label that is not eligible has rank C + 1; ties count half. The model returns to the mode it was in.
    """
    was_training = model.training
    model.eval()
    try:
        ranks = []
        vectors = torch.cat([model.item_vectors(block, catalogue) for block in eligible.split(ITEMS_AT_ONCE)])
        for batch in examples.batches:
            batch = batch.to(eligible.device)
            users = model.request_vectors(model.encode(batch, catalogue), batch).float()
            for part in torch.arange(len(users), device=users.device).split(at_once(model, eligible)):
                asked = batch.positions(part)
                scores = model.request_scores(users[part], asked, catalogue, eligible, vectors.float())
                ranks.append(_ranks(scores, asked.label_item[:, 0], eligible))
        return float((1 / np.concatenate(ranks)).mean()) if ranks else float("nan")
    finally:
        model.train(was_training)


def at_once(model: Recommender, eligible: Tensor) -> int:
    """Examples whose scores, and signals of every eligible item, are held at once."""
    numbers = 1 if model.item_term is None else model.item_term.weights.out_features
    return max(1, SCORES_AT_ONCE // (numbers * max(len(eligible), 1)))


def _ranks(scores: Tensor, label: Tensor, eligible: Tensor) -> Floats:
    """Rank of each label, float64 [X]; scores [X, C] of `eligible`, int64 [C] ascending."""
    column = torch.searchsorted(eligible, label).clamp(max=len(eligible) - 1)
    target = scores.gather(1, column[:, None])
    higher, equal = (scores > target).sum(dim=1), (scores == target).sum(dim=1) - 1
    inside = (eligible[column] == label).cpu().numpy()
    ranks = tied_rank(higher.cpu().numpy(), equal.cpu().numpy())
    return np.where(inside, ranks, len(eligible) + 1.0)
