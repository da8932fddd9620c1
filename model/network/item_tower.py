"""The item tower: an item's collaborative and semantic vectors, shared by encoder and decoder.

    z_i = φ_sem(frozen features)        ẽ_i = e_ID[i] in the vocabulary, else e_OOV
    encoder and decoder, each with its own weights: W (w_ID · ẽ_i + w_sem · z_i)

A decoder vector depends on the item alone, not on events, users or context (Xu et al., 2026, section 6
and eq. 3).

Shape legend
    M  requested items               N  items of the catalogue
    V  rows of the ID table          d_e  item width
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.config import FRESHNESS, ModelConfig
from model.network.catalogue import Catalogue

INITIAL_SPREAD = 0.1
"""Standard deviation of initial ID embeddings and semantic vectors: logits start near 0."""
SHORTEST = 1e-12
"""Feature vectors shorter than this count as missing."""


class SemanticMap(nn.Module):
    """φ_sem: a linear map of each modality to d_e, summed.

    Linear, because with a few thousand items a hidden layer memorises items instead of generalising to
    new ones: models without it are as good or better on all open sources (docs/log.md). Each modality's
    vector is normalised to length √width, so that only its direction counts; zeros, for an item without
    the modality, add nothing.
    """

    def __init__(self, modalities: tuple[tuple[str, int], ...], width: int) -> None:
        super().__init__()
        self.widths = dict(modalities)
        self.inputs = nn.ModuleDict({name: nn.Linear(size, width, bias=False) for name, size in modalities})
        for name, size in modalities:
            nn.init.normal_(self.inputs[name].weight, std=INITIAL_SPREAD / math.sqrt(len(modalities) * size))

    def forward(self, features: dict[str, Tensor]) -> Tensor | int:
        """Features [M, width] of each modality → z [M, d_e]; the number 0 for a model without modalities."""
        return sum(self._mapped(name, features[name]) for name in self.inputs)

    def _mapped(self, name: str, vectors: Tensor) -> Tensor:
        # Normalise after the projection: d_e numbers per item, not the full width.
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=SHORTEST)
        return self.inputs[name](vectors) * (math.sqrt(self.widths[name]) / length)


class Side(nn.Module):
    """One consumer of the tower: a learned weight for each part, and an output map (ψ)."""

    def __init__(self, item_width: int, width: int) -> None:
        super().__init__()
        self.id_weight = nn.Parameter(torch.ones(()))
        self.semantic_weight = nn.Parameter(torch.ones(()))
        self.output = nn.Linear(item_width, width, bias=False)

    def forward(self, collaborative: Tensor, semantic: Tensor | int) -> Tensor:
        """ẽ [M, d_e], z [M, d_e] → [M, width]."""
        return self.output(self.id_weight * collaborative + self.semantic_weight * semantic)


class ItemTower(nn.Module):
    """One ID table and one φ_sem, read by two sides: `encoder` and `decoder`."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary_size, config.item_width, sparse=True)
        nn.init.normal_(self.table.weight, std=INITIAL_SPREAD)
        self.out_of_vocabulary = nn.Parameter(torch.zeros(config.item_width))
        self.semantic = SemanticMap(config.modalities, config.item_width)
        self.encoder = Side(config.item_width, config.backbone.width)
        self.decoder = Side(config.item_width, config.semantic_output_width)
        self.features = dict(config.features)
        self.freshness = config.freshness

    def encoder_vectors(self, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None) -> Tensor:
        """Item part of event tokens: int64 [M] → [M, d]; `masked` bool [N], None to mask no item."""
        return self._vectors(self.encoder, item_index, catalogue, masked)

    def decoder_vectors(self, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None) -> Tensor:
        """Item vectors v_i: int64 [M] → [M, d_out]; `masked` bool [N], None to mask no item.

        With freshness, ψ's output is followed by the item's launch phases.
        """
        vectors = self._vectors(self.decoder, item_index, catalogue, masked)
        if not self.freshness:
            return vectors
        return torch.cat([vectors, catalogue.features[FRESHNESS][item_index].to(vectors.dtype)], dim=-1)

    def loss_of_identity(
        self, side: Side, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None
    ) -> Tensor:
        """What changes in a side's vectors when items take e_OOV: int64 [M] → [M, width]."""
        collaborative = self._collaborative(*self._tokens(item_index, catalogue, masked))
        return side.output(side.id_weight * (self.out_of_vocabulary - collaborative))

    def check(self, catalogue: Catalogue) -> None:
        """Raises ValueError when a modality is missing or has another width, or a token exceeds the ID table."""
        given = {name: int(matrix.shape[1]) for name, matrix in catalogue.features.items()}
        if any(given.get(name) != width for name, width in self.features.items()):
            raise ValueError(
                f"the catalogue's features are {given}; the model needs {self.features} (name and width)"
            )
        if catalogue.vocabulary_size > self.table.num_embeddings:
            raise ValueError(
                f"the catalogue has item_token up to {catalogue.vocabulary_size - 1}; "
                f"the ID table has {self.table.num_embeddings} rows"
            )

    def _vectors(self, side: Side, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None) -> Tensor:
        features = {name: catalogue.features[name][item_index] for name in self.semantic.widths}
        token, has_row = self._tokens(item_index, catalogue, masked)
        return side(self._collaborative(token, has_row), self.semantic(features))

    @staticmethod
    def _tokens(item_index: Tensor, catalogue: Catalogue, masked: Tensor | None) -> tuple[Tensor, Tensor]:
        """Row of the ID table of some items, and whether they use it."""
        token = catalogue.item_token[item_index]
        has_row = token >= 0
        if masked is not None:
            has_row = has_row & ~masked[item_index]
        return token, has_row

    def _collaborative(self, token: Tensor, has_row: Tensor) -> Tensor:
        """ẽ [M, d_e]. Looks up, and so updates, only the rows that some item of the batch uses."""
        place = has_row.nonzero().squeeze(1)
        everywhere = self.out_of_vocabulary.expand(token.shape[0], -1)
        return everywhere.index_put((place,), self.table(token[place]))
