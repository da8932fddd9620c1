"""Items, vocabulary and features of a cycle, and the catalogue made of them."""

from __future__ import annotations

import pytest
import torch

from expectations.tables import ITEM_FEATURES
from model.config import FRESHNESS, FRESHNESS_WIDTH
from model.data.cycle_items import load_items
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.items import UNKNOWN_LAUNCH
from model.network.catalogue import OUT_OF_VOCABULARY
from model.network.freshness import launch_features
from tests.model import lake as tiny

HOUR = tiny.HOUR


@pytest.fixture
def tables(tmp_path) -> CycleTables:
    """Six items: the first three in the vocabulary, 2 retired, 4 and 5 with a launch."""
    versions = tiny.write_cycle(
        tmp_path,
        {"ann": [(3, HOUR, 1.0)]},
        items=6,
        in_vocabulary=3,
        retired=(2,),
        launched={4: 9 * HOUR, 5: 99 * HOUR},
    )
    return CycleTables(str(tmp_path), tiny.SOURCE, tiny.CYCLE, versions)


def test_items_have_ids_tokens_launches_tombstones_and_features(tables):
    cycle = load_items(tables, (("language", 2), ("graph", 8)))
    assert cycle.items.item_id.to_pylist() == [f"i{item}" for item in range(6)]
    assert cycle.items.launched_at_us.tolist() == [UNKNOWN_LAUNCH] * 4 + [9 * HOUR, 99 * HOUR]
    assert cycle.vocabulary.retired.tolist() == [False, False, True, False, False, False]
    assert cycle.catalogue.item_token.tolist() == [0, 1, 2, *[OUT_OF_VOCABULARY] * 3]
    graph, language = cycle.catalogue.features["graph"], cycle.catalogue.features["language"]
    assert graph.shape == (6, 8) and (language == graph[:, :2]).all() and (graph != 0).all()


def test_the_catalogue_has_launches_in_seconds_and_as_phases(tables):
    catalogue = load_items(tables, ((FRESHNESS, FRESHNESS_WIDTH),)).catalogue
    assert catalogue.launched_at_seconds.isnan().tolist() == [True] * 4 + [False] * 2
    assert catalogue.launched_at_seconds[4:].tolist() == [9 * 3600, 99 * 3600]
    assert torch.equal(catalogue.features[FRESHNESS], launch_features(catalogue.launched_at_seconds))


def test_a_catalogue_without_any_known_launch_has_no_launches(tmp_path):
    versions = tiny.write_cycle(tmp_path, {"ann": [(0, HOUR, 1.0)]}, items=2, in_vocabulary=1)
    catalogue = load_items(CycleTables(str(tmp_path), tiny.SOURCE, tiny.CYCLE, versions), ()).catalogue
    assert catalogue.launched_at_seconds is None and catalogue.features == {}


def test_items_keep_the_features_that_they_had_in_an_earlier_cycle(tables, tmp_path):
    vectors = {"language": [7.0, 8.0], "graph": [0.0] * 8, "annotation": [0.0] * 4}
    version = tiny.write(tmp_path, ITEM_FEATURES, [{"cycle": "earlier", "item_index": 2, **vectors}])
    now = CycleTables(tables.lake, tables.source, tables.cycle, {**tables.versions, "item_features": version})
    earlier = CycleTables(tables.lake, tables.source, "earlier", now.versions)
    today, kept = (
        load_items(now, (("language", 2),), before).catalogue.features["language"]
        for before in (None, earlier)
    )
    assert kept[2].tolist() == [7.0, 8.0] != today[2].tolist()
    assert torch.equal(kept[[0, 1, 3, 4, 5]], today[[0, 1, 3, 4, 5]])


def test_a_cycle_without_a_vocabulary_is_refused(tables):
    other = CycleTables(tables.lake, tables.source, "1999-01-01", tables.versions)
    with pytest.raises(DatasetError, match="vocabulary has no rows of cycle 1999-01-01"):
        load_items(other, ())
