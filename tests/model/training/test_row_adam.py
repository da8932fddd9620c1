"""Adam by row, against Adam in float64 over each row's own gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model.training.row_adam import MEAN, SQUARE, STEPS, RowAdam

ROWS, WIDTH, RATE = 6, 4, 0.01
TOUCHED = [[0, 1], [0, 2], [0, 1, 2], *[[0]] * 40, [0, 3], [3, 1]]
"""Rows of each step's gradient; 3 is first touched at step 44, and 4 and 5 never are."""


def table() -> nn.Parameter:
    return nn.Parameter(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)))


def gradients() -> list[tuple[list[int], Tensor]]:
    stream = torch.Generator().manual_seed(1)
    return [(rows, torch.randn(len(rows), WIDTH, generator=stream)) for rows in TOUCHED]


def sparse(rows: list[int], values: Tensor) -> Tensor:
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, (ROWS, WIDTH), check_invariants=True)


def train(weights: nn.Parameter, optimizer: torch.optim.Optimizer, steps: slice = slice(None)) -> None:
    for rows, values in gradients()[steps]:
        weights.grad = sparse(rows, values)
        optimizer.step()


def reference() -> Tensor:
    """Each row alone through torch's dense Adam, in float64."""
    found = table().detach().double()
    for row in range(ROWS):
        alone = nn.Parameter(found[row].clone())
        adam = torch.optim.Adam([alone], lr=RATE)
        for rows, values in gradients():
            if row in rows:
                alone.grad = values[rows.index(row)].double()
                adam.step()
        found[row] = alone.detach()
    return found


def test_every_row_takes_the_steps_of_adam_over_its_own_gradients():
    weights = table()
    optimizer = RowAdam([{"params": [weights]}], lr=RATE)
    train(weights, optimizer)
    # At most 45 steps of at most a few times the rate, each with a relative error of a few roundings.
    bound = 45 * RATE * 16 * torch.finfo(torch.float32).eps + 4 * torch.finfo(torch.float32).eps
    torch.testing.assert_close(weights.detach().double(), reference(), atol=bound, rtol=0)
    assert optimizer.state[weights][STEPS].tolist() == [44, 3, 2, 2, 0, 0]


def test_a_row_first_touched_late_takes_a_step_of_the_learning_rate():
    """One count for the table makes its first step about three times as large."""
    moved = {}
    for kind in (RowAdam, torch.optim.SparseAdam):
        weights = table()
        optimizer = kind([{"params": [weights]}], lr=RATE)
        for step in range(1000):
            weights.grad = sparse([0] if step < 999 else [0, 3], torch.ones(1 if step < 999 else 2, WIDTH))
            optimizer.step()
        moved[kind] = (table()[3] - weights[3]).detach()
    torch.testing.assert_close(moved[RowAdam], torch.full((WIDTH,), RATE), rtol=1e-4, atol=0)
    assert (moved[torch.optim.SparseAdam] > 2 * RATE).all()


def test_rows_without_a_gradient_keep_value_and_state():
    weights = table()
    optimizer = RowAdam([{"params": [weights]}], lr=RATE)
    state = optimizer.state[weights]
    state[MEAN].fill_(3.0)
    state[SQUARE].fill_(2.0)
    before = weights.detach().clone()
    weights.grad = sparse([2], torch.ones(1, WIDTH))
    optimizer.step()
    for value, was in ((weights.detach(), before), (state[MEAN], 3), (state[SQUARE], 2)):
        assert (value != was).any(dim=1).tolist() == [False, False, True, False, False, False]


def test_a_row_that_is_named_twice_takes_one_step_of_the_sum():
    weights, once = table(), table()
    for one, gradient in (
        (weights, sparse([1, 1], torch.full((2, WIDTH), 0.5))),
        (once, sparse([1], torch.ones(1, WIDTH))),
    ):
        one.grad = gradient
        RowAdam([{"params": [one]}], lr=RATE).step()
    assert torch.equal(weights, once)


def test_the_same_steps_give_the_same_bits_and_a_copied_state_continues_them():
    whole, halves = table(), table()
    train(whole, RowAdam([{"params": [whole]}], lr=RATE))
    first = RowAdam([{"params": [halves]}], lr=RATE)
    train(halves, first, slice(20))
    second = RowAdam([{"params": [halves]}], lr=RATE)
    second.state[halves] = {name: value.clone() for name, value in first.state[halves].items()}
    train(halves, second, slice(20, None))
    assert torch.equal(whole, halves)


def test_a_dense_gradient_is_refused():
    weights = table()
    weights.grad = torch.ones(ROWS, WIDTH)
    with pytest.raises(ValueError, match="must be sparse"):
        RowAdam([{"params": [weights]}], lr=RATE).step()
