"""Sampling of negatives, and log-probabilities against their definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.network.sampled_softmax import (
    label_log_probabilities,
    negatives_count,
    rejected_negatives,
    rival_log_sums,
    sample_negatives,
    sampling_correction,
)
from tests.model import tiny

SAMPLED = {"softmax": "sampled"}


@pytest.mark.parametrize(
    ("eligible", "vocabulary", "expected"),
    [
        (1_000_000, 1_000_000, 10_000),  # one per cent
        (10_000, 9_000, 2_048),  # at least the minimum
        (5_000, 100, 100),  # at least min(V, minimum)
        (50_001, 10, 501),  # one per cent, rounded up
        (7, 9_000, 7),  # never more than there are
        (0, 0, 0),
    ],
)
def test_the_number_of_negatives(eligible: int, vocabulary: int, expected: int):
    assert negatives_count(eligible, vocabulary, tiny.objective(**SAMPLED)) == expected


def test_the_full_softmax_uses_every_eligible_item():
    eligible = torch.tensor([4, 9, 2])
    assert torch.equal(sample_negatives(eligible, 3, tiny.objective(), seed=1, step=1), eligible)


def test_negatives_are_distinct_eligible_items_and_a_function_of_seed_and_step():
    eligible = torch.arange(0, 60_000, 3)  # 20,000 items
    objective = tiny.objective(**SAMPLED, negatives_minimum=50)
    first, again, other = (sample_negatives(eligible, 20_000, objective, 1, step) for step in (5, 5, 6))
    assert first.shape == (200,) and first.unique().shape == (200,)
    assert torch.isin(first, eligible).all()
    assert torch.equal(first, again) and not torch.equal(first.sort().values, other.sort().values)


def test_negatives_are_uniform():
    eligible = torch.arange(40)
    objective = tiny.objective(**SAMPLED, negatives_minimum=10)
    drawn = torch.cat([sample_negatives(eligible, 40, objective, 1, step) for step in range(4000)])
    share = drawn.bincount(minlength=40) / 4000
    # Each item is drawn with probability 1/4; five standard errors over 4,000 steps.
    assert (share - 1 / 4).abs().max() < 5 * math.sqrt(3 / 16 / 4000)


def test_a_negative_is_rejected_only_where_it_is_a_label():
    rejected = rejected_negatives(
        label_item=torch.tensor([[3, 8], [0, 0], [5, 0]]),
        is_label=torch.tensor([[True, True], [False, False], [True, False]]),
        negatives=torch.tensor([8, 5, 0, 7]),
    )
    # Item 0 fills the columns without a label: it must not reject the negative 0.
    assert rejected.int().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_without_negatives_none_is_rejected():
    nothing = torch.tensor([], dtype=torch.int64)
    assert rejected_negatives(torch.tensor([[1]]), torch.tensor([[True]]), nothing).shape == (1, 0)


def _log_probability(
    logits: torch.Tensor, label_item: torch.Tensor, is_label: torch.Tensor, negatives: torch.Tensor
) -> torch.Tensor:
    """log p of the labels, for given logits: the vector of item i is the i-th unit vector."""
    one_hot = torch.eye(logits.shape[1], dtype=logits.dtype)[negatives]
    rivals = rival_log_sums(logits, one_hot, rejected_negatives(label_item, is_label, negatives), 0.0)
    return label_log_probabilities(logits.gather(1, label_item), is_label, rivals)


LABEL_SETS = st.lists(
    st.lists(st.integers(0, 11), min_size=1, max_size=3, unique=True), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(LABEL_SETS, st.lists(st.integers(0, 11), min_size=1, unique=True), st.integers(0, 10_000))
def test_log_probability_equals_the_definition(label_sets: list, negatives: list[int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(len(label_sets), 12, generator=generator)
    label_item, is_label = torch.zeros(len(label_sets), 3).long(), torch.zeros(len(label_sets), 3).bool()
    for position, labels in enumerate(label_sets):
        label_item[position, : len(labels)] = torch.tensor(labels)
        is_label[position, : len(labels)] = True
    drawn = torch.tensor(negatives)
    result = _log_probability(logits, label_item, is_label, drawn)
    for position, labels in enumerate(label_sets):
        scores = [logits[position, item].item() for item in range(12)]
        normaliser = math.log(sum(math.exp(scores[item]) for item in {*labels, *negatives}))
        for column, item in enumerate(labels):
            # Sums of up to 12 terms of logits up to about 16.
            bound = 32 * torch.finfo(torch.float32).eps * (1 + max(map(abs, scores)))
            assert abs(result[position, column].item() - (scores[item] - normaliser)) < bound
        assert (result[position, len(labels) :] == 0).all()


def test_sampling_every_item_equals_the_full_softmax():
    logits = torch.randn(5, 30, dtype=torch.float64)
    label_item = torch.tensor([[1, 2], [3, 4], [5, 29], [0, 7], [8, 9]])
    is_label = torch.ones(5, 2, dtype=torch.bool)
    everything = torch.randperm(30)
    result = _log_probability(logits, label_item, is_label, everything)
    expected = logits.log_softmax(dim=1).gather(1, label_item)
    torch.testing.assert_close(result, expected, atol=1e-13, rtol=0)
    assert sampling_correction(30, 30) == 0


@pytest.mark.parametrize("scale", [2.0**14, 2.0**100])
def test_extreme_logits_stay_finite_with_finite_gradients(scale: float):
    logits = torch.tensor([[scale, -scale, 0.0], [-scale, scale, 0.0]], requires_grad=True)
    is_label = torch.tensor([[True], [True]])
    everything_rejected = torch.tensor([[True, True], [False, True]])
    rivals = rival_log_sums(logits, torch.eye(3)[1:], everything_rejected, 0.0)
    result = label_log_probabilities(logits[:, :1], is_label, rivals)
    result.sum().backward()
    assert result[0].item() == 0 and result[1].item() == -2 * scale
    assert logits.grad.isfinite().all()


def test_rival_sums_and_their_gradients_equal_those_of_logsumexp():
    generator = torch.Generator().manual_seed(2)
    users, vectors = (
        torch.randn(count, 6, generator=generator, dtype=torch.float64, requires_grad=True)
        for count in (5, 9)
    )
    rejected = torch.rand(5, 9, generator=generator) < 0.3
    plain = (users @ vectors.T + 0.7).masked_fill(rejected, -math.inf).logsumexp(dim=1)
    sums = rival_log_sums(users, vectors, rejected, 0.7)
    torch.testing.assert_close(sums, plain, atol=1e-13, rtol=0)
    weight = torch.randn(5, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(plain @ weight, (users, vectors))
    gradients = torch.autograd.grad(sums @ weight, (users, vectors), retain_graph=True)
    torch.testing.assert_close(gradients, expected, atol=1e-13, rtol=0)
    # The exponentials were overwritten by the gradient: a second backward pass must be refused.
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sums.sum().backward()


def test_without_rivals_the_sum_is_minus_infinity_and_has_no_gradient():
    users = torch.ones(2, 3, requires_grad=True)
    everything = torch.ones(2, 4, dtype=torch.bool)
    sums = rival_log_sums(users, torch.ones(4, 3), everything, 0.0)
    torch.logaddexp(sums, torch.zeros(2)).sum().backward()
    assert sums.isneginf().all() and (users.grad == 0).all()
    assert rival_log_sums(users, torch.ones(0, 3), everything[:, :0], 0.0).isneginf().all()


def test_corrected_sum_over_negatives_is_unbiased():
    """The mean over many samples of the corrected sum equals the sum over all eligible items."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(40, generator=generator, dtype=torch.float64)  # e^s of every item
    objective = tiny.objective(**SAMPLED, negatives_minimum=10)
    factor = math.exp(sampling_correction(40, 10))
    steps = 4000
    sums = torch.stack(
        [weights[sample_negatives(torch.arange(40), 40, objective, 1, step)].sum() for step in range(steps)]
    )
    error = factor * sums.mean() - weights.sum()
    assert abs(error) < 5 * factor * sums.std() / math.sqrt(steps)
