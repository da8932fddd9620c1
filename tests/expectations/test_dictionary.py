"""The table dictionary is made from the contracts, and the committed page is current."""

from __future__ import annotations

from expectations import dictionary
from expectations.tables import TABLES


def test_the_committed_page_is_current():
    assert dictionary.PAGE.read_text(encoding="utf-8") == dictionary.text(), (
        "run python -m expectations.dictionary"
    )


def test_every_table_and_column_is_on_the_page():
    sections = dictionary.text().split("\n## ")[1:]
    assert [section.splitlines()[0] for section in sections] == list(TABLES)
    for section, table in zip(sections, TABLES.values(), strict=True):
        assert f"Grain: {table.grain}." in section
        assert all(f"| `{column.name}` |" in section for column in table.columns)
        assert all(predicate in section for _, predicate in table.constraints)
