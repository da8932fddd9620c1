"""What the report reads from tables: at the pinned versions, of this cycle only."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from expectations.tables import location
from pipeline.cycle.context import UndeclaredError
from pipeline.report.table_facts import EXAMPLE_CHARACTERS, EXAMPLE_LINES, TableFacts, table_facts
from tests.pipeline import cycle_records


def put(home, table: str, rows: list[dict]) -> None:
    """Appends rows as the table's next version."""
    write_deltalake(location(home.lake, "tiny", table), pa.Table.from_pylist(rows), mode="append")


def facts(home, **versions: int) -> TableFacts:
    """Facts of the cycle 2024-02-20, by the version of each table that it pinned."""
    events = replace(cycle_records.accepted()["events"], versions=versions)
    return table_facts(cycle_records.context(home, "report", {"events": events}))


def rejected(file_id: str, line_number: int, **changed) -> dict:
    row = {
        "file_id": file_id,
        "file_path": "a.jsonl",
        "line_number": line_number,
        "raw": "{",
        "reason": "not JSON",
    }
    return row | changed


@pytest.fixture
def ingested(home):
    """A home in which this cycle ingested the file `new` and the one before it the file `old`."""
    put(
        home,
        "ingested_files",
        [{"file_id": "old", "cycle": "2024-02-10"}, {"file_id": "new", "cycle": "2024-02-20"}],
    )
    return home


def test_rejected_lines_are_a_few_of_this_cycles_files_for_each_reason(ingested):
    lines = [rejected("new", number, raw="x" * 1000) for number in range(1, EXAMPLE_LINES + 3)]
    put(ingested, "rejected_events", [*lines, rejected("new", 9, reason="missing user", raw="{}")])
    put(ingested, "rejected_events", [rejected("new", 99, reason="written after the pinned version")])
    examples = facts(ingested, ingested_files=0, rejected_events=0).rejected_lines
    assert list(examples) == ["missing user", "not JSON"]
    assert examples["missing user"] == [("a.jsonl", 9, "{}")]
    assert len(examples["not JSON"]) == EXAMPLE_LINES
    assert {line.text for line in examples["not JSON"]} == {"x" * EXAMPLE_CHARACTERS}


def test_rejected_lines_of_earlier_cycles_are_not_shown(ingested):
    put(ingested, "rejected_events", [rejected("old", 9)])
    assert facts(ingested, ingested_files=0, rejected_events=0).rejected_lines == {}


def test_a_cycle_that_ingested_nothing_has_no_rejected_lines(home):
    put(home, "ingested_files", [{"file_id": "old", "cycle": "2024-02-10"}])
    put(home, "rejected_events", [rejected("old", 9)])
    assert facts(home, ingested_files=0, rejected_events=0).rejected_lines == {}


def test_history_lengths_count_a_users_events_once_in_bins_of_doubling_width(home):
    # First position and length of each of a user's chunks: u1 has 6 events, u3 has 5, u2 has 1.
    chunks = {"u1": [(0, 4), (2, 4)], "u2": [(0, 1)], "u3": [(0, 5)]}
    rows = [
        {"cycle": "2024-02-20", "user_id": user, "first_position": first, "item_index": list(range(length))}
        for user, parts in chunks.items()
        for first, length in parts
    ]
    other = {"cycle": "2024-02-10", "user_id": "u9", "first_position": 0, "item_index": [1]}
    put(home, "sequences", [*rows, other])
    assert facts(home, sequences=0).history_lengths == [("1", 1), ("2–3", 0), ("4–7", 2)]


def test_the_vocabulary_is_counted_by_the_cycle_that_added_a_row(home):
    added = ("2024-02-20", "2024-02-10", "2024-02-10")
    put(home, "vocabulary", [{"cycle": "2024-02-20", "added_in": name} for name in added])
    put(home, "vocabulary", [{"cycle": "2024-02-20", "added_in": "2024-02-20"}])
    assert facts(home, vocabulary=0).vocabulary_by_cycle == [("2024-02-10", 2), ("2024-02-20", 1)]


def test_a_table_that_was_not_written_has_no_facts(home):
    assert facts(home) == TableFacts()


def test_a_stage_that_does_not_declare_the_tables_cannot_read_them(home):
    with pytest.raises(UndeclaredError, match="stage promote does not declare that it reads table"):
        table_facts(cycle_records.context(home, "promote", {}))
