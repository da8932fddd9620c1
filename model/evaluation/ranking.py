"""Ranks of labels in the full candidate catalogue, streamed over items and examples.

In: a recommender with its catalogue, evaluation examples, views of their histories, and the
candidates. Out: the rank and the log-probability of every label. Scores are held for one block
of examples × items at a time and never kept. It does not know tasks, slices or metrics.

Cost: examples × |C| × d_out multiply-adds, and each user's history encoded once in windows,
however many labels and delays look at it.

Shape legend
    D  distinct (user, end of history, time of an empty one)     Q  queries: examples under every condition
    M  candidates in order of launch       B  queries of a block     J  items of a block
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.candidates import Candidates, tied_rank
from model.evaluation.examples import Examples, Histories
from model.network.batch import Catalogue
from model.network.recommender import Recommender, score
from model.serving.windows import batches, plan_windows

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BLOCK_SCORES = 4_194_304
"""Scores held at once (16 MiB in float32); also the bound of a block of examples."""
ENCODE_SLOTS = 8192
"""Slots of a batch that is encoded."""
FEWEST_ROWS = 64
"""Users of one product at least, with padding: below, a matrix product may round one column otherwise
than another, and equal candidates would not tie."""
VECTOR_BLOCK = 8192
"""Candidate vectors computed at once."""
UNKNOWN_TIME = np.iinfo(np.int64).min
"""Where the time of a request is not known."""


class NotFiniteScoreError(ArithmeticError):
    """A score that is not a finite number: the model cannot be evaluated."""


@dataclass(frozen=True)
class View:
    """What each example is ranked from; int64 [X] each."""

    user: Ints
    """Whose history, a row of the examples' histories."""
    end: Ints
    """Where it ends, see `examples.history_ends`."""
    asked_at_us: Ints
    """Time of the request, see `examples.request_times`; what is known of a user without a history."""


@dataclass(frozen=True)
class Ranking:
    """What became of every label."""

    rank: Floats
    """float64 [X]; 1 is best, ties at half, |C| + 1 for a label outside the catalogue."""
    log_probability: Floats
    """float64 [X]; over the full catalogue, natural logarithm; NaN for a label outside it."""


def rank_examples(
    recommender: Recommender,
    catalogue: Catalogue,
    examples: Examples,
    candidates: Candidates,
    views: list[View],
    context_length: int,
    block_items: int = 65536,
) -> list[Ranking]:
    """One `Ranking` for every view.

    The recommender's device is used, and dropout is off. Raises NotFiniteScoreError when any score of a
    candidate is not finite, and ValueError when the catalogue does not fit the model.
    """
    recommender.check(catalogue)
    was_training = recommender.training
    recommender.eval()
    try:
        with torch.inference_mode():
            timed = recommender.freshness is not None
            seen = np.concatenate([_states(view, examples.histories, timed) for view in views])
            states, state = np.unique(seen, axis=0, return_inverse=True)
            vectors = encode_histories(
                recommender, catalogue, examples.histories, *states[:, :2].T, context_length, states[:, 2]
            )
            items = candidate_vectors(recommender, catalogue, candidates.item_index)
            size = np.tile(candidates.sizes_at(examples.event_at_us), len(views))
            column = np.tile(candidates.column[examples.item_index], len(views))
            whole = rank_targets(vectors, state.reshape(-1), items, column, size, block_items)
    finally:
        recommender.train(was_training)
    parts = [
        slice(start, start + examples.size) for start in range(0, len(views) * examples.size, examples.size)
    ]
    return [Ranking(whole.rank[part], whole.log_probability[part]) for part in parts]


def _states(view: View, histories: Histories, timed: bool) -> Ints:
    """User, end and time of the request of every example, int64 [X, 3]. The time counts for an empty
    history of a model that reads it; elsewhere it is UNKNOWN_TIME, so that equal states are one."""
    is_empty = (view.end == histories.offset[view.user]) & timed
    return np.stack([view.user, view.end, np.where(is_empty, view.asked_at_us, UNKNOWN_TIME)], axis=1)


def encode_histories(
    recommender: Recommender,
    catalogue: Catalogue,
    histories: Histories,
    user: Ints,
    end: Ints,
    context_length: int,
    asked_at_us: Ints | None = None,
) -> Tensor:
    """User vectors after the events before `end`, float32 [D, d_out]; `user`, `end` int64 [D].

    An empty history has the vector of the start token at the time of the request, `asked_at_us` int64
    [D]; UNKNOWN_TIME, and None for all, is an unknown one. The user's later events have no part in it.
    """
    config = recommender.config
    windows = plan_windows(histories, user, end, config.max_length, context_length)
    device = next(recommender.parameters()).device
    is_empty = end == histories.offset[user]
    asked = np.full(user.size, UNKNOWN_TIME) if asked_at_us is None else asked_at_us
    asked_seconds = np.where(asked == UNKNOWN_TIME, np.nan, asked / 1e6)
    by_window = np.argsort(windows.window, kind="stable")
    bounds = np.searchsorted(windows.window[by_window], np.arange(windows.first.size + 1))
    vectors = torch.empty((user.size, config.output_width), dtype=torch.float32, device=device)
    for chosen, batch in batches(histories, windows, config.context_fields, ENCODE_SLOTS):
        hidden = recommender.encode(batch.to(device), catalogue)  # [R, L, d]
        wanted = np.concatenate([by_window[bounds[one] : bounds[one + 1]] for one in chosen])
        row = np.repeat(np.arange(chosen.size), bounds[chosen + 1] - bounds[chosen])
        at = torch.from_numpy(row).to(device), torch.from_numpy(windows.slot[wanted]).to(device)
        states, empty = hidden[at], torch.from_numpy(is_empty[wanted]).to(device)
        clocks = torch.from_numpy(asked_seconds[wanted]).to(device)
        states[empty] = recommender.asked_at(states[empty], clocks[empty])
        vectors[torch.from_numpy(wanted).to(device)] = recommender.user_vectors(states).float()
    return vectors


def candidate_vectors(recommender: Recommender, catalogue: Catalogue, item_index: Ints) -> Tensor:
    """Candidate vectors in the order given, float32 [M, d_out]; `item_index` int64 [M].

    Blocks have one shape, so that two items with the same features and no ID row get the same bits
    and tie wherever they stand.
    """
    device = next(recommender.parameters()).device
    size = min(VECTOR_BLOCK, max(item_index.size, 1))
    blocks = []
    for start in range(0, item_index.size, size):
        block = item_index[start : start + size]
        padded = torch.from_numpy(np.pad(block, (0, size - block.size), mode="edge")).to(device)
        blocks.append(recommender.item_vectors(padded, catalogue)[: block.size].float())
    return torch.cat(blocks) if blocks else torch.empty((0, recommender.config.output_width), device=device)


def rank_targets(
    users: Tensor, state: Ints, items: Tensor, column: Ints, size: Ints, block_items: int = 65536
) -> Ranking:
    """Ranks targets by inner products, in blocks.

    `users` [D, d_out]; `state` int64 [Q], the row of each query; `items` [M, d_out] in order of
    launch; `column` int64 [Q], the target's row of `items` (M for none); `size` int64 [Q]: the first
    `size` items are the catalogue. Every product has the same shape, so that equal vectors have
    equal scores in any block; a target's score is read from its own block's product. Raises
    NotFiniteScoreError as `rank_examples`.
    """
    total = items.shape[0]
    width = max(1, min(block_items, total))
    rows = max(FEWEST_ROWS, min(BLOCK_SCORES // width, state.size))
    blocks = [_padded(items[start : start + width], width) for start in range(0, total, width)]
    inside = column < size
    order = np.argsort(size, kind="stable")
    known = None if len(blocks) <= 1 else _target_scores(users, state, blocks, column, inside, rows)
    rank, log_probability = np.empty(state.size), np.empty(state.size)
    for start in range(0, state.size, rows):
        chosen = order[start : start + rows]
        rows_here = _padded(users[_index(state[chosen], users)], rows)
        own = _index(np.where(inside[chosen], column[chosen], 0), users)
        limit = _index(size[chosen], users)
        target = None if known is None else known[_index(chosen, users)]
        higher = torch.zeros(chosen.size, dtype=torch.int64, device=users.device)
        equal = torch.zeros_like(higher)
        total_log = torch.full((chosen.size,), -torch.inf, device=users.device)
        for number, block in enumerate(blocks):
            begin = number * width
            if begin >= size[chosen].max():
                break
            scores = _finite(score(rows_here, block)[: chosen.size])  # [B, J]
            if target is None:
                target = scores.gather(1, own.unsqueeze(1)).squeeze(1)
            if size[chosen].min() < begin + width:
                place = torch.arange(begin, begin + width, device=users.device)
                scores = scores.masked_fill(place >= limit.unsqueeze(1), -torch.inf)
            total_log = torch.logaddexp(total_log, scores.logsumexp(dim=1))
            here = ((own >= begin) & (own < begin + width)).nonzero().squeeze(1)
            scores[here, own[here] - begin] = -torch.inf  # the target is not among the others
            higher += _count(scores > target.unsqueeze(1))
            equal += _count(scores == target.unsqueeze(1))
        outside = size[chosen] + 1.0
        ranks = tied_rank(higher.cpu().numpy(), equal.cpu().numpy())
        rank[chosen] = np.where(inside[chosen], ranks, outside)
        logs = np.full(chosen.size, np.nan) if target is None else (target - total_log).double().cpu().numpy()
        log_probability[chosen] = np.where(inside[chosen], logs, np.nan)
    return Ranking(rank, log_probability)


def _target_scores(
    users: Tensor, state: Ints, blocks: list[Tensor], column: Ints, inside: NDArray[np.bool_], rows: int
) -> Tensor:
    """Score of every target from the product of its own block, float32 [Q]; 0 for one outside."""
    scores = torch.zeros(state.size, device=users.device)
    width = blocks[0].shape[0]
    for number, block in enumerate(blocks):
        mine = np.flatnonzero(inside & (column // width == number))
        for start in range(0, mine.size, rows):
            chosen = mine[start : start + rows]
            product = score(_padded(users[_index(state[chosen], users)], rows), block)
            place = _index(column[chosen] - number * width, users).unsqueeze(1)
            scores[_index(chosen, users)] = product[: chosen.size].gather(1, place).squeeze(1)
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
