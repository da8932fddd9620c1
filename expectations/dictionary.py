"""The table dictionary, `docs/tables.md`, generated from the contracts in `expectations.tables`.

`python -m expectations.dictionary` writes it; a test checks that it is up to date.
"""

from __future__ import annotations

from pathlib import Path

from expectations.tables import TABLES, Table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tables.md"

_HEAD = """# The tables

Every table of a source's lake, in the order in which data flows. All are Delta tables at
`<lake>/<source>/<table>`. Types are Spark's, times are UTC. Types, nulls and constraints are enforced on
write. This page is generated from `expectations/tables.py` by `python -m expectations.dictionary`.

Three words are used strictly:

- a *high-value event* is an event that the source's `high_value` rule marks and whose reward is above 0;
- a *target* is a high-value event that `sequences` stores by reference, as a possible label;
- a *label* is what a prediction is compared with: a target chosen for a position (training), or a
  high-value event in the evaluation window (evaluation).
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


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Writes the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
