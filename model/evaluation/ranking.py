"""Ranks of labels among all eligible items, streamed over items and examples.

Scores are held for one block of examples × items at a time and never stored.

Cost: examples × |C| × d_out multiply-adds, and each user's history encoded once in windows, however many
labels and delays are ranked from it. With item signals, queries are ranked bucket by bucket, and F is
computed for every item once a bucket; pair signals are added to the few items that they concern.

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
from model.data.pair_signals import PairLists
from model.evaluation.beside import Beside
from model.evaluation.examples import Examples
from model.evaluation.metrics import tied_rank
from model.evaluation.seen import SeenItems
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender, score
from model.serving.encoding import (
    UNKNOWN_TIME,
    encode_histories,
    encode_item_signals,
    encode_items,
    pair_scores,
)

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
    """Time of the request, see `examples.request_times`; used where the history is empty, and by models that
    read it or signals."""


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
    pairs: list[PairLists] | None = None,
    listed: int | None = None,
) -> list[Ranking]:
    """One `Ranking` per view, computed on the recommender's device without dropout; the lists of the view
    number `listed` are counted.

    `pairs` holds each view's pair signals, in the order of the examples; a model without the term needs none.

    Raises NotFiniteScoreError when any score of an eligible item is not finite, and ValueError when the
    catalogue does not fit the model.
    """
    recommender.check(catalogue)
    was_training = recommender.training
    recommender.eval()
    try:
        with torch.inference_mode():
            timed = recommender.freshness is not None or recommender.is_timed
            states = np.concatenate(
                [_states(view, examples.histories, timed, recommender.is_timed) for view in views]
            )
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
            signals = None
            if recommender.item_term is not None or recommender.pair_term is not None:
                at_us = np.concatenate([view.requested_at_us for view in views])
                signals = _Signals(recommender, catalogue, eligible, at_us, pairs, examples.size)
            whole = rank_targets(users, state.reshape(-1), items, column, size, block_items, beside, signals)
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


def _states(view: View, histories: Histories, timed: bool, always: bool) -> Ints:
    """User, end and time of the request of every example, int64 [X, 3].

    The time matters only to a model that reads it, to most only for an empty history; elsewhere it is
    UNKNOWN_TIME, so that equal states are encoded once.
    """
    matters = ((view.end == histories.offset[view.user]) | always) & timed
    return np.stack([view.user, view.end, np.where(matters, view.requested_at_us, UNKNOWN_TIME)], axis=1)


class _Signals:
    """The terms of the score that depend on the time of the request, bucket by bucket."""

    def __init__(
        self,
        recommender: Recommender,
        catalogue: Catalogue,
        eligible: EligibleItems,
        at_us: Ints,
        pairs: list[PairLists] | None,
        examples: int,
    ) -> None:
        """`at_us` int64 [Q]: times of the requests; query q is example q mod `examples` of a view."""
        self._recommender, self._catalogue, self._eligible = recommender, catalogue, eligible
        self._at_us, self._pairs, self._examples = at_us, pairs, examples
        if recommender.pair_term is not None and pairs is None:
            raise ValueError("the model reads pair signals; none were given")

    def buckets(self) -> list[Ints]:
        """Queries of one bucket each."""
        bucket = self._at_us // self._catalogue.signals.bucket_us
        order = np.argsort(bucket, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(bucket[order])) + 1)

    def items(self, query: int) -> Tensor | None:
        """F of every eligible item at the query's instant, [M, ·]; None for a model without item signals."""
        if self._recommender.item_term is None:
            return None
        at_us = int(self._at_us[query])
        return encode_item_signals(self._recommender, self._catalogue, self._eligible.item_index, at_us)

    def split(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Taste and weights of the item signals: [.., d_out] and [.., ·]."""
        return self._recommender.split(users)[:2]

    def added(self, users: Tensor, queries: Ints) -> tuple[Tensor, Tensor, Tensor] | None:
        """What pair signals add to some queries of one bucket: row, column of the eligible items, score; None
        without the term. `users` [q, U]."""
        if self._recommender.pair_term is None or not queries.size:
            return None
        view, example = np.divmod(queries, self._examples)
        at_us = int(self._at_us[queries[0]])
        parts = []
        for number in np.unique(view):
            of_view = np.flatnonzero(view == number)
            lists = self._pairs[number]
            row, item, value = pair_scores(
                self._recommender,
                self._catalogue,
                users[_index(of_view, users)],
                lists,
                example[of_view],
                at_us,
            )
            column = self._eligible.column[item]
            kept = np.flatnonzero(column < self._eligible.item_index.size)
            parts.append((of_view[row[kept]], column[kept], value[_index(kept, users)]))
        row, column, value = zip(*parts, strict=True)
        return (
            _index(np.concatenate(row), users), _index(np.concatenate(column), users), torch.cat(value),
        )  # fmt: skip


def rank_targets(
    users: Tensor,
    state: Ints,
    items: Tensor,
    column: Ints,
    size: Ints,
    block_items: int = 65536,
    beside: Beside | None = None,
    signals: _Signals | None = None,
) -> Ranking:
    """Ranks labels by inner products, in blocks; `beside` is shown every block's scores.

    `users` [D, U]; `state` int64 [Q], the row of each query in it; `items` [M, d_out] in order of
    launch; `column` int64 [Q], the label's row of `items` (M for none); `size` int64 [Q]: the first `size`
    items are eligible. Every product has the same shape, so that equal vectors have equal scores in every
    block; a label's score is read from its own block's product. Raises NotFiniteScoreError as
    `rank_examples`.
    """
    ranking = Ranking(np.empty(state.size), np.empty(state.size))
    blocks = _Blocks(items, block_items)
    if signals is None:
        _rank(_Scores(users, state, blocks), column, size, np.arange(state.size), ranking, beside)
        return ranking
    taste, weights = signals.split(users)
    for queries in signals.buckets():
        if not queries.size:
            continue
        features = signals.items(int(queries[0]))
        further = None if features is None else (weights, _Blocks(features, block_items))
        added = signals.added(users[_index(state[queries], users)], queries)
        place = None
        if added is not None:
            place = np.zeros(state.size, dtype=np.int64)
            place[queries] = np.arange(queries.size)
        scores = _Scores(taste, state, blocks, further, added, place)
        _rank(scores, column, size, queries, ranking, beside)
    return ranking


class _Blocks:
    """Vectors of all items in blocks of one shape."""

    def __init__(self, items: Tensor, block_items: int) -> None:
        total = items.shape[0]
        self.width = max(1, min(block_items, total))
        self.parts = [
            _padded(items[start : start + self.width], self.width) for start in range(0, total, self.width)
        ]


@dataclass(frozen=True)
class _Scores:
    """Scores of queries, a block of items at a time."""

    users: Tensor
    """[D, d_out]"""
    state: Ints
    blocks: _Blocks
    further: tuple[Tensor, _Blocks] | None = None
    """Weights [D, ·] and features of the item signals."""
    added: tuple[Tensor, Tensor, Tensor] | None = None
    """Row, column and score of what pair signals add; rows are numbers of `place`."""
    place: Ints | None = None
    """int64 [Q]; row of a query."""

    def of(self, queries: Ints, block: int, rows: int) -> Tensor:
        """[q, J]; every product has `rows` rows."""
        chosen = _index(self.state[queries], self.users)
        scores = score(_padded(self.users[chosen], rows), self.blocks.parts[block])
        if self.further is not None:
            weights, features = self.further
            scores = scores + score(_padded(weights[chosen], rows), features.parts[block])
        if self.added is not None:
            self._add_pairs(scores, queries, block)
        return _finite(scores[: queries.size])

    def _add_pairs(self, scores: Tensor, queries: Ints, block: int) -> None:
        row, column, value = self.added
        own = np.full(int(self.place.max()) + 1, -1)
        own[self.place[queries]] = np.arange(queries.size)
        target = _index(own, scores)[row]
        begin = block * self.blocks.width
        here = (target >= 0) & (column >= begin) & (column < begin + self.blocks.width)
        scores.index_put_((target[here], column[here] - begin), value[here], accumulate=True)


def _rank(
    scores: _Scores, column: Ints, size: Ints, queries: Ints, ranking: Ranking, beside: Beside | None
) -> None:
    """Fills in the ranks of some queries, int64 [q]."""
    blocks, users = scores.blocks, scores.users
    width, count = blocks.width, len(blocks.parts)
    rows = max(FEWEST_ROWS, min(BLOCK_SCORES // width, queries.size))
    inside = column < size
    order = queries[np.argsort(size[queries], kind="stable")]
    known = None if count <= 1 else _label_scores(scores, column, inside, order, rows)
    for start in range(0, order.size, rows):
        chosen = order[start : start + rows]
        own = _index(np.where(inside[chosen], column[chosen], 0), users)
        limit = _index(size[chosen], users)
        target = None if known is None else known[start : start + rows]
        higher = torch.zeros(chosen.size, dtype=torch.int64, device=users.device)
        equal = torch.zeros_like(higher)
        total_log = torch.full((chosen.size,), -torch.inf, device=users.device)
        if beside is not None:
            beside.begin(chosen, users.device)
        for number in range(count):
            begin = number * width
            if begin >= size[chosen].max():
                break
            block = scores.of(chosen, number, rows)  # [B, J]
            if target is None:
                target = block.gather(1, own.unsqueeze(1)).squeeze(1)
            if size[chosen].min() < begin + width:
                columns = torch.arange(begin, begin + width, device=users.device)
                block = block.masked_fill(columns >= limit.unsqueeze(1), -torch.inf)
            if beside is not None:
                beside.block(block, target, begin)
            total_log = torch.logaddexp(total_log, block.logsumexp(dim=1))
            here = ((own >= begin) & (own < begin + width)).nonzero().squeeze(1)
            block[here, own[here] - begin] = -torch.inf  # the label is not its own rival
            higher += _count(block > target.unsqueeze(1))
            equal += _count(block == target.unsqueeze(1))
        if beside is not None:
            beside.end()
        outside = size[chosen] + 1.0
        ranks = tied_rank(higher.cpu().numpy(), equal.cpu().numpy())
        ranking.rank[chosen] = np.where(inside[chosen], ranks, outside)
        logs = np.full(chosen.size, np.nan) if target is None else (target - total_log).double().cpu().numpy()
        ranking.log_probability[chosen] = np.where(inside[chosen], logs, np.nan)


def _label_scores(scores: _Scores, column: Ints, inside: Flags, order: Ints, rows: int) -> Tensor:
    """Score of every label from its own block's product, float32 [q] in the order of the queries given; 0 for
    one that is not eligible."""
    found = torch.zeros(order.size, device=scores.users.device)
    width = scores.blocks.width
    for number in range(len(scores.blocks.parts)):
        of_block = np.flatnonzero(inside[order] & (column[order] // width == number))
        for start in range(0, of_block.size, rows):
            chosen = of_block[start : start + rows]
            product = scores.of(order[chosen], number, rows)
            own = _index(column[order[chosen]] - number * width, product).unsqueeze(1)
            found[_index(chosen, found)] = product.gather(1, own).squeeze(1)
    return found


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
