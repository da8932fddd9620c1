"""Reading a Delta table at a version, and replacing one of its partitions."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from expectations.tables import ITEMS, RANKS, SEQUENCES, VOCABULARY, location
from model.data.delta import (
    PinnedTable,
    TableError,
    arrow_schema,
    arrow_type,
    latest,
    replace_partition,
)
from tests.model import lake as tiny


def known(cycle: str, *items: int) -> list[dict[str, object]]:
    return [
        {"cycle": cycle, "item_token": item, "item_index": item, "event_count": item, "added_in": cycle}
        | {"retired": False}
        for item in items
    ]


@pytest.fixture
def vocabulary(tmp_path) -> PinnedTable:
    """Two cycles at version 1; version 0 lacks the second one, version 2 has one more row."""
    tiny.write(tmp_path, VOCABULARY, known("a", 3, 1, 2))
    version = tiny.write(tmp_path, VOCABULARY, known("b", 7))
    tiny.write(tmp_path, VOCABULARY, known("b", 8))
    return PinnedTable(str(tmp_path), tiny.SOURCE, VOCABULARY, version)


def test_a_table_is_read_at_its_version_by_partition_and_predicate(vocabulary):
    assert sorted(vocabulary.read(["item_index"])["item_index"].to_pylist()) == [1, 2, 3, 7]
    assert vocabulary.read(["item_index"], cycle="b")["item_index"].to_pylist() == [7]
    few = vocabulary.read(["item_index"], where=pc.field("item_index") > 1, cycle="a")
    assert few.column_names == ["item_index"] and few["item_index"].to_pylist() == [3, 2]
    assert vocabulary.dataset().count_rows() == 4


def test_batches_hold_the_same_rows_in_the_same_order_and_are_never_empty(vocabulary):
    batches = list(vocabulary.batches(["item_index"], rows_at_once=2, cycle="a"))
    assert [batch.num_rows for batch in batches] == [2, 1]
    whole = vocabulary.read(["item_index"], cycle="a")
    assert pa.Table.from_batches(batches).equals(whole)
    assert list(vocabulary.batches(["item_index"], cycle="c")) == []


def test_a_column_that_an_earlier_release_did_not_write_is_null_or_named(tmp_path):
    rows = pa.table(
        {"cycle": ["2024-01-01"], "user_id": ["u"], "page": pa.array([[1]], pa.list_(pa.int16()))}
    )
    write_deltalake(location(str(tmp_path), tiny.SOURCE, "sequences"), rows, partition_by=["cycle"])
    earlier = PinnedTable(str(tmp_path), tiny.SOURCE, SEQUENCES, 0)
    read = earlier.read(["user_id", "page", "rating"], cycle="2024-01-01")
    assert read.to_pylist() == [{"user_id": "u", "page": [1], "rating": None}]
    assert read.schema.field("rating").type == pa.list_(pa.int16())
    with pytest.raises(TableError, match="sequences at version 0 has no column chunk: an earlier release"):
        next(earlier.batches(["chunk"]))


def test_a_missing_table_or_version_is_named(vocabulary):
    missing = PinnedTable(vocabulary.lake, "nowhere", VOCABULARY, 0)
    with pytest.raises(TableError, match="nowhere/vocabulary cannot be read at version 0"):
        missing.dataset()
    with pytest.raises(TableError, match="vocabulary cannot be read at version 9"):
        PinnedTable(vocabulary.lake, vocabulary.source, VOCABULARY, 9).read(["item_index"])


def test_files_that_a_version_has_lost_are_named(vocabulary):
    assert vocabulary.missing_files() == []
    lost = vocabulary.dataset().files[0]
    (Path(vocabulary.address) / lost).unlink()
    assert [Path(path).name for path in vocabulary.missing_files()] == [Path(lost).name]


def test_a_column_that_is_no_partition_is_refused(vocabulary):
    with pytest.raises(ValueError, match="vocabulary has no partition 'item_index'; allowed: cycle"):
        vocabulary.read(["item_index"], item_index="1")


def test_the_latest_version_is_pinned_and_none_where_there_is_no_table(vocabulary):
    assert latest(vocabulary.lake, vocabulary.source, VOCABULARY).version == 2
    assert latest(vocabulary.lake, vocabulary.source, ITEMS) is None


def test_a_partition_is_replaced_beside_the_others_under_the_contracts_constraints(tmp_path):
    lake, schema = str(tmp_path), arrow_schema(VOCABULARY)

    def write(cycle: str, *items: int) -> PinnedTable:
        rows = pa.Table.from_pylist(known(cycle, *items), schema)
        return replace_partition(lake, "s", VOCABULARY, rows, cycle=cycle)

    first = write("a", 1, 2)
    write("b", 3)
    newest = write("a", 4)
    assert sorted(newest.read(["item_index"])["item_index"].to_pylist()) == [3, 4]
    assert sorted(first.read(["item_index"])["item_index"].to_pylist()) == [1, 2]
    with pytest.raises(DeltaError, match="item_token"):
        write("a", -1)
    assert latest(lake, "s", VOCABULARY) == newest


def test_arrow_types_are_those_of_the_contract():
    schema = arrow_schema(RANKS)
    assert schema.names == list(RANKS.column_names)
    assert schema.field("tasks").type == pa.list_(pa.string()) and not schema.field("tasks").nullable
    assert schema.field("log_probability") == pa.field("log_probability", pa.float64(), nullable=True)
    assert arrow_type("timestamp") == pa.timestamp("us", tz="UTC")
    with pytest.raises(ValueError, match="struct<a: int>' has no Arrow type here"):
        arrow_type("array<struct<a: int>>")
