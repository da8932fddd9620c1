"""The event encoder: an event's item, action, context, time and reward as one token of width d.

The item part comes from the item tower. Context is encoded here only: item vectors never depend on it.

Shape legend
    R  packed rows    L  slots of a row    E  events of the batch (no start tokens, no padding)
    C  context fields    d  backbone width
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.network.batch import Batch

GAP_KNOTS = 32
"""Knots of the gap features, at 2^k − 1 seconds; the last is 68 years."""
SECONDS_A_WEEK = 7 * 24 * 3600
WEEK_HARMONICS = (1, 2, 3, 7, 14, 21)
"""Cycles per week: the week and two of its harmonics, the day and two of its harmonics."""


def gap_features(gap_seconds: Tensor) -> Tensor:
    """Smooth log-scale buckets of a gap: [E] seconds, 0 or more → [E, GAP_KNOTS], each row sums to 1.

    A gap at knot k (2^k − 1 seconds) has a 1 there; a gap between two knots is interpolated in log time.
    """
    position = torch.log2(1 + gap_seconds.clamp(min=0)).clamp(max=GAP_KNOTS - 1)
    knots = torch.arange(GAP_KNOTS, device=gap_seconds.device, dtype=position.dtype)
    return (1 - (position[:, None] - knots).abs()).clamp(min=0)


def week_features(event_at_seconds: Tensor) -> Tensor:
    """Time of week: float64 [E] seconds since 1970 UTC → float64 [E, 2 · harmonics] sines, cosines.

    Takes float64: float32 resolves today's seconds only to two minutes.
    """
    turn = torch.remainder(event_at_seconds, SECONDS_A_WEEK) / SECONDS_A_WEEK
    harmonics = torch.tensor(WEEK_HARMONICS, device=turn.device, dtype=turn.dtype)
    angle = 2 * math.pi * turn[:, None] * harmonics
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def reward_features(reward: Tensor) -> Tensor:
    """Reward weights [E] → [E, 2]: whether the event is high-value, and log(1 + reward)."""
    return torch.stack([(reward > 0).to(reward.dtype), torch.log1p(reward.clamp(min=0))], dim=1)


class EventEncoder(nn.Module):
    """Sums the parts of an event into one token, normalised to unit mean square."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.backbone.width
        self.action = nn.Embedding(config.actions, width)
        self.context = nn.ModuleDict(
            {name: nn.Embedding(config.context_buckets, width) for name in config.context_fields}
        )
        self.gap = nn.Linear(GAP_KNOTS, width, bias=False)
        self.week = nn.Linear(2 * len(WEEK_HARMONICS), width, bias=False)
        self.reward = nn.Linear(2, width, bias=False)
        self.item_norm = nn.RMSNorm(width)
        self.norm = nn.RMSNorm(width)
        self.start = nn.Parameter(torch.randn(width))
        for layer in (self.action, self.gap, self.week, self.reward, *self.context.values()):
            nn.init.normal_(layer.weight, std=0.1)

    def forward(self, batch: Batch, item_part: Tensor) -> Tensor:
        """`item_part` [E, d] for the batch's events in slot order → tokens [R, L, d], padding 0."""
        event = batch.is_event
        kind = self.item_norm.weight.dtype  # tokens keep this type under mixed precision
        fused = self.item_norm(item_part.to(kind)) + self.action(batch.action[event])
        for number, embedding in enumerate(self.context.values()):
            fused = fused + embedding(batch.context[..., number][event])
        fused = fused + self.gap(gap_features(batch.gap_seconds[event]).to(kind))
        fused = fused + self.week(week_features(batch.event_at_seconds[event]).to(kind))
        fused = fused + self.reward(reward_features(batch.reward[event]).to(kind))
        fused = self.norm(fused)
        tokens = fused.new_zeros(*batch.segment.shape, fused.shape[-1])
        tokens = tokens.masked_scatter(event.unsqueeze(-1), fused)
        return torch.where(batch.is_start.unsqueeze(-1), self.start.to(tokens.dtype), tokens)
