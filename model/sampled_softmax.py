"""Sampled softmax: which negatives a step shares, and the log-probability of every label.

Comes in: logits of labels and of negatives, and who they are. Goes out: log p(y | x) of every
label. Weights and label sets are the multi-token loss's matter; vectors are the recommender's.

Shape legend
    P  loss positions    K  labels of a position at most    C  candidates    S  sampled negatives

Position t is normalised over Y_t ∪ (S∖Y_t): its own labels and those negatives that are none of
them. S = every candidate is the full softmax.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

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


def label_log_probabilities(
    label_logits: Tensor, is_label: Tensor, negative_logits: Tensor, rejected: Tensor
) -> Tensor:
    """log p of every label, normalised over Y_t ∪ (S∖Y_t).

    `label_logits` [P, K], `is_label` bool [P, K] with at least one true in a row, `negative_logits`
    [P, S], `rejected` bool [P, S] → [P, K], 0 where there is no label. Finite for finite logits.
    `negative_logits` is overwritten.
    """
    labels = label_logits.masked_fill(~is_label, IMPOSSIBLE).logsumexp(dim=1)  # [P]
    # [P, S] is most of what a step touches: it is masked where it lies, and never copied.
    rivals = negative_logits.masked_fill_(rejected, IMPOSSIBLE).logsumexp(dim=1)
    normaliser = torch.logaddexp(labels, rivals).unsqueeze(1)  # [P, 1]
    return torch.where(is_label, label_logits - normaliser, 0.0)
