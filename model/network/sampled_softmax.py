"""Sampled softmax: which negatives a step shares, and the log-probability of every label.

Comes in: logits of labels, vectors of users and negatives, and who they are. Goes out: log p(y | x) of
every label. Weights and label sets are the multi-token loss's matter; vectors are the recommender's.

Shape legend
    P  loss positions    K  labels of a position at most    C  candidates    S  sampled negatives

Position t is normalised over Y_t ∪ (S∖Y_t): its own labels and those negatives that are none of
them. S = every candidate is the full softmax.
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


def negatives_count(candidates: int, vocabulary_size: int, objective: ObjectiveConfig) -> int:
    """|S|: a share of the candidates, but at least min(V, minimum), and never more than there are.

    10,000 candidates, V = 9,000, 1 %, minimum 2,048 → max(100, min(9,000, 2,048)) = 2,048.
    """
    if objective.softmax == "full":
        return candidates
    share = math.ceil(objective.negatives_fraction * candidates)
    return min(candidates, max(share, min(vocabulary_size, objective.negatives_minimum)))


def sample_negatives(
    candidates: Tensor, vocabulary_size: int, objective: ObjectiveConfig, seed: int, step: int
) -> Tensor:
    """Uniform sample of the candidates without replacement, shared by the whole batch.

    `candidates` int64 [C] → int64 [S], a function of (candidates, seed, step) and of no device.
    Costs O(S) where S is small beside C.
    """
    total = candidates.shape[0]
    count = negatives_count(total, vocabulary_size, objective)
    if count == total:
        return candidates
    stream = random_stream(Purpose.NEGATIVES, seed, step)
    chosen = stream.choice(total, size=count, replace=False, shuffle=False)
    return candidates[torch.from_numpy(chosen).to(candidates.device)]


def rejected_negatives(label_item: Tensor, is_label: Tensor, negatives: Tensor) -> Tensor:
    """Which negatives are labels of the position itself: bool [P, S].

    `label_item` int64 [P, K], `is_label` bool [P, K], `negatives` int64 [S] of distinct items.
    """
    rejected = torch.zeros(len(label_item), len(negatives), dtype=torch.bool, device=label_item.device)
    if not len(negatives):
        return rejected
    ordered, order = negatives.sort()
    place = torch.searchsorted(ordered, label_item).clamp(max=len(ordered) - 1)
    found = is_label & (ordered[place] == label_item)
    position = found.nonzero()[:, 0]
    rejected[position, order[place[found]]] = True
    return rejected


def sampling_correction(candidates: int, negatives: int) -> float:
    """logQ of uniform sampling: what is added to a negative's logit, log(C / |S|).

    A candidate that is no label is in S with probability |S| / C, so each negative stands for
    C / |S| of them and the sum over S is unbiased for the sum over all; labels are always in and
    are not corrected (Khrylchenko et al., 2025). 0 when S is everything.
    """
    return math.log(candidates / negatives) if negatives else 0.0


def rival_log_sums(users: Tensor, vectors: Tensor, rejected: Tensor, correction: float) -> Tensor:
    """log Σ e^(s + correction) over the negatives that a position does not reject.

    `users` [P, d_out], `vectors` [S, d_out] of the negatives, `rejected` bool [P, S] → [P], −∞ where
    all are rejected. Finite gradients for finite scores.
    """
    if not vectors.shape[0]:
        return users.new_full((users.shape[0],), IMPOSSIBLE)
    return _RivalLogSums.apply(users, vectors, rejected, correction)


class _RivalLogSums(torch.autograd.Function):
    """[P, S] is most of what a step touches: scores become their exponentials, and those the gradient,
    in the one buffer that there is. Autograd's own logsumexp holds three and walks them six times."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, vectors: Tensor, rejected: Tensor, correction: float) -> Tensor:
        scores = (users @ vectors.T).add_(correction).masked_fill_(rejected, IMPOSSIBLE)
        # Of a position that rejects everything the largest is no number to subtract.
        largest = scores.amax(dim=1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
        exponentials = scores.sub_(largest).exp_()
        total = exponentials.sum(dim=1, keepdim=True)
        ctx.save_for_backward(users, vectors, exponentials, total)
        return (largest + total.log()).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        users, vectors, exponentials, total = ctx.saved_tensors
        with torch.autocast(users.device.type, enabled=False):
            share = exponentials.mul_(torch.where(total > 0, gradient.unsqueeze(1) / total, 0.0))
            return share @ vectors, share.T @ users, None, None


def label_log_probabilities(label_logits: Tensor, is_label: Tensor, rivals: Tensor) -> Tensor:
    """log p of every label, normalised over Y_t ∪ (S∖Y_t).

    `label_logits` [P, K], `is_label` bool [P, K] with at least one true in a row, `rivals` [P] from
    `rival_log_sums` → [P, K], 0 where there is no label. Finite for finite logits.
    """
    labels = label_logits.masked_fill(~is_label, IMPOSSIBLE).logsumexp(dim=1)  # [P]
    normaliser = torch.logaddexp(labels, rivals).unsqueeze(1)  # [P, 1]
    return torch.where(is_label, label_logits - normaliser, 0.0)
