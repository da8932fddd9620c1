"""The multi-token objective: a weighted multi-label loss over a set of future high-value events.

`model.data.labels` chooses and weights the labels, `model.network.sampled_softmax` normalises them.

Shape legend
    P  loss positions    K  most labels of a position
"""

from __future__ import annotations

from torch import Tensor

NEGLIGIBLE_WEIGHT = 1e-3
"""A label below this weight hardly trains; many of them mean that the half-life is too short."""


def multi_token_loss(log_probability: Tensor, weight: Tensor) -> Tensor:
    """Xu et al., 2026, eq. 2: − Σ_y w_y log p(y | x), averaged over positions that have a label.

    `log_probability` and `weight` [P, K], weight 0 where there is no label → scalar; 0 for P = 0.
    One position, weights (1, 1/2), probabilities (1/2, 1/4) → 1 · log 2 + 1/2 · log 4 = 2 log 2.
    """
    positions = (weight > 0).any(dim=1).sum().clamp(min=1)
    return -(weight * log_probability).sum() / positions


def label_figures(weight: Tensor) -> dict[str, Tensor]:
    """Label statistics of a batch: `weight` [P, K] → float32 scalars.

    `negligible_label_fraction` is the share of labels with a weight below NEGLIGIBLE_WEIGHT.
    """
    is_label = weight > 0
    labels = is_label.sum()
    negligible = (is_label & (weight < NEGLIGIBLE_WEIGHT)).sum()
    positions = is_label.any(dim=1).sum()
    return {
        "positions": positions.float(),
        "labels_per_position": labels / positions.clamp(min=1),
        "mean_label_weight": weight.sum().float() / labels.clamp(min=1),
        "negligible_label_fraction": negligible / labels.clamp(min=1),
    }
