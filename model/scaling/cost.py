"""Analytical cost: training FLOPs per token of the backbone and of decoding.

There are two counts: the paper's (Xu et al., 2026, section 4.1 and Fig. 2), whose figures it reproduces,
and the standard one (2 FLOPs per multiply-add, the backward pass twice the forward). Neither is a
measurement; `benchmarks/decoding.py` times real steps.

Symbols: d backbone width, L sequence length, V output size, n layers.
"""

from __future__ import annotations

from dataclasses import dataclass

NEGATIVES_FRACTION = 0.01
"""Fraction of the items that the paper samples as negatives."""


@dataclass(frozen=True)
class Cost:
    """Training FLOPs per token."""

    backbone: float
    decoding: float
    """Products of user vectors with item vectors."""
    projection: float = 0.0
    """The head's map d → d_out."""

    @property
    def total(self) -> float:
        return self.backbone + self.decoding + self.projection


def paper_full(layers: int, width: int, vocabulary: int) -> Cost:
    """Full decoding by the paper's count: 6 · n · 9 · d² + 12 · d · V.

    6 layers, d = 1024, V = 10⁶ → 1.26 · 10¹⁰.
    """
    return Cost(backbone=6 * layers * 9 * width**2, decoding=12 * width * vocabulary)


def paper_reduced(layers: int, width: int, vocabulary: int) -> Cost:
    """Sampled softmax (1 %) and projected head (d/8) by the paper's count.

    6 · n · 9 · d² + 12 · (d/8) · (0.01 · V) + 6 · d · (d/8); 6 layers, d = 1024, V = 10⁶ → 3.56 · 10⁸.
    """
    reduced = width / 8
    return Cost(
        backbone=6 * layers * 9 * width**2,
        decoding=12 * reduced * NEGATIVES_FRACTION * vocabulary,
        projection=6 * width * reduced,
    )


def standard_backbone(layers: int, width: int, length: int) -> float:
    """Per layer 6 · (12 · d² weights) plus attention, 12 · L · d.

    Attention's two products cost 2 · 2 · L · d forward, and three times that with the backward pass. The
    half that a causal mask could save is not subtracted, as is usual (Chowdhery et al., 2022, appendix B).
    """
    return layers * (6 * 12 * width**2 + 12 * length * width)


def standard_full(layers: int, width: int, length: int, vocabulary: int) -> Cost:
    """Full decoding by the standard count: 6 · d · V."""
    return Cost(backbone=standard_backbone(layers, width, length), decoding=6 * width * vocabulary)


def standard_reduced(layers: int, width: int, length: int, output_width: int, scored: float) -> Cost:
    """Projected head and `scored` items per position: 6 · d_out · scored + 6 · d · d_out.

    The item tower is not counted: all positions of a batch share its work.
    """
    return Cost(
        backbone=standard_backbone(layers, width, length),
        decoding=6 * output_width * scored,
        projection=6 * width * output_width,
    )
