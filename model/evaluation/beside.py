"""What is gathered from blocks of scores beside the ranks, while they are at hand: how the items that a user
has score against the label, and which items lists of ten would show.

Shape legend
    Q  queries     M  eligible items in order of launch     N  items     P  pairs of a query and a seen item
    B  queries of a block     J  items of a block
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.arrays import Flags, Floats, Ints, stretches
from model.evaluation.lists import LIST_ITEMS
from model.evaluation.seen import SeenItems


class Beside:
    """Fed with every block of scores by `ranking.rank_targets`."""

    def __init__(self, seen: SeenItems, column: Ints, own: Ints, size: Ints, listed: Flags) -> None:
        """`column` int64 [N] is an item's place among the M (M for a retired one); `own` int64 [Q] the label's
        place, `size` int64 [Q] how many items are eligible, `listed` bool [Q] the queries whose lists are
        counted."""
        self._seen, self._column = seen, column[seen.item_index]
        self._own, self._size, self._listed = own, size, listed
        self._above = np.zeros(own.size)  # seen items above the label, a tie counting half
        self._count = np.zeros(own.size, np.int64)  # seen items that are eligible
        self._is_seen = np.zeros(own.size, bool)
        self._shown = np.zeros(column.size, np.int64)  # by place, of which there are M at most

    def begin(self, chosen: Ints, device: torch.device) -> None:
        """Before the blocks of some queries, int64 [B]."""
        self._chosen, size = chosen, self._size[chosen]
        row, place = stretches(self._seen.first[chosen], self._seen.count[chosen])
        column = self._column[place]
        is_own = column == self._own[chosen][row]
        self._is_seen[chosen[row[is_own]]] = True
        is_eligible = column < size[row]
        self._count[chosen] = np.bincount(row[is_eligible], minlength=chosen.size)
        rival = is_eligible & ~is_own
        self._pair_row, self._pair_column = row[rival], column[rival]
        self._block_above = torch.zeros(chosen.size, device=device)
        self._rows = torch.from_numpy(np.flatnonzero(self._listed[chosen])).to(device)
        self._best = torch.empty((self._rows.numel(), 0), device=device)
        self._best_column = torch.empty_like(self._best, dtype=torch.int64)

    def block(self, scores: Tensor, target: Tensor, begin: int) -> None:
        """Scores [B, J] of the items from the place `begin` on, −inf for those not eligible; the labels'
        scores [B]."""
        width = scores.shape[1]
        here = (self._pair_column >= begin) & (self._pair_column < begin + width)
        if here.any():
            row = torch.from_numpy(self._pair_row[here]).to(scores.device)
            column = torch.from_numpy(self._pair_column[here] - begin).to(scores.device)
            value, label = scores[row, column], target[row]
            self._block_above.index_add_(0, row, (value > label).float() + 0.5 * (value == label).float())
        if self._rows.numel():
            best = scores[self._rows].topk(min(LIST_ITEMS, width), dim=1)
            scored = torch.cat([self._best, best.values], dim=1)
            columns = torch.cat([self._best_column, best.indices + begin], dim=1)
            kept = scored.topk(min(LIST_ITEMS, scored.shape[1]), dim=1)
            self._best, self._best_column = kept.values, columns.gather(1, kept.indices)

    def end(self) -> None:
        """After the blocks of the queries."""
        self._above[self._chosen] = self._block_above.cpu().numpy()
        shown = self._best_column[self._best > -torch.inf].cpu().numpy()
        self._shown += np.bincount(shown, minlength=self._shown.size)

    def rank_unseen(self, rank: Floats) -> Floats:
        """Ranks among the eligible items that the user does not have, from those among all; float64 [Q]. NaN
        for a label whose item he has."""
        inside = self._own < self._size
        unseen = np.where(inside, rank - self._above, rank - self._count)
        return np.where(self._is_seen, np.nan, unseen)

    def shown(self, item_index: Ints, items: int) -> Ints:
        """In how many of the lists each item is, int64 [N]; `item_index` int64 [M] are the eligible items."""
        counts = np.zeros(items, np.int64)
        counts[item_index] = self._shown[: item_index.size]
        return counts
