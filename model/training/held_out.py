"""Labels held out at the end of the training interval, and the model's MRR on them while it trains.

Comes in: `Sequences`, the interval that is held out, a model and its candidates. Goes out: mean
reciprocal rank. A held-out label is ranked from the last position of its row strictly before it
(serving without a delay) among all training candidates. This watches training and chooses
hyperparameters; what a model is judged by is measured elsewhere, on the evaluation window.

Shape legend
    X  held-out examples    C  candidates
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.data.batches import LabelInterval
from model.data.candidates import tied_rank
from model.data.packing import Ints, assemble, pack, stretches
from model.data.sequences import Sequences
from model.draws import Purpose, random_stream
from model.network.batch import Batch, Catalogue
from model.network.recommender import Recommender, score

MOST_EXAMPLES = 2000
"""Examples at most; more are sampled, always the same ones."""
SCORES_AT_ONCE = 2**23
"""Scores held at once (32 MiB in float32), but those of one example at least."""
ITEMS_AT_ONCE = 65_536
"""Candidate vectors computed at once."""


@dataclass(frozen=True)
class HeldOut:
    """Batches of the examples' sequences, and which item was next."""

    batches: tuple[Batch, ...]
    """`label_slot` is where to rank from, `label_item` [·, 1] the label, `label_weight` 1."""

    @property
    def examples(self) -> int:
        """X"""
        return sum(len(batch.label_slot) for batch in self.batches)


def held_out(
    sequences: Sequences, interval: LabelInterval, batch_tokens: int, row_length: int, seed: int
) -> HeldOut:
    """Every high-value event of the interval that is a loss position, or MOST_EXAMPLES of them.

    One with no event before it is ranked from the start token, and left out where the row is not
    the beginning of its history.
    """
    owner, target = stretches(sequences.first_target, sequences.targets)
    index = sequences.target_position[target].astype(np.int64)
    place = sequences.first[owner] + index
    at_us = sequences.events.event_at_us[place]
    wanted = (index >= sequences.loss_start[owner]) & (at_us <= interval.until_us)
    if interval.after_us is not None:
        wanted &= at_us > interval.after_us
    owner, place, index, at_us = owner[wanted], place[wanted], index[wanted], at_us[wanted]
    # The label's own instant does not count as its history: walk back over the tie.
    before = index - 1
    while len(tied := np.flatnonzero((before >= 0) & (_at(sequences, owner, before) == at_us))):
        before[tied] -= 1
    possible = np.flatnonzero((before >= 0) | sequences.begins[owner])
    if len(possible) > MOST_EXAMPLES:
        stream = random_stream(Purpose.HELD_OUT, seed, 0)
        possible = np.sort(stream.choice(possible, MOST_EXAMPLES, replace=False))
    item = sequences.events.item_index[place[possible]].astype(np.int64)
    return HeldOut(_batches(sequences, owner[possible], before[possible], item, batch_tokens, row_length))


def _at(sequences: Sequences, owner: Ints, index: Ints) -> Ints:
    return sequences.events.event_at_us[sequences.first[owner] + np.maximum(index, 0)]


def _batches(
    sequences: Sequences, owner: Ints, before: Ints, item: Ints, batch_tokens: int, row_length: int
) -> tuple[Batch, ...]:
    """Packs the owners; `before` [X] is the index of the position to rank from, −1 the start token."""
    rows_of = np.unique(owner)
    slots = sequences.length[rows_of] + sequences.begins[rows_of]
    packing = pack(slots, row_length, random_stream(Purpose.HELD_OUT, 0, 1))
    row = np.repeat(np.arange(packing.rows), np.diff(packing.bounds))
    chosen = rows_of[packing.sequence]
    placed = sequences.placed(chosen, row, packing.slot)
    # Entry of the packing in which each example's sequence stands.
    entry = np.argsort(packing.sequence)[np.searchsorted(rows_of, owner)]
    slot = packing.slot[entry] + placed.begins[entry] + before
    at_once = max(1, batch_tokens // row_length)
    batches = []
    for start in range(0, packing.rows, at_once):
        rows = min(at_once, packing.rows - start)
        here = (row >= start) & (row < start + rows)
        part = sequences.placed(chosen[here], row[here] - start, packing.slot[here])
        mine = (row[entry] >= start) & (row[entry] < start + rows)
        batches.append(
            replace(
                assemble(sequences.events, part, rows, row_length),
                label_slot=torch.from_numpy((row[entry] - start)[mine] * row_length + slot[mine]),
                label_item=torch.from_numpy(item[mine])[:, None],
                label_weight=torch.ones(int(mine.sum()), 1),
            )
        )
    return tuple(batches)


@torch.no_grad()
def held_out_mrr(model: Recommender, catalogue: Catalogue, candidates: Tensor, examples: HeldOut) -> float:
    """Mean of 1 / rank of the held-out labels among the candidates; NaN without examples.

    A label that is no candidate counts at rank C + 1; ties count half. The model is left in the
    mode it was in.
    """
    was_training = model.training
    model.eval()
    try:
        users, items = [], []
        for batch in examples.batches:
            batch = batch.to(candidates.device)
            hidden = model.encode(batch, catalogue).flatten(0, 1)
            users.append(model.user_vectors(hidden[batch.label_slot]).float())
            items.append(batch.label_item[:, 0])
        if not users:
            return float("nan")
        blocks = [model.item_vectors(block, catalogue).float() for block in candidates.split(ITEMS_AT_ONCE)]
        return float((1 / _ranks(torch.cat(users), torch.cat(items), candidates, torch.cat(blocks))).mean())
    finally:
        model.train(was_training)


def _ranks(users: Tensor, label: Tensor, candidates: Tensor, vectors: Tensor) -> np.ndarray:
    """float64 [X]; `candidates` int64 [C] ascending, `vectors` [C, d_out]."""
    column = torch.searchsorted(candidates, label).clamp(max=len(candidates) - 1)
    at_once = max(1, SCORES_AT_ONCE // len(candidates))
    ranks = []
    for user, own in zip(users.split(at_once), column.split(at_once), strict=True):
        scores = score(user, vectors)
        target = scores.gather(1, own[:, None])
        higher, equal = (scores > target).sum(dim=1), (scores == target).sum(dim=1) - 1
        ranks.append(tied_rank(higher.cpu().numpy(), equal.cpu().numpy()))
    inside = (candidates[column] == label).cpu().numpy()
    return np.where(inside, np.concatenate(ranks), len(candidates) + 1.0)
