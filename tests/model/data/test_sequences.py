"""Training sequences as flat arrays."""

from __future__ import annotations

import pytest

from expectations.tables import SEQUENCES
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.delta import TableError
from model.data.sequences import load_sequences
from tests.model import lake as tiny

HOUR = tiny.HOUR
ANN = [(3, 1 * HOUR, 0.0), (1, 2 * HOUR, 2.0), (2, 5 * HOUR, 0.0)]
BOB = [(n % 4, n * HOUR, float(n == 17)) for n in range(1, 20)]


@pytest.fixture
def tables(tmp_path) -> CycleTables:
    versions = tiny.write_cycle(tmp_path, {"bob": BOB, "ann": ANN}, items=6, in_vocabulary=3)
    return CycleTables(str(tmp_path), tiny.SOURCE, tiny.CYCLE, versions)


def load(tables: CycleTables, after_us: int | None = None, split_us: int = 20 * HOUR, fields=("page",)):
    return load_sequences(tables, fields, after_us, split_us, items=6)


def test_rows_are_in_order_of_user_and_chunk_with_their_events(tables):
    sequences = load(tables)
    assert sequences.length.tolist() == [3, 16, 11]
    assert sequences.begins.tolist() == [True, True, False]
    assert sequences.loss_start.tolist() == [0, 0, 8]
    ann = slice(sequences.first[0], sequences.first[0] + 3)
    assert sequences.events.item_index[ann].tolist() == [3, 1, 2]
    assert sequences.events.event_at_us[ann].tolist() == [1 * HOUR, 2 * HOUR, 5 * HOUR]
    assert sequences.events.reward[ann].tolist() == [0, 2, 0]
    assert sequences.events.context[ann].tolist() == [[3], [1], [2]]
    assert sequences.target_position[sequences.first_target[0]] == 1
    assert sequences.targets.tolist() == [1, 0, 1]
    assert sequences.tails.tolist() == [0, 1, 0]
    assert sequences.tail_event_at_us.tolist() == [17 * HOUR]


def test_columns_are_compact(tables):
    events = load(tables).events
    columns = (events.item_index, events.action, events.event_at_us, events.reward, events.context)
    assert sum(column.itemsize for column in columns) == 17 + 2


def test_rows_without_a_high_value_event_in_the_interval_are_dropped_but_their_items_are_seen(tables):
    sequences = load(tables, after_us=2 * HOUR)
    assert sequences.length.tolist() == [16, 11]  # bob's first row is kept for its tail
    assert sequences.seen.tolist() == [True, True, True, True, False, False]
    assert sequences.tails.tolist() == [1, 0]


def test_an_interval_without_any_high_value_event_is_refused(tables):
    message = r"none of the 3 sequences of cycle 1970-01-31 has a high-value event after 1970-01-01T17:00:00"
    with pytest.raises(DatasetError, match=message):
        load(tables, after_us=17 * HOUR)


def test_an_event_later_than_the_split_is_refused(tables):
    message = "event at 1970-01-01T19:00:00.*, later than the split 1970-01-01T18:00:00"
    with pytest.raises(DatasetError, match=message):
        load(tables, split_us=18 * HOUR)


def test_a_context_field_that_the_source_lacks_is_refused(tables):
    with pytest.raises(DatasetError, match="sequences have no country; remove it from model.context_fields"):
        load(tables, fields=("country",))


def test_an_item_outside_the_items_is_refused(tables):
    with pytest.raises(TableError, match="sequences names item_index 3, but items has 3 rows"):
        load_sequences(tables, (), None, 20 * HOUR, items=3)


def test_only_this_cycle_at_this_version_is_read(tables, tmp_path):
    tiny.write(tmp_path, SEQUENCES, tiny.chunks("eve", ANN, cycle="other"))
    latest = tiny.write(tmp_path, SEQUENCES, tiny.chunks("eve", ANN))
    assert load(tables).rows == 3
    newer = CycleTables(tables.lake, tables.source, tables.cycle, {**tables.versions, "sequences": latest})
    assert load(newer).rows == 4
