"""Ranks of labels among all eligible items, streamed over items and examples.

Scores are held for one block of examples × items at a time and never stored.

Cost: examples × |C| × d_out multiply-adds, and each user's history encoded once in windows, however many
labels and delays are ranked from it.

Shape legend
    D  distinct (user, end of history, time of the request)     Q  queries: examples under every condition
    M  eligible items in order of launch       B  queries of a block     J  items of a block
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.arrays import Flags, Floats, Ints
from model.data.eligible_items import EligibleItems
from model.data.histories import Histories
from model.evaluation.beside import Beside
from model.evaluation.examples import Examples
from model.evaluation.metrics import tied_rank
from model.evaluation.seen import SeenItems
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender, score
from model.serving.encoding import UNKNOWN_TIME, encode_histories, encode_items

BLOCK_SCORES = 4_194_304
"""Scores held at once (16 MiB in float32)."""
FEWEST_ROWS = 64
"""Minimum rows per matmul; with fewer, rounding breaks ties between equal items."""


class NotFiniteScoreError(ArithmeticError):
    """A score that is not a finite number: the model cannot be evaluated."""


@dataclass(frozen=True)
class View:
    """What each example is ranked from; int64 [X] each."""

    user: Ints
    """Whose history: an index into the examples' histories."""
    end: Ints
    """Where it ends, see `examples.history_ends`."""
    requested_at_us: Ints
    """Time of the request, see `examples.request_times`; used where the history is empty."""


@dataclass(frozen=True)
class Ranking:
    """Rank and log-probability of every label."""

    rank: Floats
    """float64 [X]; 1 is best, a tie counts half, |C| + 1 for a label that is not eligible."""
    log_probability: Floats
    """float64 [X]; natural logarithm, over all eligible items; NaN for a label that is not eligible."""
    rank_unseen: Floats | None = None
    """float64 [X]; rank among the eligible items that the user does not have, NaN for a label whose item he
    has. None: not counted."""
    shown: Ints | None = None
    """int64 [N]; in how many lists of ten, one a label, each item is. None: not counted."""


def rank_examples(
    recommender: Recommender,
    catalogue: Catalogue,
    examples: Examples,
    eligible: EligibleItems,
    views: list[View],
    context_length: int,
    block_items: int = 65536,
    listed: int | None = None,
) -> list[Ranking]:
    """One `Ranking` per view, computed on the recommender's device without dropout; the lists of the view
    number `listed` are counted.

    Raises NotFiniteScoreError when any score of an eligible item is not finite, and ValueError when the
    catalogue does not fit the model.
    """
    recommender.check(catalogue)
    was_training = recommender.training
    recommender.eval()
    try:
        with torch.inference_mode():
            timed = recommender.freshness is not None
            states = np.concatenate([_states(view, examples.histories, timed) for view in views])
            distinct, state = np.unique(states, axis=0, return_inverse=True)
            users = encode_histories(
                recommender, catalogue, examples.histories, *distinct[:, :2].T, context_length, distinct[:, 2]
            )
            items = encode_items(recommender, catalogue, eligible.item_index)
            size = np.tile(eligible.sizes_at(examples.event_at_us), len(views))
            column = np.tile(eligible.column[examples.item_index], len(views))
            beside = Beside(
                SeenItems.of(examples.histories, *states[:, :2].T),
                eligible.column,
                column,
                size,
                np.repeat(np.arange(len(views)) == listed, examples.size),
            )
            whole = rank_targets(users, state.reshape(-1), items, column, size, block_items, beside)
    finally:
        recommender.train(was_training)
    parts = [
        slice(start, start + examples.size) for start in range(0, len(views) * examples.size, examples.size)
    ]
    unseen = beside.rank_unseen(whole.rank)
    shown = beside.shown(eligible.item_index, eligible.column.size)
    return [
        Ranking(
            whole.rank[part], whole.log_probability[part], unseen[part], shown if view == listed else None
        )
        for view, part in enumerate(parts)
    ]


def _states(view: View, histories: Histories, timed: bool) -> Ints:
    """User, end and time of the request of every example, int64 [X, 3].

    The time matters only to a model that reads it and for an empty history; elsewhere it is UNKNOWN_TIME,
    so that equal states are encoded once.
    """
    is_empty = (view.end == histories.offset[view.user]) & timed
    return np.stack([view.user, view.end, np.where(is_empty, view.requested_at_us, UNKNOWN_TIME)], axis=1)


def rank_targets(
    users: Tensor,
    state: Ints,
    items: Tensor,
    column: Ints,
    size: Ints,
    block_items: int = 65536,
    beside: Beside | None = None,
) -> Ranking:
    """Ranks labels by inner products, in blocks; `beside` is shown every block's scores.

    `users` [D, d_out]; `state` int64 [Q], the row of each query in it; `items` [M, d_out] in order of
    launch; `column` int64 [Q], the label's row of `items` (M for none); `size` int64 [Q]: the first `size`
    items are eligible. Every product has the same shape, so that equal vectors have equal scores in every
    block; a label's score is read from its own block's product. Raises NotFiniteScoreError as
    `rank_examples`.
    """
    total = items.shape[0]
    width = max(1, min(block_items, total))
    rows = max(FEWEST_ROWS, min(BLOCK_SCORES // width, state.size))
    blocks = [_padded(items[start : start + width], width) for start in range(0, total, width)]
    inside = column < size
    order = np.argsort(size, kind="stable")
    known = None if len(blocks) <= 1 else _label_scores(users, state, blocks, column, inside, rows)
    rank, log_probability = np.empty(state.size), np.empty(state.size)
    for start in range(0, state.size, rows):
        chosen = order[start : start + rows]
        block_users = _padded(users[_index(state[chosen], users)], rows)
        own = _index(np.where(inside[chosen], column[chosen], 0), users)
        limit = _index(size[chosen], users)
        target = None if known is None else known[_index(chosen, users)]
        higher = torch.zeros(chosen.size, dtype=torch.int64, device=users.device)
        equal = torch.zeros_like(higher)
        total_log = torch.full((chosen.size,), -torch.inf, device=users.device)
        if beside is not None:
            beside.begin(chosen, users.device)
        for number, block in enumerate(blocks):
            begin = number * width
            if begin >= size[chosen].max():
                break
            scores = _finite(score(block_users, block)[: chosen.size])  # [B, J]
            if target is None:
                target = scores.gather(1, own.unsqueeze(1)).squeeze(1)
            if size[chosen].min() < begin + width:
                columns = torch.arange(begin, begin + width, device=users.device)
                scores = scores.masked_fill(columns >= limit.unsqueeze(1), -torch.inf)
            if beside is not None:
                beside.block(scores, target, begin)
            total_log = torch.logaddexp(total_log, scores.logsumexp(dim=1))
            here = ((own >= begin) & (own < begin + width)).nonzero().squeeze(1)
            scores[here, own[here] - begin] = -torch.inf  # the label is not its own rival
            higher += _count(scores > target.unsqueeze(1))
            equal += _count(scores == target.unsqueeze(1))
        if beside is not None:
            beside.end()
        outside = size[chosen] + 1.0
        ranks = tied_rank(higher.cpu().numpy(), equal.cpu().numpy())
        rank[chosen] = np.where(inside[chosen], ranks, outside)
        logs = np.full(chosen.size, np.nan) if target is None else (target - total_log).double().cpu().numpy()
        log_probability[chosen] = np.where(inside[chosen], logs, np.nan)
    return Ranking(rank, log_probability)


def _label_scores(
    users: Tensor, state: Ints, blocks: list[Tensor], column: Ints, inside: Flags, rows: int
) -> Tensor:
    """Score of every label from its own block's product, float32 [Q]; 0 for one that is not eligible."""
    scores = torch.zeros(state.size, device=users.device)
    width = blocks[0].shape[0]
    for number, block in enumerate(blocks):
        of_block = np.flatnonzero(inside & (column // width == number))
        for start in range(0, of_block.size, rows):
            chosen = of_block[start : start + rows]
            product = score(_padded(users[_index(state[chosen], users)], rows), block)
            own = _index(column[chosen] - number * width, users).unsqueeze(1)
            scores[_index(chosen, users)] = product[: chosen.size].gather(1, own).squeeze(1)
    return scores


def _finite(scores: Tensor) -> Tensor:
    low, high = torch.aminmax(scores)
    if not (torch.isfinite(low) and torch.isfinite(high)):
        raise NotFiniteScoreError("the model gave a score that is not a finite number")
    return scores


def _count(flags: Tensor) -> Tensor:
    """True values of every row, int64 [B]; summing bytes is several times faster than booleans."""
    return flags.view(torch.uint8).sum(dim=1, dtype=torch.int32).to(torch.int64)


def _padded(vectors: Tensor, rows: int) -> Tensor:
    missing = rows - vectors.shape[0]
    return torch.nn.functional.pad(vectors, (0, 0, 0, missing)) if missing else vectors


def _index(values: Ints, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)
