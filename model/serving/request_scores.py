"""Scores of requests as a server computes them: item vectors once, signals as of each request.

Shape legend
    U  requests     N  items     M  eligible items
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.arrays import Ints
from model.data.histories import Histories
from model.data.pair_signals import PairLists, Requests, pair_lists
from model.data.signals import Signals
from model.data.successors import Counts
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender, score
from model.serving.encoding import encode_histories, encode_item_signals, encode_items, pair_scores


class RequestScores:
    """A model in evaluation mode with its catalogue, and signals where it reads any."""

    def __init__(
        self,
        recommender: Recommender,
        catalogue: Catalogue,
        context_length: int,
        signals: Signals | None = None,
    ) -> None:
        self._recommender, self._context_length, self._signals = recommender, context_length, signals
        self._catalogue = catalogue
        if signals is not None:
            self._catalogue = replace(catalogue, signals=signals.items)
            self._counts = Counts(signals.successors, catalogue.items)
        with torch.inference_mode():
            self._vectors = encode_items(recommender, catalogue, np.arange(catalogue.items))

    def extended(self, catalogue: Catalogue) -> RequestScores:
        """The same with more items, of which no signal has an event: `catalogue` has those of this one first.

        Computes the vectors of the further items alone, and shares the rest. This one stays as it is.
        """
        before, more = self._catalogue, copy.copy(self)
        added = np.arange(before.items, catalogue.items)
        with torch.inference_mode():
            more._vectors = torch.cat([self._vectors, encode_items(self._recommender, catalogue, added)])
        more._catalogue = catalogue
        if before.signals is not None:
            more._catalogue = replace(catalogue, signals=before.signals.with_unseen(added.size))
        return more

    def scores(
        self,
        histories: Histories,
        user: Ints,
        end: Ints,
        at_us: Ints,
        eligible: Ints,
        is_timed: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """User vectors and scores of the items `eligible`, int64 [M]: float32 [U, ·] and [U, M].

        `user`, `end` and `at_us` int64 [U] as in `model.data.pair_signals.Requests`. Not `is_timed`: the state
        after a history does not depend on the time of the request, which only signals read.
        """
        users = encode_histories(
            self._recommender, self._catalogue, histories, user, end, self._context_length,
            at_us if is_timed else None,
        )  # fmt: skip
        taste, weights, _ = self._recommender.split(users)
        scores = score(taste, self._vectors[torch.from_numpy(eligible)])
        if self._signals is None:
            return users, scores
        column = np.full(self._catalogue.items, -1)
        column[eligible] = np.arange(eligible.size)
        pairs = None
        if self._recommender.pair_term is not None:
            pairs = self._pairs(histories, Requests(user, end, at_us))
        bucket = at_us // self._signals.items.bucket_us
        for number in np.unique(bucket):  # the requests of one bucket share their item signals
            rows = np.flatnonzero(bucket == number)
            chosen, at = torch.from_numpy(rows), int(at_us[rows[0]])
            if self._recommender.item_term is not None:
                features = encode_item_signals(self._recommender, self._catalogue, eligible, at)
                scores[chosen] += score(weights[chosen], features)
            if pairs is not None:
                row, item, value = pair_scores(
                    self._recommender, self._catalogue, users[chosen], pairs, rows, at
                )
                here = np.flatnonzero(column[item] >= 0)
                place = torch.from_numpy(rows[row[here]]), torch.from_numpy(column[item[here]])
                scores.index_put_(place, value[torch.from_numpy(here)], accumulate=True)
        return users, scores

    def _pairs(self, histories: Histories, requests: Requests) -> PairLists:
        """Pair signals of requests. Counts move forward only, so one that is earlier than those of the last call
        counts from the start."""
        signals, counts = self._signals, None
        if requests.at_us.size:
            floor = int(requests.at_us.min()) // signals.items.bucket_us * signals.items.bucket_us
            counts = self._counts if self._counts.merged_before_us < floor else None
            if counts is not None and counts.items < self._catalogue.items:
                counts.move(floor, floor)  # what is merged now, no later call merges again
                counts = counts.widened(self._catalogue.items)
        return pair_lists(
            histories, requests, signals.successors, self._catalogue.items, signals.items.bucket_us, counts
        )
