"""The table dictionary, `docs/tables.md`, made from the contracts in `expectations.tables`.

`python -m expectations.dictionary` writes it; a test checks that it is current.
"""

from __future__ import annotations

from pathlib import Path

from expectations.tables import TABLES, Table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tables.md"

_HEAD = """# The tables

Every table of a source's lake, in the order of the data's way. All are Delta tables at
`<lake>/<source>/<table>`; times are UTC. Types are Spark's. The constraints are enforced on write,
and so are types and nulls. This page is made from `expectations/tables.py` by
`python -m expectations.dictionary`.
"""


def text() -> str:
    """The whole page."""
    overview = ["| table | grain | key | partitions |", "|---|---|---|---|"]
    overview += [
        f"| [`{table.name}`](#{table.name}) | {_cell(table.grain)} | {_names(table.key)} | {_names(table.partitions)} |"
        for table in TABLES.values()
    ]
    return "\n".join([_HEAD, *overview, "", *(_section(table) for table in TABLES.values())])


def _section(table: Table) -> str:
    lines = [
        f"## {table.name}",
        "",
        f"Grain: {table.grain}.",
        "",
        "| column | type | null | meaning and unit |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{column.name}` | `{column.type}` | {'yes' if column.nullable else 'no'} | {_cell(column.doc)} |"
        for column in table.columns
    ]
    if table.constraints:
        lines += ["", "Constraints:", ""]
        lines += [f"- `{name}`: `{predicate}`" for name, predicate in table.constraints]
    return "\n".join([*lines, ""])


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def main() -> None:
    """Writes the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
