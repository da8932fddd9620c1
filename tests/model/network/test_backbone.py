"""Attention, positions and packing in the backbone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.network.backbone import Backbone, attention_mask, positions, rotary_table, rotate
from model.sizes import SIZES, Size

SIZE = Size(width=32, layers=2, heads=2)
PACKINGS = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=3)
"""Rows of sequence lengths."""


def _backbone(kind: torch.dtype = torch.float64) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Backbone(SIZE, dropout=0.0).to(kind).eval()


def _packed(rows: list[list[int]]) -> torch.Tensor:
    """Segments of rows of sequence lengths, with at least one slot of padding."""
    length = 1 + max(sum(row) for row in rows)
    segment = torch.zeros(len(rows), length, dtype=torch.int64)
    for number, row in enumerate(rows):
        numbers = [order for order, size in enumerate(row, start=1) for _ in range(size)]
        segment[number, : len(numbers)] = torch.tensor(numbers)
    return segment


def _sequences(segment: torch.Tensor) -> set[tuple[int, int]]:
    """(row, number) of every sequence."""
    return {(row, int(segment[row, slot])) for row, slot in segment.nonzero().tolist()}


def test_mask_is_causal_within_a_sequence():
    mask = attention_mask(torch.tensor([[1, 1, 2, 0]]))
    assert mask[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_positions_restart_with_every_sequence():
    assert positions(torch.tensor([[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 0, 0]])).tolist() == [
        [0, 1, 2, 0, 1, 0],
        [0, 0, 0, 1, 0, 1],
    ]


def test_rotation_keeps_lengths_and_depends_only_on_the_distance():
    states = torch.randn(1, 1, 9, 8, dtype=torch.float64)
    same = states[:, :, :1].expand_as(states)
    rotated = rotate(same, rotary_table(torch.arange(9).unsqueeze(0), 8, torch.float64))[0, 0]
    torch.testing.assert_close(rotated.norm(dim=-1), same[0, 0].norm(dim=-1), atol=1e-12, rtol=0)
    products = rotated @ rotated.T
    for distance in range(9):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-12, rtol=0)


def test_the_first_pair_rotates_by_one_radian_per_slot():
    states = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).expand(1, 1, 2, 4)
    rotated = rotate(states, rotary_table(torch.tensor([[0, 1]]), 4, torch.float64))
    assert rotated[0, 0, 1].tolist() == pytest.approx([math.cos(1), 0, math.sin(1), 0])


@settings(max_examples=25, deadline=None)
@given(PACKINGS, st.integers(0, 1000))
def test_a_sequence_has_the_same_hidden_states_packed_and_alone(rows: list[list[int]], seed: int):
    backbone, segment = _backbone(), _packed(rows)
    tokens = torch.randn(*segment.shape, SIZE.width, generator=torch.Generator().manual_seed(seed))
    tokens = tokens.double()
    together = backbone(tokens, segment)
    for row, order in _sequences(segment):
        own = segment[row] == order
        alone = backbone(tokens[row, own].unsqueeze(0), torch.ones(1, int(own.sum()), dtype=torch.int64))
        torch.testing.assert_close(together[row, own], alone[0], atol=1e-12, rtol=0)


@settings(max_examples=25, deadline=None)
@given(PACKINGS, st.data())
def test_a_changed_token_changes_no_earlier_state_and_no_other_sequence(rows: list[list[int]], data):
    backbone, segment = _backbone(), _packed(rows)
    tokens = torch.randn(*segment.shape, SIZE.width, generator=torch.Generator().manual_seed(1)).double()
    row = data.draw(st.integers(0, len(rows) - 1))
    slot = data.draw(st.integers(0, sum(rows[row]) - 1))
    changed = tokens.clone()
    changed[row, slot] += 1
    before, after = backbone(tokens, segment), backbone(changed, segment)
    may_change = torch.zeros_like(segment, dtype=torch.bool)
    may_change[row, slot:] = segment[row, slot:] == segment[row, slot]
    torch.testing.assert_close(before[~may_change], after[~may_change], atol=1e-13, rtol=0)
    assert (before[may_change] != after[may_change]).any(dim=-1).all()


def test_a_layer_equals_attention_by_hand():
    backbone = _backbone()
    layer = backbone.layers[0]
    states = torch.randn(1, 5, SIZE.width, dtype=torch.float64)
    segment = torch.ones(1, 5, dtype=torch.int64)
    table = rotary_table(positions(segment), 16, torch.float64)
    result = layer(states, attention_mask(segment), table)[0]

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / x.square().mean(dim=-1, keepdim=True).sqrt()  # norms have weight 1 at initialisation

    query, key, value = (norm(states[0]) @ layer.query_key_value.weight.T).split(SIZE.width, dim=-1)
    mixed = []
    for head in range(SIZE.heads):
        own = slice(16 * head, 16 * head + 16)
        q, k = (rotate(x[:, own][None, None], table)[0, 0] for x in (query, key))
        weight = (q @ k.T / 4).exp().tril()
        mixed.append(weight / weight.sum(dim=-1, keepdim=True) @ value[:, own])
    stream = states[0] + torch.cat(mixed, dim=-1) @ layer.attention_output.weight.T
    inner = norm(stream) @ layer.feed_forward_input.weight.T
    inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    expected = stream + inner @ layer.feed_forward_output.weight.T
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=0)


def test_float32_stays_near_float64():
    segment = _packed([[5, 3], [8]])
    tokens = torch.randn(2, segment.shape[1], SIZE.width)
    exact = _backbone()(tokens.double(), segment)
    rounded = _backbone(torch.float32)(tokens, segment).double()
    # Hidden states have unit mean square; each of two layers sums up to 128 terms.
    assert (rounded - exact).abs().max() < 128 * torch.finfo(torch.float32).eps


def test_padding_and_empty_history_stay_finite():
    assert _backbone()(torch.zeros(1, 3, SIZE.width).double(), torch.zeros(1, 3).long()).isfinite().all()


@pytest.mark.parametrize("name", ["25k", "200k", "2m"])
def test_presets_state_their_number_of_parameters(name: str):
    size = SIZES[name]
    counted = sum(weight.numel() for weight in Backbone(size, 0.0).parameters() if weight.dim() == 2)
    assert counted == size.parameters
