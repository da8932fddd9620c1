"""The table `ranks`: one replaceable partition per cycle and model, written and read back.

Rows are in a fixed order, so that the same ranks make the same rows and are not written twice.

Shape legend
    X  examples
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from expectations.tables import RANKS
from model.arrays import Flags, Floats, Ints, lengths
from model.data.delta import PinnedTable, arrow_schema, latest, replace_partition
from model.data.eligible_items import EligibleItems
from model.evaluation.examples import Examples
from model.evaluation.metrics import ALL, Group, MetricsError, RankedExamples
from model.evaluation.names import NEW_USER
from model.evaluation.ranking import Ranking

SCHEMA = arrow_schema(RANKS)
"""The contract's columns as an Arrow schema."""
ORDER = tuple((name, "ascending") for name in ("protocol", "delay_hours", "user_id", "position"))
"""Order of a partition's rows."""


@dataclass(frozen=True, order=True)
class Condition:
    """Which events a ranking could see."""

    protocol: str
    """`replay` or `cutoff`."""
    delay_hours: float
    """Serving delay; 0 under the cutoff protocol."""


def rank_rows(
    cycle: str,
    model: str,
    model_digest: str,
    examples: Examples,
    eligible: EligibleItems,
    conditions: list[tuple[Condition, Ints, Ranking]],
) -> pa.Table:
    """The rows of one model, in the order of ORDER.

    `conditions` holds, for each condition, where the examples' histories end (int64 [X]) and the ranking.
    An example without any visible event is in the slice `new_user`.
    """
    histories, user = examples.histories, examples.user
    order = np.lexsort((examples.position, user))
    size = eligible.sizes_at(examples.event_at_us)[order]
    users, tasks = pa.array(histories.user_id, pa.string()).take(user[order]), _names(examples.tasks, order)
    parts = []
    for condition, ends, ranking in sorted(conditions, key=lambda part: part[0]):
        length = (ends - histories.offset[user])[order]
        is_new = (length == 0) & (histories.first_position[user[order]] == 0)
        slices = examples.slices | {NEW_USER: np.empty_like(is_new)}
        slices[NEW_USER][order] = is_new
        columns = {
            "cycle": pa.repeat(cycle, order.size),
            "model": pa.repeat(model, order.size),
            "model_digest": pa.repeat(model_digest, order.size),
            "protocol": pa.repeat(condition.protocol, order.size),
            "delay_hours": pa.repeat(condition.delay_hours, order.size),
            "user_id": users,
            "position": examples.position[order],
            "item_index": examples.item_index[order],
            "event_at_us": examples.event_at_us[order],
            "history_length": length,
            "tasks": tasks,
            "slices": _names(slices, order),
            "rank": ranking.rank[order],
            "catalogue_size": size,
            "log_probability": ranking.log_probability[order],
            "rank_unseen": _or_nan(ranking.rank_unseen, order.size)[order],
            "label_events": examples.label_events[order],
        }
        arrays = [_as_type(columns[field.name], field.type) for field in SCHEMA]
        parts.append(pa.Table.from_arrays(arrays, schema=SCHEMA))
    return pa.concat_tables(parts)


def write_ranks(rows: pa.Table, lake: str, source: str, cycle: str, model: str) -> int:
    """Replaces one model's ranks of one cycle; returns the table's Delta version.

    The first write creates the table with its constraints. Rows that are stored already are not written
    again, and the version stays. Raises deltalake's DeltaError when a row breaks a constraint.
    """
    stored = latest(lake, source, RANKS)
    if stored is not None and _stored_rows(stored, cycle, model).equals(rows):
        return stored.version
    return replace_partition(lake, source, RANKS, rows, cycle=cycle, model=model).version


def ranked_with(lake: str, source: str, cycle: str, model: str, digest: str) -> int | None:
    """The table's newest version if it holds a model's ranks of a cycle under this digest, else None."""
    stored = latest(lake, source, RANKS)
    if stored is None:
        return None
    digests = _stored_rows(stored, cycle, model)["model_digest"].unique().to_pylist()
    return stored.version if digests == [digest] else None


@dataclass(frozen=True)
class StoredRanks:
    """The ranks of one cycle, read back."""

    rows: pa.Table

    @classmethod
    def read(cls, lake: str, source: str, cycle: str, version: int) -> StoredRanks:
        """Every model's ranks of a cycle at a Delta version. Raises TableError when it cannot be read."""
        return cls(_read(PinnedTable(lake, source, RANKS, version), cycle=cycle))

    def examples(self, condition: Condition, models: tuple[str, ...]) -> RankedExamples:
        """The models' ranks of the same examples under one condition.

        Raises MetricsError when a model has no ranks there, or was ranked on other examples.
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
        by_model = {
            column: {model: part[column].to_numpy().astype(np.float64) for model, part in parts.items()}
            for column in ("rank", "log_probability", "rank_unseen")
        }
        label_events = first["label_events"].to_numpy().astype(np.float64)
        return RankedExamples(user, groups, **by_model, label_events=label_events)

    def has_history(self, condition: Condition, model: str) -> Flags:
        """Examples with a visible event under a condition, bool [X] in the order of `examples`."""
        return self._part(condition, model)["history_length"].to_numpy() > 0

    def _part(self, condition: Condition, model: str) -> pa.Table:
        rows = self.rows
        flags = np.asarray(rows["model"]) == model
        flags &= np.asarray(rows["protocol"]) == condition.protocol
        flags &= rows["delay_hours"].to_numpy() == condition.delay_hours
        return rows.filter(pa.array(flags)).sort_by([("user_id", "ascending"), ("position", "ascending")])


def _stored_rows(table: PinnedTable, cycle: str, model: str) -> pa.Table:
    """One model's rows of one cycle in the order of ORDER."""
    rows = _read(table, cycle=cycle, model=model)
    return rows.sort_by(list(ORDER)).cast(SCHEMA).combine_chunks()


def _read(table: PinnedTable, **partition: str) -> pa.Table:
    """Rows with every column of SCHEMA; one that the table had not yet at this version is null."""
    stored = set(table.dataset().schema.names)
    rows = table.read([name for name in SCHEMA.names if name in stored], **partition)
    for place, column in enumerate(SCHEMA):
        if column.name not in stored:
            rows = rows.add_column(place, column, pa.nulls(rows.num_rows, column.type))
    return rows


def _or_nan(values: Floats | None, size: int) -> Floats:
    return np.full(size, np.nan) if values is None else values


def _names(flags: dict[str, Flags], order: Ints) -> pa.Array:
    """The names whose flags are set, a list for each example in the given order."""
    member = np.zeros((order.size, len(flags)), bool)
    for column, of_name in enumerate(flags.values()):
        member[:, column] = of_name[order]
    offsets = np.concatenate([[0], np.cumsum(member.sum(axis=1))]).astype(np.int32)
    names = pa.array(list(flags), pa.string()).take(np.nonzero(member)[1])
    return pa.ListArray.from_arrays(offsets, names)


def _as_type(values: pa.Array | NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """As an Arrow array of a type; null where a number is NaN."""
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind, from_pandas=True)


def _members(column: pa.ChunkedArray) -> dict[str, Flags]:
    """The rows that hold each name of a column of lists: bool [X] by name, in alphabetical order."""
    lists = column.combine_chunks()
    row = np.repeat(np.arange(len(lists)), lengths(lists))
    values = np.asarray(lists.flatten())
    members = {}
    for name in sorted(set(values.tolist())):
        members[name] = np.zeros(len(lists), bool)
        members[name][row[values == name]] = True
    return members
