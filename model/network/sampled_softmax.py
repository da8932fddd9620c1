"""Sampled softmax: the negatives that a step's positions share, and log p(y | x) of every label.

Position t is normalised over Y_t ∪ (S∖Y_t): its own labels, and the negatives that are not among
them. With S = all eligible items it is the full softmax. Weights and label sets are in
`multi_token_loss`.

Shape legend
    P  loss positions    K  most labels of a position    C  eligible items    S  sampled negatives
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.config import ObjectiveConfig
from model.draws import Purpose, random_stream

IMPOSSIBLE = float("-inf")


def negatives_count(eligible: int, vocabulary_size: int, objective: ObjectiveConfig) -> int:
    """|S|: a fraction of the eligible items, but at least min(V, minimum), and never more than there are.

    10,000 eligible items, V = 9,000, 1 %, minimum 2,048 → max(100, min(9,000, 2,048)) = 2,048.
    """
    if objective.softmax == "full":
        return eligible
    share = math.ceil(objective.negatives_fraction * eligible)
    return min(eligible, max(share, min(vocabulary_size, objective.negatives_minimum)))


def sample_negatives(
    eligible: Tensor, vocabulary_size: int, objective: ObjectiveConfig, seed: int, step: int
) -> Tensor:
    """Uniform sample of the eligible items without replacement, shared by the whole batch.

    `eligible` int64 [C] → int64 [S], a function of (eligible, seed, step), the same on every device.
    Costs O(S) where S is much smaller than C.
    """
    total = eligible.shape[0]
    count = negatives_count(total, vocabulary_size, objective)
    if count == total:
        return eligible
    stream = random_stream(Purpose.NEGATIVES, seed, step)
    chosen = stream.choice(total, size=count, replace=False, shuffle=False)
    return eligible[torch.from_numpy(chosen).to(eligible.device)]


def rejected_negatives(label_item: Tensor, is_label: Tensor, negatives: Tensor) -> Tensor:
    """Which negatives are labels of the position: bool [P, S].

    `label_item` int64 [P, K], `is_label` bool [P, K], `negatives` int64 [S] of distinct items.
    """
    rejected = torch.zeros(len(label_item), len(negatives), dtype=torch.bool, device=label_item.device)
    column = columns_of(label_item, negatives)
    sampled = is_label & (column >= 0)
    rejected[sampled.nonzero()[:, 0], column[sampled]] = True
    return rejected


def columns_of(items: Tensor, negatives: Tensor) -> Tensor:
    """Where items are among the distinct negatives: int64, any shape → int64, −1 for an item not sampled."""
    if not len(negatives):
        return torch.full_like(items, -1)
    ordered, order = negatives.sort()
    column = torch.searchsorted(ordered, items).clamp(max=len(ordered) - 1)
    return torch.where(ordered[column] == items, order[column], -1)


def sampling_correction(eligible: int, negatives: int) -> float:
    """The logQ correction of uniform sampling, added to every negative's logit: log(C / |S|).

    An eligible item that is not a label is sampled with probability |S| / C, so weighting each negative
    by C / |S| makes the sum over S unbiased for the sum over all; labels are always included and are
    not corrected (Khrylchenko et al., 2025). 0 when S is everything.
    """
    return math.log(eligible / negatives) if negatives else 0.0


def rival_log_sums(
    users: Tensor, vectors: Tensor, rejected: Tensor, correction: float, added: Tensor | None = None
) -> Tensor:
    """log Σ e^(s + correction) over a position's negatives that are not rejected.

    `users` [P, d_out], `vectors` [S, d_out] of the negatives, `rejected` bool [P, S], `added` [P, S] the
    scores' further terms → [P], −∞ where all are rejected. Gradients are finite for finite scores.
    """
    if not vectors.shape[0]:
        return users.new_full((users.shape[0],), IMPOSSIBLE)
    return _RivalLogSums.apply(users, vectors, rejected, correction, added)


class _RivalLogSums(torch.autograd.Function):
    """Scores, exponentials and gradient share one [P, S] buffer, the largest of a step: autograd's
    logsumexp would hold three and pass over them six times."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, vectors: Tensor, rejected: Tensor, correction: float, added: Tensor | None
    ) -> Tensor:
        scores = (users @ vectors.T).add_(correction)
        if added is not None:
            scores = scores.add_(added)
        scores = scores.masked_fill_(rejected, IMPOSSIBLE)
        # Where everything is rejected the largest is −∞, which must not be subtracted.
        largest = scores.amax(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
        exponentials = scores.sub_(largest).exp_()
        total = exponentials.sum(dim=1, keepdim=True)
        ctx.save_for_backward(users, vectors, exponentials, total)
        return (largest + total.log()).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, Tensor | None]:
        users, vectors, exponentials, total = ctx.saved_tensors
        with torch.autocast(users.device.type, enabled=False):
            share = exponentials.mul_(torch.where(total > 0, gradient.unsqueeze(1) / total, 0.0))
            own = share if ctx.needs_input_grad[4] else None
            return share @ vectors, share.T @ users, None, None, own


def log_sums_by(logits: Tensor, position: Tensor, positions: int) -> Tensor:
    """log Σ e^s over the logits of each position: [z] and int64 [z] → [P], −∞ where there is none or all are −∞.

    Gradients are finite for finite logits.
    """
    lowest = torch.finfo(logits.dtype).min
    largest = logits.detach().new_full((positions,), lowest)
    largest = largest.scatter_reduce(0, position, logits.detach(), "amax").clamp(min=lowest)
    total = torch.zeros_like(largest).index_add(0, position, (logits - largest[position]).exp())
    # Where nothing is summed, the logarithm of 1 stands in, so that its gradient is finite.
    is_empty = total == 0
    return (largest + total.masked_fill(is_empty, 1.0).log()).masked_fill(is_empty, IMPOSSIBLE)


def label_log_probabilities(label_logits: Tensor, is_label: Tensor, rivals: Tensor) -> Tensor:
    """log p of every label, normalised over Y_t ∪ (S∖Y_t).

    `label_logits` [P, K], `is_label` bool [P, K] with at least one true per row, `rivals` [P] from
    `rival_log_sums` → [P, K], 0 where there is no label. Finite for finite logits.
    """
    labels = label_logits.masked_fill(~is_label, IMPOSSIBLE).logsumexp(dim=1)  # [P]
    normaliser = torch.logaddexp(labels, rivals).unsqueeze(1)  # [P, 1]
    return torch.where(is_label, label_logits - normaliser, 0.0)
