"""The backbone: a causal pre-norm transformer over packed rows.

Maps tokens and segment numbers to one hidden state per slot. Sequences that share a row are masked from
each other, and every slot from its own future.

Shape legend
    R  packed rows    L  slots of a row    d  width    A  attention heads    h  width of a head
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.sizes import Size

ROTARY_BASE = 10_000.0
"""Longest wavelength of the rotary positions, in slots, over 2π (Su et al., 2021)."""


def attention_mask(segment: Tensor) -> Tensor:
    """Which slots attend to which: segment int64 [R, L] → bool [R, 1, L, L], queries before keys.

    A slot attends to itself and to earlier slots of its own sequence. Padding (segment 0) attends to
    padding, so that no row of the softmax is empty; nothing else does.
    """
    same = segment.unsqueeze(2) == segment.unsqueeze(1)
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
    return (same & causal).unsqueeze(1)


def positions(segment: Tensor) -> Tensor:
    """Position of every slot within its own sequence, from 0: int64 [R, L] → int64 [R, L]."""
    slot = torch.arange(segment.shape[1], device=segment.device).expand_as(segment)
    begins = torch.ones_like(segment, dtype=torch.bool)
    begins[:, 1:] = segment[:, 1:] != segment[:, :-1]
    return slot - torch.where(begins, slot, 0).cummax(dim=1).values


def rotary_table(position: Tensor, head_width: int, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary positions: int64 [R, L] → [R, 1, L, h/2] each."""
    exponent = torch.arange(0, head_width, 2, device=position.device, dtype=torch.float64) / head_width
    angle = position.unsqueeze(-1) * ROTARY_BASE**-exponent
    return angle.cos().unsqueeze(1).to(kind), angle.sin().unsqueeze(1).to(kind)


def rotate(states: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotates the pairs (first half, second half) of [R, A, L, h] by their position's angles."""
    cosine, sine = table
    first, second = states.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)


class Layer(nn.Module):
    """Attention and feed-forward, each with its own pre-norm, added to the residual stream."""

    def __init__(self, size: Size, dropout: float) -> None:
        super().__init__()
        self.heads = size.heads
        self.attention_norm = nn.RMSNorm(size.width)
        self.query_key_value = nn.Linear(size.width, 3 * size.width, bias=False)
        self.attention_output = nn.Linear(size.width, size.width, bias=False)
        self.feed_forward_norm = nn.RMSNorm(size.width)
        self.feed_forward_input = nn.Linear(size.width, 4 * size.width, bias=False)
        self.feed_forward_output = nn.Linear(4 * size.width, size.width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: Tensor, mask: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        """[R, L, d] → [R, L, d]; `mask` bool [R, 1, L, L]."""
        stream = stream + self.dropout(self._attention(self.attention_norm(stream), mask, table))
        hidden = F.gelu(self.feed_forward_input(self.feed_forward_norm(stream)))
        return stream + self.dropout(self.feed_forward_output(hidden))

    def _attention(self, states: Tensor, mask: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
        rows, length, width = states.shape
        split = self.query_key_value(states).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [R, A, L, h]
        query, key = rotate(query, table), rotate(key, table)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.attention_output(mixed.transpose(1, 2).reshape(rows, length, width))


class Backbone(nn.Module):
    """Transformer of `size.layers` layers with a final norm."""

    def __init__(self, size: Size, dropout: float) -> None:
        super().__init__()
        self.head_width = size.width // size.heads
        self.layers = nn.ModuleList(Layer(size, dropout) for _ in range(size.layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.RMSNorm(size.width)
        for layer in self.layers:
            for weight in layer.parameters():
                if weight.dim() == 2:
                    nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]))
            # The stream sums 2 · layers branches; scaled to unit variance at initialisation.
            with torch.no_grad():
                layer.attention_output.weight /= math.sqrt(2 * size.layers)
                layer.feed_forward_output.weight /= math.sqrt(2 * size.layers)

    def forward(self, tokens: Tensor, segment: Tensor) -> Tensor:
        """Tokens [R, L, d] and segment int64 [R, L] → hidden states [R, L, d]."""
        mask = attention_mask(segment)
        stream = self.dropout(tokens)
        table = rotary_table(positions(segment), self.head_width, stream.dtype)
        for layer in self.layers:
            stream = layer(stream, mask, table)
        return self.norm(stream)
