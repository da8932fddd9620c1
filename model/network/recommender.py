"""The recommender: event encoder, backbone, projected head and item tower.

Maps packed batches and the catalogue to user vectors, item vectors, scores, and a batch's training loss.
Reads no file and no clock, and does not depend on Lightning.

Shape legend
    R  packed rows    L  slots of a row    P  loss positions    K  most labels of a position
    N  items    C  eligible items    S  sampled negatives    M  distinct items that a step needs
    d  backbone width    d_out  decoding width
    B  distinct instants    z  pairs of all positions
    U  width of a user vector: d_out, the weights of the item signals, and those of the pair signals
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
from model.network.item_signals import FURTHER_SIGNALS, ItemTerm
from model.network.item_tower import ItemTower
from model.network.masking import draw_masks, draw_new
from model.network.multi_token_loss import label_figures, multi_token_loss
from model.network.pair_signals import Pairs, PairTerm, pair_signal_count
from model.network.request import Request
from model.network.row_products import row_products
from model.network.sampled_softmax import (
    IMPOSSIBLE,
    columns_of,
    label_log_probabilities,
    log_sums_by,
    rejected_negatives,
    rival_log_sums,
    sample_negatives,
    sampling_correction,
)
from model.network.young_items import YoungItems

MOST_SHARED = 4
"""Positions of one product, as a multiple of the mean number of positions of an instant."""


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
        width = config.backbone.width
        signals = config.half_lives + FURTHER_SIGNALS if config.half_lives else 0
        self.freshness = Freshness(width) if config.freshness else None
        self.request = Request(width) if config.request_time else None
        self.item_term = ItemTerm(signals, config.half_lives, width) if signals else None
        self.pair_term = (
            PairTerm(pair_signal_count(config.actions), signals, width) if config.pair_signals else None
        )

    @property
    def vocabulary_size(self) -> int:
        """V: rows of the ID table."""
        return self.item_tower.table.num_embeddings

    def check(self, catalogue: Catalogue) -> None:
        """Raises ValueError when the catalogue does not fit this model; call it once per catalogue."""
        self.item_tower.check(catalogue)

    def encode(
        self,
        batch: Batch,
        catalogue: Catalogue,
        masked_input: Tensor | None = None,
        new_items: Tensor | None = None,
    ) -> Tensor:
        """Hidden states [R, L, d]; `masked_input` bool [N]: items that lose their ID embedding, and `new_items`
        bool [N]: those that lose it while they are young.

        With freshness, each state is followed by its slot's clock features, zeros where the time is unknown.
        """
        if not self.config.history:
            width = self.config.backbone.width
            states = self.head.output.weight.new_zeros(*batch.segment.shape, width)
            return self._clocked(states, batch)
        items, row = batch.item_index[batch.is_event].unique(return_inverse=True)
        vectors = self.item_tower.encoder_vectors(items, catalogue, masked_input)  # [M, d]
        parts = _rows(vectors, row)
        if new_items is not None:
            tower = self.item_tower
            lost = tower.loss_of_identity(tower.encoder, items, catalogue, masked_input)
            is_new = new_items[items][row] & (
                batch.event_at_seconds[batch.is_event] < catalogue.young_until_seconds[items][row]
            )
            parts = parts + _rows(lost, row) * is_new[:, None]
        return self._clocked(self.backbone(self.event_encoder(batch, parts), batch.segment), batch)

    def _clocked(self, hidden: Tensor, batch: Batch) -> Tensor:
        if self.freshness is None:
            return hidden
        return torch.cat([hidden, clock(batch.clock_seconds).to(hidden.dtype)], dim=-1)

    @property
    def is_timed(self) -> bool:
        """Whether the state after an event depends on the time of the request."""
        return self.request is not None

    def at_request(self, hidden: Tensor, at_seconds: Tensor, last_seconds: Tensor) -> Tensor:
        """States from `encode`, [X, d], as of the time of a request.

        `at_seconds` and `last_seconds` float64 [X]: times of the request and of the last event, seconds since
        1970 UTC; NaN where the first is unknown or there is no event. Without `request_time` only the clock
        of a start token is set.
        """
        width = self.config.backbone.width
        state, phases = hidden[..., :width], hidden[..., width:]
        if self.freshness is not None:
            replaced = last_seconds.isnan()
            if self.is_timed:
                replaced = replaced | at_seconds.isfinite()
            phases = torch.where(replaced[:, None], clock(at_seconds).to(hidden.dtype), phases)
        if self.request is not None:
            state = self.request(state, at_seconds, last_seconds)
        return torch.cat([state, phases], dim=-1)

    def user_vectors(self, hidden: Tensor) -> Tensor:
        """User vectors of states from `encode`: [..., d] → [..., U]; `split` gives their parts."""
        width = self.config.backbone.width
        state, phases = hidden[..., :width], hidden[..., width:]
        parts = [self.head(state) if self.config.history else self.head(state) * 0]
        if self.freshness is not None:
            parts.append(self.freshness(state, phases))
        activated = F.gelu(state)
        parts += [term(activated) for term in (self.item_term, self.pair_term) if term is not None]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    @property
    def user_width(self) -> int:
        """U."""
        terms = (self.item_term, self.pair_term)
        return self.config.output_width + sum(term.weights.out_features for term in terms if term is not None)

    def split(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Parts of user vectors [..., U]: g(h) [..., d_out], q(h) and r(h), of width 0 without their term."""
        item = 0 if self.item_term is None else self.item_term.weights.out_features
        sizes = [self.config.output_width, item, users.shape[-1] - self.config.output_width - item]
        return users.split(sizes, dim=-1)

    def item_vectors(self, item_index: Tensor, catalogue: Catalogue, masked: Tensor | None = None) -> Tensor:
        """Item vectors v_i: int64 [M] → [M, d_out]; `masked` bool [N] as in `encode`."""
        return self.item_tower.decoder_vectors(item_index, catalogue, masked)

    def request_vectors(self, hidden: Tensor, batch: Batch) -> Tensor:
        """User vectors at the loss positions, as of their requests: states [R, L, ·] → [P, U]."""
        states = hidden.flatten(0, 1).index_select(0, batch.label_slot)
        if self.is_timed:
            last = torch.where(batch.is_event, batch.event_at_seconds, torch.nan).flatten()
            states = self.at_request(states, batch.label_at_seconds, last[batch.label_slot])
        return self.user_vectors(states)

    def request_scores(
        self, users: Tensor, batch: Batch, catalogue: Catalogue, items: Tensor, vectors: Tensor
    ) -> Tensor:
        """Scores of some items at the loss positions, as of their requests.

        `users` [P, U], `items` int64 [M] ascending with their `vectors` [M, d_out] → [P, M].
        """
        taste, item_weights, pair_weights = self.split(users)
        scores = score(taste, vectors)
        if self.item_term is not None:
            scores = scores + self._shared_item_logits(item_weights, batch, catalogue, items)
        if self.pair_term is not None:
            pairs = batch.pairs
            signals = None
            if self.item_term is not None:
                dtype = self.item_term.inner.weight.dtype
                signals = _item_signals(batch, catalogue, pairs.item, pairs.position).to(dtype)
            added = self._pair_logits(pair_weights, pairs, signals)
            column = torch.searchsorted(items, pairs.item).clamp(max=items.shape[0] - 1)
            here = items[column] == pairs.item
            scores = scores.index_put((pairs.position[here], column[here]), added[here], accumulate=True)
        return scores

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
        new_items = None
        if objective.young_rate and catalogue.young_until_seconds is not None:
            new_items = draw_new(catalogue.items, objective.young_rate, seed, step).to(device)
        negatives = sample_negatives(eligible, self.vocabulary_size, objective, seed, step)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            _seed(device, torch_seed(Purpose.DROPOUT, seed, step))
            hidden = self.encode(batch, catalogue, masked_input, new_items)
        users = self.request_vectors(hidden, batch)  # [P, U]
        correction = 0.0
        # Pairs are all counted, so that the negatives stand for the rest of the catalogue.
        if objective.logq_correction or self.pair_term is not None:
            correction = sampling_correction(eligible.shape[0], negatives.shape[0])
        log_probability = self._label_log_probabilities(
            users, batch, catalogue, negatives, masked_output, new_items, correction
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
        new_items: Tensor | None,
        correction: float,
    ) -> Tensor:
        """log p of the batch's labels, [P, K], computed in float32 or float64."""
        is_label = batch.label_weight > 0
        pairs = None if self.pair_term is None else batch.pairs
        paired = negatives[:0] if pairs is None else pairs.item
        needed = batch.label_item[is_label], negatives, paired
        items, row = torch.cat(needed).unique(return_inverse=True)
        vectors = self.item_vectors(items, catalogue, masked_output)  # [M, d_out]
        label_row, negative_row, pair_row = row.split([len(part) for part in needed])
        with torch.autocast(users.device.type, enabled=False):
            exact = torch.promote_types(users.dtype, torch.float32)
            taste, item_weights, pair_weights = self.split(users.to(exact))
            vectors = vectors.to(exact)
            shared = None
            label_position = is_label.nonzero()[:, 0]
            young = self._young(vectors, batch, catalogue, items, masked_output, new_items)
            if young is not None:
                vectors = young.vectors
                label_row = young.rows(label_row, label_position)
                shared = young.added_scores(taste, negative_row)
                if pairs is not None:
                    pair_row = young.rows(pair_row, pairs.position)
            own_row = torch.zeros_like(batch.label_item).masked_scatter(is_label, label_row)
            label_logits = torch.einsum("pd,pkd->pk", taste, _rows(vectors, own_row))
            if self.item_term is not None:
                of_negatives = self._shared_item_logits(item_weights, batch, catalogue, negatives)
                shared = of_negatives if shared is None else shared + of_negatives
                of_labels, _ = self._item_logits(
                    item_weights, batch, catalogue, batch.label_item[is_label], label_position
                )
                label_logits = label_logits + torch.zeros_like(label_logits).masked_scatter(
                    is_label, of_labels
                )
            rejected = _rejected(batch, catalogue, negatives, is_label, pairs)
            rivals = rival_log_sums(taste, _rows(vectors, negative_row), rejected, correction, shared)
            if pairs is not None:
                of_pairs = signals = None
                if self.item_term is not None:
                    of_pairs, signals = self._item_logits(
                        item_weights, batch, catalogue, pairs.item, pairs.position
                    )
                added = self._pair_logits(pair_weights, pairs, signals)  # [z]
                is_paired = pairs.label >= 0
                gained = _entries(added, pairs.label[is_paired])
                label_logits = label_logits + torch.zeros_like(label_logits).masked_scatter(is_paired, gained)
                products = row_products(taste, vectors, pairs.position, pair_row)
                logits = added + pairs.log_weight + products
                if of_pairs is not None:
                    logits = logits + of_pairs
                logits = logits.index_fill(0, pairs.label[is_paired], IMPOSSIBLE)
                if batch.earlier_item is not None:
                    earlier = (batch.earlier_item[pairs.position] == pairs.item[:, None]).any(dim=1)
                    logits = logits.masked_fill(earlier, IMPOSSIBLE)
                rivals = torch.logaddexp(rivals, log_sums_by(logits, pairs.position, rivals.shape[0]))
            return label_log_probabilities(label_logits, is_label, rivals)

    def _young(
        self,
        vectors: Tensor,
        batch: Batch,
        catalogue: Catalogue,
        items: Tensor,
        masked_output: Tensor,
        new_items: Tensor | None,
    ) -> YoungItems | None:
        """Those of the items that take e_OOV at some request of the batch; None where none does."""
        if new_items is None or batch.label_at_seconds is None:
            return None
        until = catalogue.young_until_seconds[items]
        chosen = (new_items[items] & (until > batch.label_at_seconds.min())).nonzero()[:, 0]
        if not len(chosen):
            return None
        tower = self.item_tower
        lost = tower.loss_of_identity(tower.decoder, items[chosen], catalogue, masked_output).to(
            vectors.dtype
        )
        return YoungItems.of(vectors, chosen, lost, until, batch.label_at_seconds)

    def _shared_item_logits(
        self, weights: Tensor, batch: Batch, catalogue: Catalogue, items: Tensor
    ) -> Tensor:
        """q(h)ᵀ F(a_i(τ)) of items that all positions share, [P, M]; F is computed once a distinct instant."""
        signals = catalogue.signals
        instants, at = signals.floor(batch.label_at_seconds).unique(return_inverse=True)
        with torch.no_grad():
            rows = signals.rows_of_all(items, instants)  # [B, M]
            values = signals.signals(rows, items, instants[:, None], catalogue.launched_at_seconds)
        return _by_instant(weights, self.item_term.features(values.to(weights.dtype)), at)

    def _item_logits(
        self, weights: Tensor, batch: Batch, catalogue: Catalogue, items: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """q(h)ᵀ F(a_i(τ)) of items as of the requests of some positions, int64 [z] each, positions ascending: [z], and
        a_i(τ), [z, A]."""
        values = _item_signals(batch, catalogue, items, position).to(weights.dtype)
        return row_products(weights, self.item_term.features(values), position), values

    def _pair_logits(self, weights: Tensor, pairs: Pairs, item_signals: Tensor | None) -> Tensor:
        """r(h)ᵀ G of every pair, [z]; weights [P, ·]."""
        features = self.pair_term.features(pairs.signals.to(weights.dtype), item_signals)
        return row_products(weights, features, pairs.position)


def _item_signals(batch: Batch, catalogue: Catalogue, items: Tensor, position: Tensor) -> Tensor:
    """a_i(τ) of items as of the requests of some positions: int64 [z] each → [z, A]."""
    with torch.no_grad():
        at = batch.label_at_seconds[position]
        return catalogue.signals.as_of(items, at, catalogue.launched_at_seconds)


def _rejected(
    batch: Batch, catalogue: Catalogue, negatives: Tensor, is_label: Tensor, pairs: Pairs | None
) -> Tensor:
    """Which negatives do not count for a position, bool [P, S]: its labels, of this cycle and of earlier ones, its
    pairs, which are counted by themselves, and items that did not exist yet."""
    rejected = rejected_negatives(batch.label_item, is_label, negatives)
    if batch.earlier_item is not None:
        rejected |= rejected_negatives(batch.earlier_item, batch.earlier_item >= 0, negatives)
    if pairs is not None:
        column = columns_of(pairs.item, negatives)
        sampled = column >= 0
        rejected[pairs.position[sampled], column[sampled]] = True
    if batch.label_at_seconds is not None and catalogue.exists_since_seconds is not None:
        since = catalogue.exists_since_seconds[negatives]
        rejected |= since > batch.label_at_seconds[:, None]  # false where unknown (NaN)
    return rejected


def _by_instant(weights: Tensor, features: Tensor, at: Tensor) -> Tensor:
    """wᵀ F of each position with the features of its instant: [P, W], [B, M, W] and int64 [P] → [P, M].

    Positions of one instant share a product, but at most MOST_SHARED times the mean number of them, which
    bounds the padding; an instant with more is repeated.
    """
    instants, positions = features.shape[0], at.shape[0]
    count = at.bincount(minlength=instants)
    width = min(int(count.max()), MOST_SHARED * -(-positions // instants))
    groups = (count + width - 1).div(width, rounding_mode="floor")
    number = at.argsort(stable=True).argsort() - (count.cumsum(0) - count)[at]  # within its instant
    place = (
        (groups.cumsum(0) - groups)[at] + number.div(width, rounding_mode="floor")
    ) * width + number % width
    repeated = _repeat(features, groups)
    padded = weights.new_zeros(repeated.shape[0] * width, weights.shape[1]).index_copy(0, place, weights)
    products = torch.bmm(padded.view(-1, width, weights.shape[1]), repeated.transpose(1, 2))
    return products.flatten(0, 1).index_select(0, place)


def _repeat(features: Tensor, times: Tensor) -> Tensor:
    """features[i] repeated times[i] times along the first axis."""
    if int(times.max()) == 1:
        return features
    return features.index_select(
        0, torch.arange(times.shape[0], device=times.device).repeat_interleave(times)
    )


def _entries(values: Tensor, place: Tensor) -> Tensor:
    """values[place] of a vector, as `_rows`."""
    return _rows(values.unsqueeze(1), place).squeeze(1)


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
