"""A child that starts from its parent's weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import TrainingConfig
from model.network.catalogue import Catalogue
from model.network.pair_signals import Pairs
from model.network.recommender import Recommender, score
from model.training.optimizer import build_optimizers, moments
from model.training.warm_start import TABLE, carry_moments, start_from_parent
from tests.model import tiny
from tests.model.network.test_item_signals import table_of

ITEMS, OLD, NEW = 9, 5, 8
"""Items of the catalogue, rows of the parent, rows of the child."""
BATCH = tiny.batch([[[1, 6, 3], [8, 2]]], {0: [(1, 1.0)], 2: [(4, 1.0)]})


@pytest.fixture
def parent() -> Recommender:
    """A trained parent, so that e_OOV and every weight have moved."""
    parent = tiny.recommender(OLD)
    optimizers = build_optimizers(parent, TrainingConfig(learning_rate=0.05), finetune=False)
    for step in range(3):
        loss, _ = parent.training_loss(
            BATCH, tiny.catalogue(ITEMS, OLD), torch.arange(ITEMS), tiny.objective(), 0.3, 1, step
        )
        loss.backward()
        optimizers.step()
    parent.moments = moments(parent, optimizers)
    return parent


def _scores(model: Recommender, catalogue: Catalogue) -> torch.Tensor:
    with torch.no_grad():
        users = model.user_vectors(model.encode(BATCH, catalogue).flatten(0, 1))
        return score(users, model.item_vectors(torch.arange(catalogue.items), catalogue))


def test_scores_of_the_grown_model_are_bit_identical(parent: Recommender):
    child = tiny.recommender(NEW, seed=7)
    growth = start_from_parent(child, parent.state_dict())
    assert (growth.known_rows, growth.new_rows) == (OLD, NEW - OLD)
    # The histories hold old items, a new one (6) and one that is still cold (8).
    before = _scores(parent, tiny.catalogue(ITEMS, OLD))
    after = _scores(child, tiny.catalogue(ITEMS, NEW))
    assert torch.equal(before, after)  # old items unchanged, new ones as when they were cold


def test_known_rows_are_bit_identical_and_new_rows_start_at_e_oov(parent: Recommender):
    child = tiny.recommender(NEW, seed=7)
    start_from_parent(child, parent.state_dict())
    table = child.item_tower.table.weight
    assert torch.equal(table[:OLD], parent.item_tower.table.weight)
    assert torch.equal(table[OLD:], parent.item_tower.out_of_vocabulary.expand(NEW - OLD, -1))
    table.data[OLD:] += 1  # rows are copies: the parent and e_OOV stay
    assert torch.equal(child.item_tower.out_of_vocabulary, parent.item_tower.out_of_vocabulary)


def test_moments_of_known_rows_are_carried_and_of_new_rows_are_zero(parent: Recommender):
    child = tiny.recommender(NEW, seed=7)
    start_from_parent(child, parent.state_dict())
    optimizers = build_optimizers(child, TrainingConfig(), finetune=True)
    carry_moments(child, optimizers, parent.moments)
    carried = moments(child, optimizers)
    for moment in ("exp_avg", "exp_avg_sq"):
        name = f"{TABLE}/{moment}"
        assert torch.equal(carried[name][:OLD], parent.moments[name])
        assert (carried[name][OLD:] == 0).all()
    assert (carried[f"{TABLE}/exp_avg_sq"][:OLD] != 0).any()
    steps = f"{TABLE}/row_steps"
    assert torch.equal(carried[steps][:OLD], parent.moments[steps]) and carried[steps][:OLD].max() == 3
    assert carried[steps][OLD:].tolist() == [0] * (NEW - OLD)
    for name in set(carried) - {f"{TABLE}/exp_avg", f"{TABLE}/exp_avg_sq", steps}:
        assert torch.equal(carried[name], parent.moments[name]), name


def test_a_new_row_trains_away_from_e_oov(parent: Recommender):
    child = tiny.recommender(NEW, seed=7)
    start_from_parent(child, parent.state_dict())
    optimizers = build_optimizers(child, TrainingConfig(), finetune=True)
    loss, _ = child.training_loss(
        BATCH, tiny.catalogue(ITEMS, NEW), torch.arange(ITEMS), tiny.objective(), 0.0, 1, 0
    )
    loss.backward()
    optimizers.step()
    assert (child.item_tower.table.weight[OLD:] != parent.item_tower.out_of_vocabulary).any(dim=1).all()


def test_a_parent_that_does_not_fit_is_refused(parent: Recommender):
    with pytest.raises(ValueError, match=r"table.weight is \(5, 8\).*; allowed is at most \(4, 8\)"):
        start_from_parent(tiny.recommender(4), parent.state_dict())
    with pytest.raises(ValueError, match=r"head.output.weight is \(32, 32\).*; allowed is \(64, 32\)"):
        start_from_parent(tiny.recommender(NEW, output_width=64), parent.state_dict())
    with_vision = tiny.recommender(NEW, modalities=(("language", 6), ("vision", 3)))
    with pytest.raises(ValueError, match="inputs.vision.weight is missing in the parent.*or start cold"):
        start_from_parent(with_vision, parent.state_dict())


TERMS = {"half_lives": 3, "pair_signals": True, "request_time": True}


def _request_scores(model: Recommender, catalogue: Catalogue) -> torch.Tensor:
    """Scores of every item at the batch's loss positions, with pairs and times of requests."""
    signals = table_of([(0, 1.0, True), (1, 20.0, False), (2, 40.0, True)])
    grown = ITEMS - signals.count
    signals = replace(
        signals,
        offset=torch.cat([signals.offset, signals.offset[-1].repeat(grown)]),
        first_seconds=torch.cat([signals.first_seconds, torch.full((grown,), torch.nan)]),
    )
    pairs = Pairs(
        torch.tensor([0, 0, 1]),
        torch.tensor([1, 3, 2]),
        torch.rand(3, 11, generator=torch.Generator().manual_seed(2)),
        torch.zeros(3),
        torch.full((2, 1), -1),
    )
    at = torch.tensor([30.0, 45.2], dtype=torch.float64) * 3600
    batch, catalogue = replace(BATCH, label_at_seconds=at, pairs=pairs), replace(catalogue, signals=signals)
    everything = torch.arange(ITEMS)
    with torch.no_grad():
        users = model.request_vectors(model.encode(batch, catalogue), batch)
        return model.request_scores(
            users, batch, catalogue, everything, model.item_vectors(everything, catalogue)
        )


@pytest.mark.parametrize(
    "lacks", [(), ("half_lives",), ("pair_signals",), ("request_time",), tuple(TERMS)], ids=str
)
def test_a_term_that_the_parent_lacks_changes_no_score(lacks):
    own = {name: value for name, value in TERMS.items() if name not in lacks}
    parent, child = tiny.recommender(OLD, **own), tiny.recommender(NEW, seed=7, **TERMS)
    if "request_time" in own:
        torch.nn.init.normal_(parent.request.outer.weight)
    start_from_parent(child, parent.state_dict())
    catalogue = tiny.catalogue(ITEMS, OLD)
    assert torch.allclose(_request_scores(child, catalogue), _request_scores(parent, catalogue), atol=1e-6)
    names = set(parent.state_dict()) - {TABLE}
    assert all(torch.equal(child.state_dict()[name], parent.state_dict()[name]) for name in names)


def test_a_term_that_was_added_trains_beside_the_carried_moments(parent: Recommender):
    child = tiny.recommender(NEW, seed=7, pair_signals=True, request_time=True)
    start_from_parent(child, parent.state_dict())
    optimizers = build_optimizers(child, TrainingConfig(), finetune=True)
    carry_moments(child, optimizers, parent.moments)
    carried = moments(child, optimizers)
    assert not any(name.startswith(("pair_term.", "request.")) for name in carried)
    pairs = Pairs(
        torch.tensor([0, 1]),
        torch.tensor([1, 4]),
        torch.ones(2, 11),
        torch.zeros(2),
        torch.tensor([[0], [1]]),
    )
    at = torch.tensor([1.8e9, 1.8e9], dtype=torch.float64)
    loss, _ = child.training_loss(
        replace(BATCH, label_at_seconds=at, pairs=pairs),
        tiny.catalogue(ITEMS, NEW),
        torch.arange(ITEMS),
        tiny.objective(),
        0.0,
        1,
        0,
    )
    loss.backward()
    optimizers.step()
    assert child.pair_term.weights.weight.any() and child.request.outer.weight.any()
    after = moments(child, optimizers)
    assert after["pair_term.weights.weight/step"] == 1 and after["head.output.weight/step"] == 4


def test_a_parent_with_a_term_that_the_child_lacks_is_refused(parent: Recommender):
    with pytest.raises(ValueError, match="request.outer.weight is unknown to this model"):
        start_from_parent(tiny.recommender(NEW), tiny.recommender(OLD, request_time=True).state_dict())
