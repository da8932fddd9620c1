"""The `ranks` table: written by delta-rs, one replaceable part a cycle and model, and read back.

In: what each model made of the examples. Out: rows in a fixed order under the contract's schema and
constraints; and, read back, `RankedExamples`, from which every metric is computed. It does not know
who ranked, nor how.

Shape legend
    X  examples
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError
from numpy.typing import NDArray

from expectations.tables import RANKS, location
from model.data.candidates import Candidates
from model.evaluation.examples import Examples, read_cycle
from model.evaluation.metrics import ALL, Group, MetricsError, RankedExamples
from model.evaluation.ranking import Ranking

Ints = NDArray[np.int64]

_ARROW = {
    "string": pa.string(),
    "double": pa.float64(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "array<string>": pa.list_(pa.string()),
}
SCHEMA = pa.schema([pa.field(one.name, _ARROW[one.type], nullable=one.nullable) for one in RANKS.columns])
"""The contract's schema in Arrow's terms."""


@dataclass(frozen=True)
class Condition:
    """What a ranking could see."""

    protocol: str
    """`replay` or `cutoff`."""
    delay_hours: float
    """Serving delay; 0 under the cutoff protocol."""


def rank_rows(
    cycle: str,
    model: str,
    model_digest: str,
    examples: Examples,
    candidates: Candidates,
    conditions: list[tuple[Condition, Ints, Ranking]],
) -> pa.Table:
    """Rows of one model in order of protocol, delay, user and position.

    `conditions` gives for each condition where the examples' histories end (int64 [X]) and the
    ranking. An example without any visible event is of the slice `new_user`.
    """
    histories, user = examples.histories, examples.user
    order = np.lexsort((examples.position, user))
    size = candidates.sizes_at(examples.event_at_us)[order]
    tasks = [_names(examples.tasks, number) for number in order]
    parts = []
    for condition, ends, ranking in sorted(conditions, key=lambda one: (one[0].protocol, one[0].delay_hours)):
        length = (ends - histories.offset[user])[order]
        is_new = (length == 0) & (histories.first_position[user[order]] == 0)
        slices = examples.slices | {"new_user": np.empty_like(is_new)}
        slices["new_user"][order] = is_new
        columns = {
            "cycle": np.full(order.size, cycle, dtype=object),
            "model": np.full(order.size, model, dtype=object),
            "model_digest": np.full(order.size, model_digest, dtype=object),
            "protocol": np.full(order.size, condition.protocol, dtype=object),
            "delay_hours": np.full(order.size, condition.delay_hours),
            "user_id": histories.user_id[user[order]],
            "position": examples.position[order],
            "item_index": examples.item_index[order],
            "event_at_us": examples.event_at_us[order],
            "history_length": length,
            "tasks": tasks,
            "slices": [_names(slices, number) for number in order],
            "rank": ranking.rank[order],
            "catalogue_size": size,
            "log_probability": ranking.log_probability[order],
        }
        arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in SCHEMA]
        parts.append(pa.Table.from_arrays(arrays, schema=SCHEMA))
    return pa.concat_tables(parts)


def write_ranks(rows: pa.Table, lake: str, source: str, cycle: str, model: str) -> int:
    """Replaces one model's ranks of one cycle; returns the table's Delta version.

    The table is made with its constraints at the first write. The same rows again are not written,
    and the version stays.
    """
    address = location(lake, source, RANKS.name)
    try:
        table = DeltaTable(address)
    except TableNotFoundError:
        table = DeltaTable.create(address, SCHEMA, partition_by=list(RANKS.partitions))
        table.alter.add_constraint(dict(RANKS.constraints))
    if _part(table, cycle, model).equals(rows):
        return table.version()
    write_deltalake(table, rows, mode="overwrite", predicate=f"cycle = '{cycle}' AND model = '{model}'")
    return DeltaTable(address).version()


def ranked_with(lake: str, source: str, cycle: str, model: str, digest: str) -> int | None:
    """The table's version where it holds a model's ranks of a cycle under this digest; else None."""
    try:
        table = DeltaTable(location(lake, source, RANKS.name))
    except TableNotFoundError:
        return None
    digests = _part(table, cycle, model)["model_digest"].unique().to_pylist()
    return table.version() if digests == [digest] else None


@dataclass(frozen=True)
class StoredRanks:
    """Ranks of one cycle as read back."""

    rows: pa.Table

    @classmethod
    def read(cls, lake: str, source: str, cycle: str, version: int) -> StoredRanks:
        """Every model's ranks of a cycle at a Delta version."""
        return cls(read_cycle(lake, source, RANKS.name, version, cycle, list(SCHEMA.names)))

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(sorted(self.rows["model"].unique().to_pylist()))

    def examples(self, condition: Condition, models: tuple[str, ...]) -> RankedExamples:
        """The models' ranks of the same examples under one condition.

        Raises MetricsError when a model has no ranks there, or two do not have the same examples.
        """
        parts = {model: self._part(condition, model) for model in models}
        first = parts[models[0]]
        for model, part in parts.items():
            if part.num_rows == 0:
                raise MetricsError(
                    f"{model} has no ranks under {condition.protocol}, {condition.delay_hours} h"
                )
            if any(not part[name].equals(first[name]) for name in ("user_id", "position", "tasks", "slices")):
                raise MetricsError(f"{model} and {models[0]} were not ranked on the same examples")
        groups = {ALL: np.ones(first.num_rows, bool)}
        groups |= {Group("task", name): flags for name, flags in _members(first["tasks"]).items()}
        groups |= {Group("slice", name): flags for name, flags in _members(first["slices"]).items()}
        user = first["user_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
        log = {model: part["log_probability"].to_numpy().astype(np.float64) for model, part in parts.items()}
        return RankedExamples(
            user, groups, {model: part["rank"].to_numpy() for model, part in parts.items()}, log
        )

    def has_history(self, condition: Condition, model: str) -> NDArray[np.bool_]:
        """Examples whose history is not empty under a condition, bool [X] in the order of `examples`."""
        return self._part(condition, model)["history_length"].to_numpy() > 0

    def _part(self, condition: Condition, model: str) -> pa.Table:
        rows = self.rows
        flags = np.asarray(rows["model"]) == model
        flags &= np.asarray(rows["protocol"]) == condition.protocol
        flags &= rows["delay_hours"].to_numpy() == condition.delay_hours
        return rows.filter(pa.array(flags)).sort_by([("user_id", "ascending"), ("position", "ascending")])


def _part(table: DeltaTable, cycle: str, model: str) -> pa.Table:
    """One model's rows of one cycle, in order."""
    rows = table.to_pyarrow_table(
        partitions=[("cycle", "=", cycle), ("model", "=", model)], columns=list(SCHEMA.names)
    )
    keys = [(name, "ascending") for name in ("protocol", "delay_hours", "user_id", "position")]
    return rows.sort_by(keys).cast(SCHEMA).combine_chunks()


def _names(flags: dict[str, NDArray[np.bool_]], number: int) -> list[str]:
    return [name for name, member in flags.items() if member[number]]


def _members(column: pa.ChunkedArray) -> dict[str, NDArray[np.bool_]]:
    """Which rows carry each name of a column of lists, by name in alphabetical order."""
    lists = column.combine_chunks()
    row = np.repeat(np.arange(len(lists)), np.diff(lists.offsets.to_numpy()))
    name = np.asarray(lists.flatten())
    members = {}
    for one in sorted(set(name.tolist())):
        members[one] = np.zeros(len(lists), bool)
        members[one][row[name == one]] = True
    return members
