"""What the cycle report reads from tables, at the versions that the cycle pinned, and no record holds:
example lines, lengths of histories, the age of the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow.compute as pc
from pyarrow.dataset import Dataset

from expectations.tables import INGESTED_FILES, REJECTED_EVENTS, SEQUENCES, VOCABULARY, Table
from model.data.delta import PinnedTable
from pipeline.cycle.context import StageContext

EXAMPLE_LINES = 3
"""Rejected lines shown for each reason."""
EXAMPLE_CHARACTERS = 300
"""Characters shown of a rejected line."""


class RejectedLine(NamedTuple):
    """One rejected line of a landed file."""

    file: str
    number: int
    text: str


@dataclass(frozen=True)
class TableFacts:
    """Facts of a cycle; empty where the stage that writes the table did not finish."""

    rejected_lines: Mapping[str, Sequence[RejectedLine]] = field(default_factory=dict)
    """Example lines by reason."""
    history_lengths: Sequence[tuple[str, int]] = ()
    """Users by number of events up to the split: pairs of a bin (`4–7`) and its users, every bin up to the
    longest history."""
    vocabulary_by_cycle: Sequence[tuple[str, int]] = ()
    """Items in the vocabulary by the cycle that added them, oldest first."""


def table_facts(context: StageContext) -> TableFacts:
    """Reads the facts of a cycle. Raises TableError for a pinned version that is gone."""
    versions = context.versions
    return TableFacts(
        rejected_lines=rejected_lines(context) if REJECTED_EVENTS.name in versions else {},
        history_lengths=history_lengths(context) if SEQUENCES.name in versions else (),
        vocabulary_by_cycle=vocabulary_by_cycle(context) if VOCABULARY.name in versions else (),
    )


def rejected_lines(context: StageContext) -> dict[str, list[RejectedLine]]:
    """A few rejected lines for each reason, from the files that this cycle ingested."""
    of_cycle = pc.field("cycle") == context.cycle.name
    files = _table(context, INGESTED_FILES).read(["file_id"], where=of_cycle)["file_id"]
    if not len(files):
        return {}
    rejected = _table(context, REJECTED_EVENTS).dataset()
    of_files = pc.field("file_id").isin(files)
    reasons = pc.unique(rejected.to_table(["reason"], filter=of_files)["reason"]).to_pylist()
    return {
        reason: _examples(rejected, of_files & (pc.field("reason") == reason)) for reason in sorted(reasons)
    }


def _examples(rejected: Dataset, wanted: pc.Expression) -> list[RejectedLine]:
    columns = ["file_path", "line_number", "raw"]
    return [
        RejectedLine(row["file_path"], row["line_number"], row["raw"][:EXAMPLE_CHARACTERS])
        for row in rejected.head(EXAMPLE_LINES, columns=columns, filter=wanted).to_pylist()
    ]


def history_lengths(context: StageContext) -> list[tuple[str, int]]:
    """Users by number of events up to the split, in bins 1, 2–3, 4–7, 8–15 and so on."""
    # A user's rows overlap by their context; the last one ends with the last event.
    end = pc.field("first_position") + pc.list_value_length(pc.field("item_index")).cast("int64")
    columns = {"user_id": pc.field("user_id"), "events": end}
    of_cycle = pc.field("cycle") == context.cycle.name
    rows = _table(context, SEQUENCES).dataset().to_table(columns, filter=of_cycle)
    lengths = rows.group_by("user_id").aggregate([("events", "max")])["events_max"]
    counts: dict[int, int] = {}
    for row in pc.value_counts(lengths).to_pylist():
        power = int(math.log2(row["values"]))
        counts[power] = counts.get(power, 0) + row["counts"]
    return [(_bin(power), counts.get(power, 0)) for power in range(max(counts, default=-1) + 1)]


def _bin(power: int) -> str:
    first, last = 2**power, 2 ** (power + 1) - 1
    return "1" if power == 0 else f"{first:,}–{last:,}"


def vocabulary_by_cycle(context: StageContext) -> list[tuple[str, int]]:
    """Items in this cycle's vocabulary by the cycle that added them, oldest first."""
    rows = _table(context, VOCABULARY).read(["added_in"], cycle=context.cycle.name)
    counts = pc.value_counts(rows["added_in"]).to_pylist()
    return sorted((row["values"], row["counts"]) for row in counts)


def _table(context: StageContext, table: Table) -> PinnedTable:
    return PinnedTable(context.settings.lake, context.cycle.source, table, context.versions[table.name])
