"""Item vectors by hand, masked, cold and without features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.network.catalogue import Catalogue
from model.network.item_tower import ItemTower
from tests.model import tiny

ITEMS, KNOWN = 6, 4


@pytest.fixture
def tower() -> ItemTower:
    torch.manual_seed(3)
    tower = ItemTower(tiny.config(), KNOWN)
    with torch.no_grad():
        tower.out_of_vocabulary.normal_()
        tower.decoder.id_weight.fill_(0.7)
        tower.decoder.semantic_weight.fill_(-1.3)
    return tower


def _by_hand(tower: ItemTower, catalogue: Catalogue, item: int, has_row: bool) -> np.ndarray:
    """Equation 3 for one item, in float64 numpy."""
    weight = {name: tensor.double().numpy() for name, tensor in tower.state_dict().items()}
    semantic = np.zeros(tower.table.embedding_dim)
    for name, width in tiny.MODALITIES:
        vector = catalogue.features[name][item].double().numpy()
        scaled = vector / np.linalg.norm(vector) * width**0.5
        semantic = semantic + weight[f"semantic.inputs.{name}.weight"] @ scaled
    row = weight["table.weight"][item] if has_row else weight["out_of_vocabulary"]
    mixed = weight["decoder.id_weight"] * row + weight["decoder.semantic_weight"] * semantic
    return weight["decoder.output.weight"] @ mixed


def test_item_vectors_equal_equation_3(tower: ItemTower):
    catalogue = tiny.catalogue(ITEMS, KNOWN)
    masked = torch.tensor([False, True, False, False, False, False])
    vectors = tower.decoder_vectors(torch.arange(ITEMS), catalogue, masked).detach().double().numpy()
    for item, has_row in enumerate([True, False, True, True, False, False]):
        expected = _by_hand(tower, catalogue, item, has_row)
        # A few products of widths up to 8: a few dozen roundings of float32.
        assert np.abs(vectors[item] - expected).max() < 64 * np.finfo(np.float32).eps * np.abs(expected).max()


def test_sides_share_table_and_semantics_but_not_weights(tower: ItemTower):
    names = {name for name, _ in tower.named_parameters()}
    assert {name for name in names if name.startswith(("encoder.", "decoder."))} == {
        f"{side}.{part}"
        for side in ("encoder", "decoder")
        for part in ("id_weight", "semantic_weight", "output.weight")
    }
    catalogue = tiny.catalogue(ITEMS, KNOWN)
    everything = torch.arange(ITEMS)
    loss = tower.encoder_vectors(everything, catalogue, None).sum()
    loss = loss + tower.decoder_vectors(everything, catalogue, None).sum()
    loss.backward()
    assert tower.table.weight.grad.coalesce().indices().tolist() == [[0, 1, 2, 3]]
    assert all(layer.weight.grad.abs().sum() > 0 for layer in tower.semantic.inputs.values())


def test_only_rows_in_use_get_a_gradient(tower: ItemTower):
    catalogue = tiny.catalogue(ITEMS, KNOWN)
    masked = torch.zeros(ITEMS, dtype=torch.bool).index_fill(0, torch.tensor([2]), True)
    tower.decoder_vectors(torch.tensor([1, 2, 5]), catalogue, masked).sum().backward()
    # Item 2 is masked and item 5 is outside the vocabulary: neither may touch row 0.
    assert tower.table.weight.grad.coalesce().indices().tolist() == [[1]]
    assert tower.out_of_vocabulary.grad.abs().sum() > 0


def test_a_masked_item_has_the_vector_of_a_cold_one(tower: ItemTower):
    catalogue = tiny.catalogue(ITEMS, KNOWN)
    cold = Catalogue(torch.full((ITEMS,), -1), catalogue.features)
    everything = torch.arange(ITEMS)
    masked = tower.decoder_vectors(everything, catalogue, torch.ones(ITEMS, dtype=torch.bool))
    assert torch.equal(masked, tower.decoder_vectors(everything, cold, None))


def test_a_missing_modality_adds_nothing(tower: ItemTower):
    catalogue = tiny.catalogue(ITEMS, KNOWN)
    catalogue.features["graph"][3] = 0
    vectors = tower.decoder_vectors(torch.tensor([3]), catalogue, None)
    with torch.no_grad():
        tower.semantic.inputs["graph"].weight.normal_()
    assert torch.equal(vectors, tower.decoder_vectors(torch.tensor([3]), catalogue, None))


def test_a_source_without_features_or_vocabulary_has_vectors():
    tower = ItemTower(tiny.config(modalities=()), 0)
    catalogue = Catalogue(torch.full((3,), -1), {})
    vectors = tower.decoder_vectors(torch.arange(3), catalogue, None)
    assert vectors.shape == (3, 32) and torch.equal(vectors[0], vectors[2])


def test_a_catalogue_that_does_not_fit_is_refused(tower: ItemTower):
    tower.check(tiny.catalogue(ITEMS, KNOWN))
    with pytest.raises(ValueError, match="item_token up to 5; the ID table has 4 rows"):
        tower.check(tiny.catalogue(ITEMS))
    bare = Catalogue(torch.arange(2), {"language": torch.zeros(2, 7)})
    with pytest.raises(ValueError, match=r"features are {'language': 7}; the model needs {'language': 6"):
        tower.check(bare)
