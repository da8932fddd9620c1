from __future__ import annotations

import numpy as np
import pytest
import torch

from expectations.tables import EVALUATION_SEQUENCES, ITEM_FEATURES, SEQUENCES
from model.config import FRESHNESS, FRESHNESS_WIDTH
from model.data.candidates import UNKNOWN_LAUNCH
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.items import load_items, training_candidates
from model.data.sequences import load_sequences
from model.network.batch import OUT_OF_VOCABULARY
from model.network.freshness import launch_features
from tests.model import lake as tiny

HOUR = tiny.HOUR
ANN = [(3, 1 * HOUR, 0.0), (1, 2 * HOUR, 2.0), (2, 5 * HOUR, 0.0)]
BOB = [(n % 4, n * HOUR, float(n == 17)) for n in range(1, 20)]


@pytest.fixture
def tables(tmp_path) -> CycleTables:
    versions = tiny.write_cycle(
        tmp_path,
        {"bob": BOB, "ann": ANN},
        items=6,
        in_vocabulary=3,
        retired=(2,),
        launched={4: 9 * HOUR, 5: 99 * HOUR},
    )
    return CycleTables(str(tmp_path), tiny.SOURCE, tiny.CYCLE, versions)


def sequences(tables: CycleTables, after_us: int | None = None, split_us: int = 20 * HOUR, fields=("page",)):
    return load_sequences(tables, fields, after_us, split_us, items=6)


def test_rows_come_in_order_of_user_and_chunk_with_their_events(tables):
    found = sequences(tables)
    assert found.length.tolist() == [3, 16, 11]
    assert found.begins.tolist() == [True, True, False]
    assert found.loss_start.tolist() == [0, 0, 8]
    ann = slice(found.first[0], found.first[0] + 3)
    assert found.events.item_index[ann].tolist() == [3, 1, 2]
    assert found.events.event_at_us[ann].tolist() == [1 * HOUR, 2 * HOUR, 5 * HOUR]
    assert found.events.reward[ann].tolist() == [0, 2, 0]
    assert found.events.context[ann].tolist() == [[3], [1], [2]]
    assert found.target_position[found.first_target[0]] == 1 and found.targets.tolist() == [1, 0, 1]
    assert found.tails.tolist() == [0, 1, 0]
    assert found.tail_event_at_us.tolist() == [17 * HOUR]


def test_columns_are_compact(tables):
    events = sequences(tables).events
    columns = (events.item_index, events.action, events.event_at_us, events.reward, events.context)
    assert sum(column.itemsize for column in columns) == 17 + 2


def test_rows_without_a_label_event_in_the_interval_are_dropped_but_their_items_were_seen(tables):
    found = sequences(tables, after_us=2 * HOUR)
    assert found.length.tolist() == [16, 11]  # bob's first row is kept for its tail
    assert found.seen.tolist() == [True, True, True, True, False, False]
    assert found.tails.tolist() == [1, 0]


def test_an_interval_without_any_label_event_is_refused(tables):
    message = "none of the 3 sequences of cycle 1970-01-31 has a label event after"
    with pytest.raises(DatasetError, match=message):
        sequences(tables, after_us=17 * HOUR)


def test_an_event_later_than_the_split_is_refused(tables):
    with pytest.raises(DatasetError, match="later than the split"):
        sequences(tables, split_us=18 * HOUR)


def test_a_context_field_that_the_source_lacks_is_refused(tables):
    with pytest.raises(DatasetError, match="no country"):
        sequences(tables, fields=("country",))


def test_only_the_cycle_and_version_asked_for_are_read(tables, tmp_path):
    tiny.write(tmp_path, SEQUENCES, tiny.chunks("eve", ANN, cycle="other"))
    latest = tiny.write(tmp_path, SEQUENCES, tiny.chunks("eve", ANN))
    assert sequences(tables).rows == 3
    newer = CycleTables(tables.lake, tables.source, tables.cycle, {**tables.versions, "sequences": latest})
    assert sequences(newer).rows == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"versions": {}}, "has no version of sequences; run its stage first"),
        ({"source": "nowhere"}, "cannot be read at version 0"),
        ({"versions": {"sequences": 7}}, "cannot be read at version 7"),
        ({"cycle": "1999-01-01"}, "no rows of cycle 1999-01-01 at version 0"),
    ],
)
def test_what_is_missing_is_named(tables, change, message):
    broken = CycleTables(**{**vars(tables), **change})
    with pytest.raises(DatasetError, match=message):
        sequences(broken)


def test_training_cannot_open_the_evaluation_sequences(tables):
    with pytest.raises(DatasetError, match="may not read evaluation_sequences"):
        list(tables.batches(EVALUATION_SEQUENCES, ("user_id",)))


def test_items_have_tokens_launches_tombstones_and_features(tables):
    items = load_items(tables, (("language", 2), ("graph", 8)))
    assert items.catalogue.item_token.tolist() == [0, 1, 2, *[OUT_OF_VOCABULARY] * 3]
    assert items.launched_at_us.tolist() == [UNKNOWN_LAUNCH] * 4 + [9 * HOUR, 99 * HOUR]
    assert items.retired.tolist() == [False, False, True, False, False, False]
    graph, language = items.catalogue.features["graph"], items.catalogue.features["language"]
    assert graph.shape == (6, 8) and (language == graph[:, :2]).all() and (graph != 0).all()


def test_launches_are_known_to_the_catalogue_in_seconds_and_as_phases(tables):
    catalogue = load_items(tables, ((FRESHNESS, FRESHNESS_WIDTH),)).catalogue
    assert catalogue.launched_at_seconds.isnan().tolist() == [True] * 4 + [False] * 2
    assert catalogue.launched_at_seconds[4:].tolist() == [9 * 3600, 99 * 3600]
    assert torch.equal(catalogue.features[FRESHNESS], launch_features(catalogue.launched_at_seconds))


def test_items_keep_the_features_of_an_earlier_cycle_where_they_had_any(tables, tmp_path):
    vectors = {"language": [7.0, 8.0], "graph": [0.0] * 8, "annotation": [0.0] * 4}
    row = {"cycle": "earlier", "item_index": 2, **vectors}
    version = tiny.write(tmp_path, ITEM_FEATURES, [row])
    now = CycleTables(tables.lake, tables.source, tables.cycle, {**tables.versions, "item_features": version})
    earlier = CycleTables(tables.lake, tables.source, "earlier", now.versions)
    own, kept = (load_items(now, (("language", 2),), other).catalogue for other in (None, earlier))
    own, kept = own.features["language"], kept.features["language"]
    assert kept[2].tolist() == [7.0, 8.0] != own[2].tolist()
    assert torch.equal(kept[[0, 1, 3, 4, 5]], own[[0, 1, 3, 4, 5]])


def test_a_width_that_does_not_fit_is_named(tables):
    with pytest.raises(DatasetError, match=r"graph vectors \[8\] wide; model.modalities has 3"):
        load_items(tables, (("graph", 3),))


def test_candidates_are_items_known_by_the_split_and_not_retired(tables):
    items = load_items(tables, ())
    seen = np.array([False, False, True, True, False, False])
    assert training_candidates(items, seen, split_us=20 * HOUR).tolist() == [0, 1, 3, 4]
    assert training_candidates(items, seen, split_us=8 * HOUR).tolist() == [0, 1, 3]
