"""Backbone sizes from 25k to 1B parameters, embedding and decoding layers not counted.

A dense pre-norm layer holds 4 d² (attention) and 8 d² (feed-forward of width 4 d) weights, so a
backbone has 12 · layers · d² of them, and a few norms.
"""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Backbone shape: width d, layers, attention heads."""

    width: int
    layers: int
    heads: int

    @property
    def parameters(self) -> int:
        """Backbone parameters, norms not counted."""
        return 12 * self.layers * self.width**2


SIZES: dict[str, Size] = {
    "25k": Size(32, 2, 1),
    "50k": Size(48, 2, 2),
    "100k": Size(64, 2, 2),
    "200k": Size(96, 2, 2),
    "400k": Size(128, 2, 4),
    "600k": Size(128, 3, 4),
    "2m": Size(256, 3, 4),
    "10m": Size(384, 6, 6),
    "50m": Size(768, 7, 12),
    "200m": Size(1536, 7, 12),
    "1b": Size(4096, 5, 32),
}
"""Every size by its name, in ascending order; the name is about its number of parameters."""
