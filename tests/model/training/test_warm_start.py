"""A child that starts from its parent's weights."""

from __future__ import annotations

import pytest
import torch

from model.config import TrainingConfig
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender, score
from model.training.optimizer import build_optimizers, moments
from model.training.warm_start import TABLE, carry_moments, start_from_parent
from tests.model import tiny

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
