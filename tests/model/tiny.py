"""Catalogues, batches and models small enough to check by hand."""

from __future__ import annotations

import torch

from model.config import ModelConfig, ObjectiveConfig
from model.network.batch import Batch
from model.network.catalogue import OUT_OF_VOCABULARY, Catalogue
from model.network.recommender import Recommender

MODALITIES = (("language", 6), ("graph", 3))
HOUR = 3600.0


def config(**changes) -> ModelConfig:
    """The smallest backbone, no dropout."""
    settings = {
        "size": "25k",
        "item_width": 8,
        "output_width": 32,
        "dropout": 0.0,
        "modalities": MODALITIES,
        "actions": 3,
        "context_fields": ("page",),
        "context_buckets": 4,
        "max_length": 16,
    }
    return ModelConfig(**(settings | changes))


def objective(**changes) -> ObjectiveConfig:
    """Two labels per position, no decay, all eligible items as negatives."""
    return ObjectiveConfig(**({"label_window": 2, "half_life_hours": None, "softmax": "full"} | changes))


def catalogue(items: int, in_vocabulary: int | None = None, seed: int = 0) -> Catalogue:
    """`items` items; the first `in_vocabulary` (all by default) have the row of their own index."""
    known = items if in_vocabulary is None else in_vocabulary
    token = torch.arange(items)
    token[known:] = OUT_OF_VOCABULARY
    generator = torch.Generator().manual_seed(seed)
    features = {name: torch.randn(items, width, generator=generator) for name, width in MODALITIES}
    return Catalogue(token, features)


def recommender(vocabulary_size: int, seed: int = 0, **changes) -> Recommender:
    """A model with weights drawn from `seed`, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Recommender(config(**changes), vocabulary_size).eval()


def double(model: Recommender, of: Catalogue) -> tuple[Recommender, Catalogue]:
    """Model and catalogue in float64."""
    return model.double(), Catalogue(of.item_token, {name: m.double() for name, m in of.features.items()})


def batch(
    rows: list[list[list[int]]],
    labels: dict[int, list[tuple[int, float]]] | None = None,
    starts: bool = True,
) -> Batch:
    """Rows of sequences of items; every sequence begins with a start token if `starts`.

    `labels` maps a flat slot to its (item, weight) pairs. The other fields depend on an event's item and
    index in its sequence alone, so that a sequence is the same wherever it is packed.
    """
    length = max(sum(len(sequence) + starts for sequence in row) for row in rows)
    item = torch.zeros(len(rows), length, dtype=torch.int64)
    segment, index = torch.zeros_like(item), torch.zeros_like(item)
    is_start = torch.zeros_like(item, dtype=torch.bool)
    for number, row in enumerate(rows):
        slot = 0
        for order, sequence in enumerate(row, start=1):
            for step, value in enumerate(([None] if starts else []) + list(sequence)):
                segment[number, slot], index[number, slot] = order, step
                is_start[number, slot] = value is None
                item[number, slot] = value or 0
                slot += 1
    labels = labels or {}
    width = max((len(pairs) for pairs in labels.values()), default=1)
    label_item = torch.zeros(len(labels), width, dtype=torch.int64)
    label_weight = torch.zeros(len(labels), width)
    for position, pairs in enumerate(labels.values()):
        for column, (label, weight) in enumerate(pairs):
            label_item[position, column], label_weight[position, column] = label, weight
    return Batch(
        item_index=item,
        is_start=is_start,
        action=(item + index) % 3,
        context=((item + index) % 4).unsqueeze(-1),
        reward=(item % 2).float(),
        gap_seconds=(index * 977 % 5000).float(),
        event_at_seconds=1.7e9 + index.double() * 977,
        segment=segment,
        label_slot=torch.tensor(list(labels), dtype=torch.int64),
        label_item=label_item,
        label_weight=label_weight,
    )
