"""The wall: which tables training may open, and at which versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from expectations.tables import EVALUATION_SEQUENCES, EVENTS, ITEMS, SEQUENCES
from model.data import cycle_tables
from model.data.cycle_tables import CycleTables, DatasetError
from model.data.delta import TableError
from tests.model import lake as tiny

CHECKOUT = Path(__file__).resolve().parents[3]
EVENT = (1, 2 * tiny.HOUR, 1.0)


@pytest.fixture
def tables(tmp_path) -> CycleTables:
    versions = tiny.write_cycle(tmp_path, {"ann": [EVENT], "bob": [EVENT] * 3}, items=6, in_vocabulary=3)
    return CycleTables(str(tmp_path), tiny.SOURCE, tiny.CYCLE, versions)


def test_the_rows_of_the_cycle_come_in_batches(tables, tmp_path, monkeypatch):
    tiny.write(tmp_path, SEQUENCES, tiny.chunks("eve", [EVENT], cycle="other"))
    monkeypatch.setattr(cycle_tables, "ROWS_AT_ONCE", 1)
    newest = CycleTables(tables.lake, tables.source, tables.cycle, {**tables.versions, "sequences": 1})
    batches = list(newest.batches(SEQUENCES, ("user_id",)))
    assert [batch.num_rows for batch in batches] == [1, 1]
    assert sorted(batch["user_id"][0].as_py() for batch in batches) == ["ann", "bob"]


def test_a_table_without_cycles_is_read_whole(tables):
    assert sum(batch.num_rows for batch in tables.batches(ITEMS, ("item_index",))) == 6


@pytest.mark.parametrize("table", [EVALUATION_SEQUENCES, EVENTS])
def test_training_cannot_open_any_other_table(tables, table):
    with pytest.raises(DatasetError, match=f"training may not read {table.name}"):
        list(tables.batches(table, ("user_id",)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"versions": {}}, DatasetError, "has no version of sequences; run its stage first"),
        ({"source": "nowhere"}, TableError, "cannot be read at version 0"),
        ({"versions": {"sequences": 7}}, TableError, "cannot be read at version 7"),
        ({"cycle": "1999-01-01"}, DatasetError, "no rows of cycle 1999-01-01 at version 0"),
    ],
)
def test_what_is_missing_is_named(tables, change, error, message):
    broken = CycleTables(**{**vars(tables), **change})
    with pytest.raises(error, match=message):
        list(broken.batches(SEQUENCES, ("user_id",)))


def test_no_module_that_training_imports_names_the_evaluation_sequences_or_unpickles():
    evaluates = {"histories.py", "delta.py"}
    paths = [
        path
        for floor in ("network", "data", "training")
        for path in (CHECKOUT / "model" / floor).glob("*.py")
    ]
    words = (
        "EVALUATION_SEQUENCES",
        "evaluation_sequences",
        "histories",
        "pickle",
        "torch.load",
        "torch.save",
    )
    assert len(paths) > 20
    for path in [*paths, *(CHECKOUT / "pipeline" / "training").glob("*.py")]:
        code = re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)
        assert path.name in evaluates or not [word for word in words if word in code], path
