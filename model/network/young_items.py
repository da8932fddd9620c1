"""Items that take e_OOV at requests made while they are young, as second vectors behind the first ones.

An item is young until some time after its first event, so that within one batch an early request may meet it with e_OOV and
a later one with its ID embedding. Both vectors stand in one table, and a request names the row that it meets.

Shape legend
    P  loss positions    M  items of the step    C  those with a second vector    S  sampled negatives
    z  entries of positions and items
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class YoungItems:
    """Vectors of a step's items, and which of two a request meets."""

    vectors: Tensor
    """[M + C, d_out]; those of all items, then those with e_OOV."""
    young_row: Tensor
    """int64 [M]; row of an item's second vector, its own row where it has none."""
    until_seconds: Tensor
    """float64 [M]; end of the span in which an item is young, NaN where it has none."""
    at_seconds: Tensor
    """float64 [P]; times of the requests."""

    @classmethod
    def of(
        cls, vectors: Tensor, chosen: Tensor, lost: Tensor, until_seconds: Tensor, at_seconds: Tensor
    ) -> YoungItems:
        """`vectors` [M, d_out]; `chosen` int64 [C], distinct rows of them; `lost` [C, w]: what e_OOV changes in their
        first w components."""
        changed = F.pad(lost, (0, vectors.shape[1] - lost.shape[1]))
        both = torch.cat([vectors, vectors.index_select(0, chosen) + changed])
        items, own = vectors.shape[0], torch.arange(vectors.shape[0], device=vectors.device)
        young_row = own.index_copy(0, chosen, torch.arange(items, both.shape[0], device=vectors.device))
        return cls(both, young_row, until_seconds, at_seconds)

    def rows(self, row: Tensor, position: Tensor) -> Tensor:
        """Rows that some requests meet: rows of items and positions of requests, int64 [z] each → int64 [z]."""
        is_young = self.at_seconds[position] < self.until_seconds[row]  # false where unknown (NaN)
        return torch.where(is_young, self.young_row[row], row)

    def added_scores(self, users: Tensor, row: Tensor) -> Tensor:
        """What e_OOV adds to scores of items that all positions share: [P, d_out] and rows int64 [S] → [P, S]."""
        column = (self.young_row[row] != row).nonzero()[:, 0]
        own, young = row[column], self.young_row[row[column]]
        changed = self.vectors.index_select(0, young) - self.vectors.index_select(0, own)
        is_young = self.at_seconds[:, None] < self.until_seconds[own]
        return users.new_zeros(users.shape[0], row.shape[0]).index_copy(
            1, column, users @ changed.T * is_young
        )
