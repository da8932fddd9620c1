"""Products of entries and their gradients equal those of look-ups, also where rows repeat or have no entry."""

from __future__ import annotations

import pytest
import torch

from model.network import row_products as row_products_module
from model.network.row_products import row_products


def entries(count: int, positions: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(1)
    position = torch.randint(positions, (count,), generator=stream).sort().values
    return position, torch.randint(rows, (count,), generator=stream)


def tensors(*shapes: tuple[int, int]) -> list[torch.Tensor]:
    stream = torch.Generator().manual_seed(2)
    return [torch.randn(shape, generator=stream, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("count", [0, 1, 40])
def test_they_equal_look_ups(count):
    position, row = entries(count, 7, 5)
    users, vectors = tensors((7, 3), (5, 3))
    gradient = torch.arange(count, dtype=torch.float64)
    found = row_products(users, vectors, position, row)
    expected = (users[position] * vectors[row]).sum(dim=1)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(found, (users, vectors), gradient),
        torch.autograd.grad(expected, (users, vectors), gradient),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


def test_without_rows_every_entry_has_its_own_vector():
    position, _ = entries(9, 4, 1)
    users, vectors = tensors((4, 3), (9, 3))
    found = row_products(users, vectors, position)
    assert torch.equal(found, row_products(users, vectors, position, torch.arange(9)))
    assert torch.autograd.gradcheck(lambda *given: row_products(*given, position), (users, vectors))


def test_only_the_gradients_that_are_needed_are_computed(monkeypatch):
    position, row = entries(9, 4, 5)
    users, vectors = tensors((4, 3), (5, 3))
    bags, weighted_sums = [], row_products_module._weighted_sums

    def counted(values, entry, bag, number, weight):
        bags.append(number)
        return weighted_sums(values, entry, bag, number, weight)

    monkeypatch.setattr(row_products_module, "_weighted_sums", counted)
    row_products(users.detach(), vectors, position, row).sum().backward()
    assert bags == [5] and users.grad is None
    row_products(users, vectors.detach(), position, row).sum().backward()
    assert bags == [5, 4]


def test_no_entries_have_no_products_and_zero_gradients():
    users, vectors = tensors((4, 3), (0, 3))
    found = row_products(users, vectors, torch.zeros(0, dtype=torch.int64))
    found.sum().backward()
    assert found.shape == (0,) and not users.grad.any() and vectors.grad.shape == (0, 3)


def test_gradients_are_the_same_bits_on_any_number_of_threads():
    position, row = entries(20_000, 300, 50)
    users, vectors = (one.detach().float().requires_grad_() for one in tensors((300, 33), (50, 33)))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            products = row_products(users, vectors, position, row)
            found.append((products, *torch.autograd.grad(products.sum(), (users, vectors))))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
