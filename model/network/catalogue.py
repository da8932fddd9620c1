"""The catalogue: what the network knows about every item, frozen during a run.

Vocabulary membership is applied here and not in the stored sequences: an item outside the vocabulary
keeps its index and its features, and takes e_OOV for its ID embedding.

Shape legend
    N  items of the catalogue     V  rows of the ID table
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.network.item_signals import ItemSignals

OUT_OF_VOCABULARY = -1
"""Token of an item that has no row in the ID table."""


@dataclass(frozen=True)
class Catalogue:
    """Tokens, features and launches of all items, indexed by `item_index`."""

    item_token: Tensor
    """int64 [N]; row of the ID table, OUT_OF_VOCABULARY where there is none."""
    features: dict[str, Tensor]
    """float32 [N, width] for every modality."""
    launched_at_seconds: Tensor | None = None
    """float64 [N]; launch in seconds since 1970-01-01 UTC, NaN where unknown. None: no launch is known."""
    exists_since_seconds: Tensor | None = None
    """float64 [N]; launch or, where that is unknown, first event; NaN where neither is known. In training an
    item is no negative of a request made earlier. None: every item may be one of any."""
    signals: ItemSignals | None = None
    """Item signals as of any instant; None for a model that reads none."""
    young_until_seconds: Tensor | None = None
    """float64 [N]; end of the span after its first event in which an item is young, NaN where it has none. In
    training a young item has e_OOV part of the time. None: no item is young."""

    @property
    def items(self) -> int:
        """N."""
        return self.item_token.shape[0]

    @property
    def vocabulary_size(self) -> int:
        """V: rows that the ID table must have."""
        return int(self.item_token.max()) + 1 if self.items else 0

    def to(self, device: torch.device | str) -> Catalogue:
        """The same catalogue on a device."""
        launched = self.launched_at_seconds
        return Catalogue(
            self.item_token.to(device),
            {name: matrix.to(device) for name, matrix in self.features.items()},
            None if launched is None else launched.to(device),
            None if self.exists_since_seconds is None else self.exists_since_seconds.to(device),
            None if self.signals is None else self.signals.to(device),
            None if self.young_until_seconds is None else self.young_until_seconds.to(device),
        )
