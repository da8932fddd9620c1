"""The recommender: event encoder, backbone, projected head and item tower.

Maps packed batches and the catalogue to user vectors, item vectors, scores, and a batch's training loss.
Reads no file and no clock, and does not depend on Lightning.

Shape legend
    R  packed rows    L  slots of a row    P  loss positions    K  most labels of a position
    N  items    C  eligible items    S  sampled negatives    M  distinct items that a step needs
    d  backbone width    d_out  decoding width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import ModelConfig, ObjectiveConfig
from model.draws import Purpose, torch_seed
from model.network.backbone import Backbone
from model.network.batch import Batch
from model.network.catalogue import Catalogue
from model.network.event_encoder import EventEncoder
from model.network.freshness import Freshness, clock
from model.network.head import ProjectedHead
from model.network.item_tower import ItemTower
from model.network.masking import draw_masks
from model.network.multi_token_loss import label_figures, multi_token_loss
from model.network.sampled_softmax import (
    label_log_probabilities,
    rejected_negatives,
    rival_log_sums,
    sample_negatives,
    sampling_correction,
)


def score(user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """s(u, i) = g(h_u)ᵀ v_i: [..., d_out] and [M, d_out] → [..., M].

    The last bits of a score depend on the shape of the product, since a matrix product is blocked
    differently for other numbers of users or items. Equal shapes give equal bits on one kind of CPU, so
    compare scores (a label with its rivals, a model with its parent) only between products of one shape.
    """
    return user_vectors @ item_vectors.T


class Recommender(nn.Module):
    """The model of Xu et al., 2026, for a vocabulary of `vocabulary_size` rows."""

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.item_tower = ItemTower(config, vocabulary_size)
        self.event_encoder = EventEncoder(config)
        self.backbone = Backbone(config.backbone, config.dropout)
        self.head = ProjectedHead(config.backbone.width, config.semantic_output_width)
        self.freshness = Freshness(config.backbone.width) if config.freshness else None

    @property
    def vocabulary_size(self) -> int:
        """V: rows of the ID table."""
        return self.item_tower.table.num_embeddings

    def check(self, catalogue: Catalogue) -> None:
        """Raises ValueError when the catalogue does not fit this model; call it once per catalogue."""
        self.item_tower.check(catalogue)

    def encode(self, batch: Batch, catalogue: Catalogue, masked_input: Tensor | None = None) -> Tensor:
        """Hidden states [R, L, d]; `masked_input` bool [N]: items that lose their ID embedding.

        With freshness, each state is followed by its slot's clock features, zeros where the time is unknown.
        """
        items, row = batch.item_index[batch.is_event].unique(return_inverse=True)
        vectors = self.item_tower.encoder_vectors(items, catalogue, masked_input)  # [M, d]
        hidden = self.backbone(self.event_encoder(batch, _rows(vectors, row)), batch.segment)
        if self.freshness is None:
            return hidden
        return torch.cat([hidden, clock(batch.clock_seconds).to(hidden.dtype)], dim=-1)

    def at_request(self, hidden: Tensor, at_seconds: Tensor) -> Tensor:
        """States from `encode`, [..., d], with their clocks replaced by the time of a request: float64 [...]
        seconds since 1970 UTC, NaN where unknown. Unchanged without freshness."""
        if self.freshness is None:
            return hidden
        phases = clock(at_seconds).to(hidden.dtype)
        return torch.cat([hidden[..., : self.config.backbone.width], phases], dim=-1)

    def user_vectors(self, hidden: Tensor) -> Tensor:
        """User vectors g(h) of states from `encode`: [..., d] → [..., d_out]."""
        if self.freshness is None:
            return self.head(hidden)
        width = self.config.backbone.width
        state, phases = hidden[..., :width], hidden[..., width:]
        return torch.cat([self.head(state), self.freshness(state, phases)], dim=-1)

    def item_vectors(self, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None = None) -> Tensor:
        """Item vectors v_i: int64 [M] → [M, d_out]; `masked` bool [N] as in `encode`."""
        return self.item_tower.decoder_vectors(item_index, catalogue, masked)

    def training_loss(
        self,
        batch: Batch,
        catalogue: Catalogue,
        eligible: Tensor,
        objective: ObjectiveConfig,
        masking_rate: float,
        seed: int,
        step: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one batch, and its statistics as detached scalars.

        `eligible` int64 [C]: the distinct items that negatives are sampled from. Negatives, masks and
        dropout are a function of (seed, step) alone; torch's global random state is left as it was.
        """
        device = batch.item_index.device
        drawn = draw_masks(catalogue.items, masking_rate, seed, step)
        masked_input, masked_output = (mask.to(device) for mask in drawn)
        negatives = sample_negatives(eligible, self.vocabulary_size, objective, seed, step)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            _seed(device, torch_seed(Purpose.DROPOUT, seed, step))
            hidden = self.encode(batch, catalogue, masked_input)
        users = self.user_vectors(hidden.flatten(0, 1).index_select(0, batch.label_slot))  # [P, d_out]
        correction = 0.0
        if objective.logq_correction:
            correction = sampling_correction(eligible.shape[0], negatives.shape[0])
        log_probability = self._label_log_probabilities(
            users, batch, catalogue, negatives, masked_output, correction
        )
        loss = multi_token_loss(log_probability, batch.label_weight)
        figures = label_figures(batch.label_weight)
        figures["negatives"] = torch.tensor(float(negatives.shape[0]))
        return loss, figures | {"loss": loss.detach()}

    def _label_log_probabilities(
        self,
        users: Tensor,
        batch: Batch,
        catalogue: Catalogue,
        negatives: Tensor,
        masked_output: Tensor,
        correction: float,
    ) -> Tensor:
        """log p of the batch's labels, [P, K], computed in float32 or float64."""
        is_label = batch.label_weight > 0
        scored = torch.cat([batch.label_item[is_label], negatives])
        items, row = scored.unique(return_inverse=True)
        labels = row.shape[0] - negatives.shape[0]
        vectors = self.item_vectors(items, catalogue, masked_output)  # [M, d_out]
        with torch.autocast(users.device.type, enabled=False):
            exact = torch.promote_types(users.dtype, torch.float32)
            users, vectors = users.to(exact), vectors.to(exact)
            label_row = torch.zeros_like(batch.label_item)
            label_row[is_label] = row[:labels]
            label_logits = torch.einsum("pd,pkd->pk", users, _rows(vectors, label_row))
            rejected = rejected_negatives(batch.label_item, is_label, negatives)
            if batch.label_at_seconds is not None and catalogue.launched_at_seconds is not None:
                launched = catalogue.launched_at_seconds[negatives]
                rejected |= launched > batch.label_at_seconds[:, None]  # false where unknown (NaN)
            rivals = rival_log_sums(users, _rows(vectors, row[labels:]), rejected, correction)
            return label_log_probabilities(label_logits, is_label, rivals)


def _seed(device: torch.device, seed: int) -> None:
    # torch.manual_seed records a stack trace for every kind of device that is missing: 2 ms a step, and
    # memory that grows.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _rows(vectors: Tensor, row: Tensor) -> Tensor:
    """vectors[row]. The gradient of an embedding look-up sums in a fixed order; that of indexing with
    repeats does not on several threads, and training must be bit-identical."""
    return F.embedding(row, vectors)
