"""The item tower: collaborative and semantic knowledge of an item, shared by encoder and decoder.

    z_i = φ_sem(frozen features)        ẽ_i = e_ID[i] in the vocabulary, else e_OOV
    encoder and decoder each: output map (w_ID · ẽ_i + w_sem · z_i), with weights of their own

Comes in: item indices, the catalogue, and which items are masked in this step. Goes out: one
vector an item. It knows nothing of events, users or context: a candidate's vector is a function of
the item alone (Xu et al., 2026, section 6 and eq. 3).

Shape legend
    M  items asked for               N  items of the catalogue
    V  rows of the ID table          d_e  item width
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.config import FRESHNESS, ModelConfig
from model.network.batch import Catalogue

INITIAL_SPREAD = 0.1
"""Standard deviation of a fresh ID embedding and of a fresh semantic vector: logits start near 0."""
SHORTEST = 1e-12
"""Length below which a feature vector counts as none."""


class SemanticMap(nn.Module):
    """φ_sem: a linear map of every modality to d_e, summed.

    Linear, because catalogues of thousands teach a hidden layer to remember items rather than to
    place new ones: without it models are better or as good on all open sources (docs/log.md).
    A modality's vector is scaled to length √width first, so that a modality counts by its
    direction; an item without it has zeros there, which add nothing.
    """

    def __init__(self, modalities: tuple[tuple[str, int], ...], width: int) -> None:
        super().__init__()
        self.widths = dict(modalities)
        self.inputs = nn.ModuleDict({name: nn.Linear(size, width, bias=False) for name, size in modalities})
        for name, size in modalities:
            nn.init.normal_(self.inputs[name].weight, std=INITIAL_SPREAD / math.sqrt(len(modalities) * size))

    def forward(self, features: dict[str, Tensor]) -> Tensor | int:
        """Features [M, width] a modality → z [M, d_e]; 0 where there is no modality."""
        return sum(self._mapped(name, features[name]) for name in self.inputs)

    def _mapped(self, name: str, vectors: Tensor) -> Tensor:
        # The length is divided out behind the map: d_e numbers an item are touched and not the width.
        length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=SHORTEST)
        return self.inputs[name](vectors) * (math.sqrt(self.widths[name]) / length)


class Side(nn.Module):
    """One consumer of the tower: learned weights of the two parts, and an output map (ψ)."""

    def __init__(self, item_width: int, width: int) -> None:
        super().__init__()
        self.id_weight = nn.Parameter(torch.ones(()))
        self.semantic_weight = nn.Parameter(torch.ones(()))
        self.output = nn.Linear(item_width, width, bias=False)

    def forward(self, collaborative: Tensor, semantic: Tensor | int) -> Tensor:
        """ẽ [M, d_e], z [M, d_e] → [M, width]."""
        return self.output(self.id_weight * collaborative + self.semantic_weight * semantic)


class ItemTower(nn.Module):
    """One ID table and one φ_sem; `encoder` and `decoder` are the two sides."""

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
        """Item part of event tokens: int64 [M] → [M, d]; `masked` bool [N], or None for none."""
        return self._vectors(self.encoder, item_index, catalogue, masked)

    def decoder_vectors(self, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None) -> Tensor:
        """Candidate vectors v_i: int64 [M] → [M, d_out]; `masked` bool [N], or None for none.

        With freshness the item's launch phases follow ψ's part.
        """
        vectors = self._vectors(self.decoder, item_index, catalogue, masked)
        if not self.freshness:
            return vectors
        return torch.cat([vectors, catalogue.features[FRESHNESS][item_index].to(vectors.dtype)], dim=-1)

    def check(self, catalogue: Catalogue) -> None:
        """Raises ValueError when the catalogue has other modalities, or tokens the table has not."""
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
        token = catalogue.item_token[item_index]
        has_row = token >= 0
        if masked is not None:
            has_row = has_row & ~masked[item_index]
        return side(self._collaborative(token, has_row), self.semantic(features))

    def _collaborative(self, token: Tensor, has_row: Tensor) -> Tensor:
        """ẽ [M, d_e]. Rows that no item of the batch uses are not looked up, hence not updated."""
        place = has_row.nonzero().squeeze(1)
        everywhere = self.out_of_vocabulary.expand(token.shape[0], -1)
        return everywhere.index_put((place,), self.table(token[place]))
