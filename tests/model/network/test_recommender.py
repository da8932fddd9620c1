"""The recommender: its loss, its blindness to the future, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import TrainingConfig
from model.network import recommender
from model.network.batch import Batch
from model.network.catalogue import OUT_OF_VOCABULARY, Catalogue
from model.network.pair_signals import Pairs
from model.network.recommender import Recommender, score
from model.training.optimizer import build_optimizers
from tests.model import tiny
from tests.model.network.test_item_signals import table_of

ITEMS, KNOWN = 9, 6
SEQUENCES = st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=4), min_size=1, max_size=3)
LABELS = {0: [(1, 1.0)], 2: [(7, 0.5), (2, 2.0)], 5: [(0, 1.0)]}
BATCH = tiny.batch([[[1, 2, 3], [4]], [[7, 8]]], LABELS)
CATALOGUE = tiny.catalogue(ITEMS, KNOWN)


def _loss(model, eligible=None, masking_rate=0.0, step=0, batch=BATCH, **objective):
    eligible = torch.arange(ITEMS) if eligible is None else eligible
    return model.training_loss(batch, CATALOGUE, eligible, tiny.objective(**objective), masking_rate, 1, step)


def test_the_loss_equals_the_full_softmax_by_definition_in_float64():
    model, catalogue = tiny.double(tiny.recommender(KNOWN), CATALOGUE)
    loss, _ = model.training_loss(BATCH, catalogue, torch.arange(ITEMS), tiny.objective(), 0.0, 1, 0)
    users = model.user_vectors(model.encode(BATCH, catalogue).flatten(0, 1))
    log_p = score(users, model.item_vectors(torch.arange(ITEMS), catalogue)).log_softmax(dim=-1)
    terms = [w * log_p[slot, item] for slot, pairs in LABELS.items() for item, w in pairs]
    assert loss.item() == pytest.approx(-sum(terms).item() / len(LABELS), rel=1e-13)


def test_the_float32_loss_stays_near_float64():
    rounded, _ = _loss(tiny.recommender(KNOWN))
    model, catalogue = tiny.double(tiny.recommender(KNOWN), CATALOGUE)
    exact, _ = model.training_loss(BATCH, catalogue, torch.arange(ITEMS), tiny.objective(), 0.0, 1, 0)
    # Hidden states have at most 128 roundings, the head another 32.
    assert abs(rounded.item() - exact.item()) < 256 * torch.finfo(torch.float32).eps * abs(exact.item())


def test_bf16_autocast_keeps_the_loss_in_float32():
    model = tiny.recommender(KNOWN)
    exact, _ = _loss(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = _loss(model)
    rounded.backward()
    assert rounded.dtype == torch.float32
    # Two layers of states rounded to 8 bits; the softmax adds no rounding.
    assert abs(rounded.item() - exact.item()) < 8 * torch.finfo(torch.bfloat16).eps * exact.item()
    assert model.item_tower.table.weight.grad.dtype == torch.float32


def test_a_sampled_loss_normalises_over_labels_and_sample_only():
    model = tiny.recommender(KNOWN).double()
    _, catalogue = tiny.double(model, CATALOGUE)
    eligible = torch.tensor([2, 5])  # both are sampled: S = {2, 5}
    loss, figures = model.training_loss(BATCH, catalogue, eligible, tiny.objective(), 0.0, 1, 0)
    users = model.user_vectors(model.encode(BATCH, catalogue).flatten(0, 1))
    scores = score(users, model.item_vectors(torch.arange(ITEMS), catalogue))
    expected = 0.0
    for slot, pairs in LABELS.items():
        normaliser = scores[slot, sorted({2, 5} | {item for item, _ in pairs})].logsumexp(0)
        expected -= sum(w * (scores[slot, item] - normaliser) for item, w in pairs)
    assert loss.item() == pytest.approx(expected.item() / 3, rel=1e-13)
    assert figures["negatives"].item() == 2 and figures["labels_per_position"].item() == pytest.approx(4 / 3)


def test_logq_correction_raises_the_normaliser():
    model = tiny.recommender(KNOWN)
    sampled = {"softmax": "sampled", "negatives_minimum": 3}
    plain, corrected = (_loss(model, **sampled, logq_correction=on)[0] for on in (False, True))
    assert corrected > plain
    everything = [_loss(model, logq_correction=on)[0] for on in (False, True)]
    assert torch.equal(*everything)


@settings(max_examples=25, deadline=None)
@given(SEQUENCES)
def test_a_sequence_is_encoded_the_same_packed_and_alone(sequences: list[list[int]]):
    model, catalogue = tiny.double(tiny.recommender(KNOWN), CATALOGUE)
    together = model.encode(tiny.batch([sequences]), catalogue)[0]
    begin = 0
    for sequence in sequences:
        alone = model.encode(tiny.batch([[sequence]]), catalogue)[0]
        torch.testing.assert_close(together[begin : begin + len(alone)], alone, atol=1e-12, rtol=0)
        begin += len(alone)


def test_a_later_event_changes_no_earlier_state():
    model, catalogue = tiny.double(tiny.recommender(KNOWN), CATALOGUE)
    states, changed = (model.encode(tiny.batch([[[1, 2, item, 4]]]), catalogue)[0] for item in (3, 8))
    torch.testing.assert_close(states[:3], changed[:3], atol=1e-13, rtol=0)
    assert (states[3:] != changed[3:]).any(dim=-1).all()


def test_masked_items_are_encoded_and_scored_like_cold_ones():
    model = tiny.recommender(KNOWN)
    cold = tiny.catalogue(ITEMS, 0)
    everything = torch.ones(ITEMS, dtype=torch.bool)
    assert torch.equal(model.encode(BATCH, CATALOGUE, everything), model.encode(BATCH, cold))
    items = torch.arange(ITEMS)
    assert torch.equal(model.item_vectors(items, CATALOGUE, everything), model.item_vectors(items, cold))


def test_masking_applies_to_labels_and_negatives():
    """At rate 1 every item is masked on one side, so that e_OOV gets a gradient."""
    model = tiny.recommender(KNOWN)
    unmasked, masked = (_loss(model, masking_rate=rate, step=3)[0] for rate in (0.0, 1.0))
    assert unmasked != masked
    masked.backward()
    touched = model.item_tower.table.weight.grad.coalesce().indices().flatten().tolist()
    assert len(touched) <= KNOWN and model.item_tower.out_of_vocabulary.grad.abs().sum() > 0


def test_only_rows_that_the_batch_uses_get_a_gradient():
    model = tiny.recommender(KNOWN)
    batch = tiny.batch([[[1, 2]]], {1: [(4, 1.0)]})
    _loss(model, eligible=torch.tensor([5, 7]), batch=batch)[0].backward()
    assert model.item_tower.table.weight.grad.coalesce().indices().flatten().tolist() == [1, 2, 4, 5]


def test_a_step_is_a_function_of_seed_and_step():
    model = tiny.recommender(KNOWN, dropout=0.5).train()
    losses = []
    for noise, step in ((0, 3), (1, 3), (1, 4)):
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        sampled = {"softmax": "sampled", "negatives_minimum": 3}
        losses.append(_loss(model, masking_rate=0.5, step=step, **sampled)[0])
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[1], losses[2])


def test_a_user_without_history_has_a_vector():
    model = tiny.recommender(KNOWN)
    hidden = model.encode(tiny.batch([[[]], [[3]]]), CATALOGUE)
    assert hidden.shape == (2, 2, 32)
    assert model.user_vectors(hidden[0, 0]).isfinite().all()


def test_a_batch_without_labels_has_loss_0():
    loss, figures = _loss(tiny.recommender(KNOWN), batch=tiny.batch([[[1, 2]]]))
    loss.backward()
    assert loss.item() == 0 and figures["positions"].item() == 0


def test_extreme_weights_keep_the_loss_finite():
    model = tiny.recommender(KNOWN)
    with torch.no_grad():
        model.head.output.weight *= 1e6
    loss, _ = _loss(model)
    loss.backward()
    assert loss.isfinite()
    gradients = [p.grad for p in model.parameters() if p.grad is not None and not p.grad.is_sparse]
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_it_learns_which_item_follows_which():
    """Forty steps on one sequence: the successor of every event becomes the most probable item."""
    sequence = [1, 5, 2, 8, 3]
    batch = tiny.batch([[sequence]], {slot: [(item, 1.0)] for slot, item in enumerate(sequence)})
    model = tiny.recommender(KNOWN)
    optimizers = build_optimizers(model, TrainingConfig(learning_rate=0.005), finetune=False)
    for step in range(40):
        _loss(model, batch=batch, step=step)[0].backward()
        optimizers.step()
    users = model.user_vectors(model.encode(batch, CATALOGUE)[0, : len(sequence)])
    ranked = score(users, model.item_vectors(torch.arange(ITEMS), CATALOGUE))
    assert ranked.argmax(dim=-1).tolist() == sequence  # item 8 is outside the vocabulary


def test_an_item_launched_after_the_first_label_is_not_a_negative():
    model, catalogue = tiny.recommender(5), tiny.catalogue(5)
    batch = tiny.batch([[[0, 1]]], {1: [(1, 1.0)]})
    batch = replace(batch, label_at_seconds=torch.tensor([100.0], dtype=torch.float64))
    nan = float("nan")
    launches = torch.tensor([nan, 500.0, 100.0, 101.0, nan], dtype=torch.float64)
    dated = replace(catalogue, exists_since_seconds=launches)
    eligible = torch.arange(5)
    loss, _ = model.training_loss(batch, dated, eligible, tiny.objective(), 0.0, 1, 0)
    # Item 3 is launched later and is excluded; item 1 is too, but stays because it is the label.
    expected, _ = model.training_loss(
        batch, catalogue, torch.tensor([0, 1, 2, 4]), tiny.objective(), 0.0, 1, 0
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


SIGNALS = {"half_lives": 3, "pair_signals": True, "request_time": True}


def _timed() -> tuple[Batch, Catalogue]:
    """The batch with the times and pairs of its requests, and a catalogue with item signals."""
    signals = table_of([(0, 1.0, True), (1, 20.0, False), (2, 40.0, True), (2, 41.0, True)])
    grown = torch.cat([signals.offset, signals.offset[-1].repeat(ITEMS - signals.count)])
    first = torch.cat([signals.first_seconds, torch.full((ITEMS - signals.count,), torch.nan)])
    catalogue = replace(CATALOGUE, signals=replace(signals, offset=grown, first_seconds=first))
    position, item = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1, 3, 2, 7, 8])
    values = torch.rand(5, 4 + 3 + 4, generator=torch.Generator().manual_seed(2))
    label = torch.tensor([[0, -1], [3, 2], [-1, -1]])
    at = torch.tensor([30.0, 45.2, 45.9], dtype=torch.float64) * 3600
    return replace(
        BATCH, label_at_seconds=at, pairs=Pairs(position, item, values, torch.zeros(5), label)
    ), catalogue


def _by_definition(model, batch, catalogue):
    """Scores of every item at every loss position, term by term: [P, N]."""
    users = model.request_vectors(model.encode(batch, catalogue), batch)
    taste, item_weights, pair_weights = model.split(users)
    everything = torch.arange(ITEMS)
    scores = score(taste, model.item_vectors(everything, catalogue))
    rows = []
    for position, at in enumerate(catalogue.signals.floor(batch.label_at_seconds)):
        row = catalogue.signals.rows_of(everything, at.expand(ITEMS))
        values = catalogue.signals.signals(row, everything, at, None).to(users.dtype)
        total = scores[position] + model.item_term.features(values) @ item_weights[position]
        for owner, item, values_of_pair in zip(
            batch.pairs.position.tolist(), batch.pairs.item.tolist(), batch.pairs.signals, strict=True
        ):
            if owner == position:
                phi, term = values_of_pair.to(users.dtype), model.pair_term
                with_pair = term.from_pair(phi) + term.from_item(values[item])
                without = term.from_pair.bias + term.from_item(values[item])
                gelu = torch.nn.functional.gelu
                features = torch.cat([phi, term.outer(gelu(with_pair)) - term.outer(gelu(without))])
                total = total.index_add(0, torch.tensor([item]), (features @ pair_weights[position])[None])
        rows.append(total)
    return torch.stack(rows)


def test_the_loss_with_signals_equals_the_full_softmax_by_definition_in_float64():
    batch, catalogue = _timed()
    model = tiny.recommender(KNOWN, **SIGNALS).double()
    catalogue = replace(catalogue, features={name: m.double() for name, m in CATALOGUE.features.items()})
    torch.nn.init.normal_(model.request.outer.weight, std=0.1)
    loss, _ = model.training_loss(batch, catalogue, torch.arange(ITEMS), tiny.objective(), 0.0, 1, 0)
    log_p = _by_definition(model, batch, catalogue).log_softmax(dim=-1)
    terms = [w * log_p[number, item] for number, pairs in enumerate(LABELS.values()) for item, w in pairs]
    assert loss.item() == pytest.approx(-sum(terms).item() / len(LABELS), rel=1e-12)


def test_scores_as_of_the_requests_are_those_of_the_definition():
    batch, catalogue = _timed()
    model = tiny.recommender(KNOWN, **SIGNALS)
    users = model.request_vectors(model.encode(batch, catalogue), batch)
    items = torch.tensor([0, 2, 3, 7, 8])
    scores = model.request_scores(users, batch, catalogue, items, model.item_vectors(items, catalogue))
    expected = _by_definition(model, batch, catalogue)[:, items]
    assert torch.allclose(scores, expected, atol=1e-5)


def test_a_sample_of_negatives_leaves_the_pairs_exact():
    batch, catalogue = _timed()
    model = tiny.recommender(KNOWN, **SIGNALS)
    eligible = torch.tensor([4, 5, 3, 1])  # 3 and 1 are pairs of the first position
    correction = {"logq_correction": True}
    loss, _ = model.training_loss(batch, catalogue, eligible, tiny.objective(**correction), 0.0, 1, 0)
    scores = _by_definition(model, batch, catalogue)
    total = 0.0
    for number, pairs in enumerate(LABELS.values()):
        own = {item for item, _ in pairs}
        paired = set(batch.pairs.item[batch.pairs.position == number].tolist())
        counted = own | paired | set(eligible.tolist())
        log_z = scores[number, sorted(counted)].logsumexp(0)
        total -= sum(w * (scores[number, item] - log_z).item() for item, w in pairs)
    assert loss.item() == pytest.approx(total / len(LABELS), rel=1e-5)


def test_with_both_terms_off_nothing_is_added():
    plain, batch = tiny.recommender(KNOWN), _timed()[0]
    off, _ = plain.training_loss(BATCH, CATALOGUE, torch.arange(ITEMS), tiny.objective(), 0.3, 1, 0)
    same, _ = plain.training_loss(
        replace(batch, pairs=None, label_at_seconds=None),
        CATALOGUE,
        torch.arange(ITEMS),
        tiny.objective(),
        0.3,
        1,
        0,
    )
    assert torch.equal(off, same) and plain.user_width == plain.config.output_width


def test_a_learned_mixture_ignores_histories():
    batch, catalogue = _timed()
    model = tiny.recommender(KNOWN, **SIGNALS, history=False)
    other = replace(batch, item_index=(batch.item_index + 1) % ITEMS)
    losses = [
        model.training_loss(given, catalogue, torch.arange(ITEMS), tiny.objective(), 0.0, 1, 0)[0]
        for given in (batch, other)
    ]
    assert torch.equal(*losses)
    losses[0].backward()
    assert model.item_term.weights.bias.grad.abs().sum() > 0


def _tower_of_cold(model: Recommender, catalogue: Catalogue, item: int) -> torch.Tensor:
    """Item vector of `item` with e_OOV in the place of its ID embedding."""
    token = catalogue.item_token.clone()
    token[item] = OUT_OF_VOCABULARY
    return model.item_vectors(torch.tensor([item]), replace(catalogue, item_token=token))[0]


@pytest.mark.parametrize("signals", [{}, SIGNALS], ids=["plain", "signals"])
def test_a_young_item_has_e_oov_as_label_negative_and_pair_of_the_requests_in_its_youth(signals: dict):
    batch, catalogue = _timed()
    model = tiny.recommender(KNOWN, **signals).double()
    torch.nn.init.normal_(model.item_tower.out_of_vocabulary)
    catalogue = replace(catalogue, features={name: m.double() for name, m in CATALOGUE.features.items()})
    # Items 1 and 3 are young until after the first request and before the second; no event is that early.
    until = torch.full((ITEMS,), torch.nan, dtype=torch.float64)
    until[[1, 3]] = batch.label_at_seconds[0] + 60
    young = replace(catalogue, young_until_seconds=until)
    batch = replace(batch, event_at_seconds=torch.full_like(batch.event_at_seconds, 1e9))
    objective = tiny.objective(young_rate=1.0)
    loss, _ = model.training_loss(batch, young, torch.arange(ITEMS), objective, 0.0, 1, 0)
    users = model.split(model.request_vectors(model.encode(batch, catalogue), batch))[0]
    everything = torch.arange(ITEMS)
    scores = score(users, model.item_vectors(everything, catalogue))
    if signals:
        scores = _by_definition(model, batch, catalogue)
    for item in (1, 3):
        known = model.item_vectors(torch.tensor([item]), catalogue)[0]
        scores[0, item] += users[0] @ (_tower_of_cold(model, catalogue, item) - known)
    log_p = scores.log_softmax(dim=-1)
    terms = [w * log_p[number, item] for number, pairs in enumerate(LABELS.values()) for item, w in pairs]
    assert loss.item() == pytest.approx(-sum(terms).item() / len(LABELS), rel=1e-10)


def test_a_young_item_is_read_as_new_from_the_events_of_its_youth_alone():
    model, catalogue = tiny.recommender(KNOWN), CATALOGUE
    torch.nn.init.normal_(model.item_tower.out_of_vocabulary)
    events = BATCH.item_index[BATCH.is_event]
    item, at = int(events[0]), float(BATCH.event_at_seconds[BATCH.is_event][0])
    token = catalogue.item_token.clone()
    token[item] = OUT_OF_VOCABULARY
    as_new = model.encode(BATCH, replace(catalogue, item_token=token))
    acting = torch.zeros(ITEMS, dtype=torch.bool)
    acting[item] = True
    for until, expected in ((at + 1e9, as_new), (at - 1e9, model.encode(BATCH, catalogue))):
        young = replace(catalogue, young_until_seconds=torch.full((ITEMS,), until, dtype=torch.float64))
        assert torch.allclose(model.encode(BATCH, young, new_items=acting), expected, atol=1e-5)
    assert not torch.allclose(as_new, model.encode(BATCH, catalogue), atol=1e-3)


def test_at_rate_0_no_item_is_read_as_new():
    catalogue = replace(CATALOGUE, young_until_seconds=torch.full((ITEMS,), 1e12, dtype=torch.float64))
    model, batch = tiny.recommender(KNOWN), replace(BATCH, label_at_seconds=_timed()[0].label_at_seconds)
    losses = [
        model.training_loss(batch, of, torch.arange(ITEMS), tiny.objective(young_rate=rate), 0.0, 1, 0)[0]
        for of, rate in ((catalogue, 0.0), (CATALOGUE, 1.0), (catalogue, 1.0))
    ]
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize(
    "at", [[0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [2, 0, 2, 2, 1], [1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]]
)
def test_positions_of_one_instant_share_products_without_a_change(at: list[int], monkeypatch):
    monkeypatch.setattr(recommender, "MOST_SHARED", 1)  # so that an instant with many positions is repeated
    generator, instant = torch.Generator().manual_seed(0), torch.tensor(at)
    features = torch.randn(max(at) + 1, 7, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(at), 5, generator=generator, dtype=torch.float64, requires_grad=True)
    shared = recommender._by_instant(weights, features, instant)
    plain = torch.einsum("pf,pmf->pm", weights, features[instant])
    assert torch.allclose(shared, plain, rtol=1e-12)
    upstream = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    for one, other in zip(
        *(torch.autograd.grad(s, (weights, features), upstream) for s in (shared, plain)), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("signals", [{}, SIGNALS], ids=["plain", "signals"])
def test_a_label_of_an_earlier_cycle_is_no_negative_of_its_position(signals: dict):
    batch, catalogue = _timed()
    model = tiny.recommender(KNOWN, **signals).double()
    catalogue = replace(catalogue, features={name: m.double() for name, m in CATALOGUE.features.items()})
    earlier = torch.tensor([[-1, 3], [-1, -1], [4, -1]])  # 3 is a pair of the first position as well
    batch = replace(batch, earlier_item=earlier)
    loss, _ = model.training_loss(batch, catalogue, torch.arange(ITEMS), tiny.objective(), 0.0, 1, 0)
    users = model.split(model.request_vectors(model.encode(batch, catalogue), batch))[0]
    scores = score(users, model.item_vectors(torch.arange(ITEMS), catalogue))
    if signals:
        scores = _by_definition(model, batch, catalogue)
    scores = scores.index_put((torch.tensor([0, 2]), torch.tensor([3, 4])), torch.tensor(-torch.inf).double())
    log_p = scores.log_softmax(dim=-1)
    terms = [w * log_p[number, item] for number, pairs in enumerate(LABELS.values()) for item, w in pairs]
    assert loss.item() == pytest.approx(-sum(terms).item() / len(LABELS), rel=1e-10)
