"""Evaluation examples: the label events of the window, what each may be ranked from, what it counts for.

In: `evaluation_sequences`, `items` and `vocabulary` at pinned Delta versions, read by delta-rs. Out:
`Histories` (every user's events, end to end), `ItemFacts` and `Examples`. It does not know models,
ranks or metrics, and no Spark.

Shape legend
    U  users of the window     E  their events     X  label events     N  items     C  context fields
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from expectations.tables import CONTEXT_FIELDS, EVALUATION_SEQUENCES, ITEMS, VOCABULARY, location
from model.config import TaskConfig
from model.data.candidates import UNKNOWN_LAUNCH

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Protocol = Literal["replay", "cutoff"]

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
BUILT_IN_SLICES = ("cold_start", "weak_id", "new_user")


class ExamplesError(ValueError):
    """Tables from which no examples can be made; the message says what was found."""


@dataclass(frozen=True)
class Histories:
    """Events of the window's users, user after user, each user's in stored order."""

    user_id: NDArray[np.object_]
    """[U], ascending."""
    offset: Ints
    """int64 [U + 1]; events of user u are offset[u] to offset[u + 1]."""
    first_position: Ints
    """int64 [U]; position of the user's first stored event in the whole history."""
    item_index: Ints
    """int64 [E]."""
    action: Ints
    """int64 [E]."""
    event_at_us: Ints
    """int64 [E]; microseconds since 1970-01-01 UTC."""
    reward: NDArray[np.float32]
    """float32 [E]."""
    context: dict[str, Ints]
    """int64 [E] of hashed codes for every context field that the source has."""
    label: Ints
    """int64 [X]; places of the label events among the E, ascending."""

    @property
    def owner(self) -> Ints:
        """User of every event, int64 [E]."""
        return np.repeat(np.arange(self.user_id.size), np.diff(self.offset))


@dataclass(frozen=True)
class ItemFacts:
    """What evaluation must know about every item ever seen, indexed by `item_index`."""

    item_id: pa.Array
    """string [N]."""
    launched_at_us: Ints
    """int64 [N]; UNKNOWN_LAUNCH where the launch is unknown."""


@dataclass(frozen=True)
class Vocabulary:
    """Who is in the vocabulary of one cycle, indexed by `item_index`."""

    member: Flags
    """bool [N]."""
    event_count: Ints
    """int64 [N]; events up to the split, 0 outside."""
    retired: Flags
    """bool [N]; tombstones."""


@dataclass(frozen=True)
class Examples:
    """Label events of the window with the tasks and slices that depend on nothing but the label."""

    histories: Histories
    user: Ints
    """int64 [X]; number of the user."""
    position: Ints
    """int64 [X]; position in the user's whole history."""
    item_index: Ints
    """int64 [X]."""
    event_at_us: Ints
    """int64 [X]."""
    tasks: dict[str, Flags]
    """bool [X] for every task that the source can have."""
    not_applicable: tuple[str, ...]
    """Tasks that the source cannot have."""
    slices: dict[str, Flags]
    """bool [X]; `new_user` is not here, since it depends on protocol and delay."""

    @property
    def size(self) -> int:
        """X."""
        return self.user.size


def read_histories(lake: str, source: str, cycle: str, version: int) -> Histories:
    """One cycle's `evaluation_sequences` at a Delta version, in order of user id.

    Raises ExamplesError when the cycle has no row.
    """
    context = [name for name in CONTEXT_FIELDS]
    names = [
        "user_id",
        "first_position",
        "item_index",
        "action",
        "event_at_us",
        "reward",
        *context,
        "label_positions",
    ]
    rows = read_cycle(lake, source, EVALUATION_SEQUENCES.name, version, cycle, names).sort_by("user_id")
    if rows.num_rows == 0:
        raise ExamplesError(
            f"cycle {cycle} of {source} has no user with a label event in its evaluation window"
        )
    lengths = _lengths(rows["item_index"])
    offset = np.concatenate([[0], np.cumsum(lengths)])
    labels = _lengths(rows["label_positions"])
    return Histories(
        user_id=rows["user_id"].to_numpy(),
        offset=offset,
        first_position=rows["first_position"].to_numpy().astype(np.int64),
        item_index=_flat(rows["item_index"], np.int64),
        action=_flat(rows["action"], np.int64),
        event_at_us=_flat(rows["event_at_us"], np.int64),
        reward=_flat(rows["reward"], np.float32),
        context={name: _flat(rows[name], np.int64) for name in context if rows[name].null_count == 0},
        label=_flat(rows["label_positions"], np.int64) + np.repeat(offset[:-1], labels),
    )


def read_item_facts(lake: str, source: str, version: int) -> ItemFacts:
    """`items` at a Delta version. Raises ExamplesError unless item_index counts from 0 without a gap."""
    table = DeltaTable(location(lake, source, ITEMS.name), version=version)
    rows = table.to_pyarrow_table(columns=["item_index", "item_id", "launched_at"]).sort_by("item_index")
    index = rows["item_index"].to_numpy()
    if not np.array_equal(index, np.arange(rows.num_rows)):
        raise ExamplesError(f"item_index of {source} does not count 0 … {rows.num_rows - 1} without a gap")
    launched = rows["launched_at"].combine_chunks().cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return ItemFacts(
        rows["item_id"].combine_chunks(), launched.fill_null(UNKNOWN_LAUNCH).to_numpy().astype(np.int64)
    )


def read_vocabulary(lake: str, source: str, cycle: str, version: int, items: int) -> Vocabulary:
    """One cycle's `vocabulary` at a Delta version, spread over the `items` N."""
    names = ["item_index", "event_count", "retired"]
    rows = read_cycle(lake, source, VOCABULARY.name, version, cycle, names)
    index = rows["item_index"].to_numpy()
    member, retired, count = np.zeros(items, bool), np.zeros(items, bool), np.zeros(items, np.int64)
    member[index] = True
    retired[index] = rows["retired"].to_numpy()
    count[index] = rows["event_count"].to_numpy()
    return Vocabulary(member, count, retired)


def read_cycle(lake: str, source: str, table: str, version: int, cycle: str, columns: list[str]) -> pa.Table:
    """Rows of one cycle's partition of a Delta table at a version."""
    return DeltaTable(location(lake, source, table), version=version).to_pyarrow_table(
        partitions=[("cycle", "=", cycle)], columns=columns
    )


def build_examples(
    histories: Histories,
    items: ItemFacts,
    tasks: tuple[TaskConfig, ...],
    slices: tuple[str, ...],
    vocabulary: Vocabulary,
    champion: Vocabulary | None,
    weak_id_events: int,
    context_names: Mapping[str, Mapping[int, str]] | None = None,
) -> Examples:
    """The examples of a window.

    A task with an item age is not applicable where no item's launch is known; the gap tasks are not
    applicable where no user has two events. A first event has no gap, and an item that is launched
    later than the label, or whose launch is unknown, has no age. Slices: `cold_start` is an item
    outside the vocabularies of the candidate and of the champion; `weak_id` an item inside the
    candidate's with fewer than `weak_id_events` events; a context field gives one slice a
    value, named by `context_names` (values by code, by field), else by its code. Raises ExamplesError for a slice that is neither built in nor a context field.
    """
    owner = histories.owner
    place, item = histories.label, histories.item_index[histories.label]
    at_us = histories.event_at_us[place]
    member, not_applicable = {}, []
    gap_us, has_gap = _gaps(histories, place)
    launched = items.launched_at_us[item]
    has_age = (launched != UNKNOWN_LAUNCH) & (launched <= at_us)
    age_us = np.where(has_age, at_us - np.where(has_age, launched, 0), 0)
    for task in tasks:
        by_gap = task.min_gap_hours is not None or task.max_gap_hours is not None
        no_gaps = by_gap and not (np.diff(histories.offset) > 1).any()
        no_ages = task.max_item_age_days is not None and not (items.launched_at_us != UNKNOWN_LAUNCH).any()
        if no_gaps or no_ages:
            not_applicable.append(task.name)
            continue
        counts = np.ones(place.size, bool)
        if task.min_gap_hours is not None:
            counts &= has_gap & (gap_us >= task.min_gap_hours * HOUR_US)
        if task.max_gap_hours is not None:
            counts &= has_gap & (gap_us <= task.max_gap_hours * HOUR_US)
        if task.max_item_age_days is not None:
            counts &= has_age & (age_us <= task.max_item_age_days * DAY_US)
        member[task.name] = counts
    known = vocabulary.member if champion is None else vocabulary.member | champion.member
    built_in = {
        "cold_start": ~known[item],
        "weak_id": vocabulary.member[item] & (vocabulary.event_count[item] < weak_id_events),
    }
    groups: dict[str, Flags] = {}
    for name in slices:
        if name in built_in:
            groups[name] = built_in[name]
        elif name in CONTEXT_FIELDS:
            codes = histories.context[name][place] if name in histories.context else np.empty(0, np.int64)
            values = (context_names or {}).get(name, {})
            for code in np.unique(codes):
                groups[f"{name}={values.get(int(code), code)}"] = codes == code
        elif name not in BUILT_IN_SLICES:
            allowed = ", ".join((*BUILT_IN_SLICES, *CONTEXT_FIELDS))
            raise ExamplesError(f"slice {name!r} is unknown; allowed are {allowed}")
    user = owner[place]
    return Examples(
        histories=histories,
        user=user,
        position=histories.first_position[user] + place - histories.offset[user],
        item_index=item,
        event_at_us=at_us,
        tasks=member,
        not_applicable=tuple(not_applicable),
        slices=groups,
    )


def request_times(examples: Examples, protocol: Protocol, delay_hours: float, split_us: int) -> Ints:
    """When each example is asked for, int64 [X]: `replay` at its label less the delay, `cutoff` at the split."""
    if protocol == "cutoff":
        return np.full(examples.size, split_us, dtype=np.int64)
    return examples.event_at_us - round(delay_hours * HOUR_US)


def history_ends(examples: Examples, protocol: Protocol, delay_hours: float, split_us: int) -> Ints:
    """Where each example's visible history ends, int64 [X]: one past its last event among the E.

    `replay` sees events strictly before the label's time minus the delay, `cutoff` events up to the
    split. A user with events at 0 h, 1 h and 1 h, the last one a label: replay sees one event, and
    none with a delay of 1 h.
    """
    histories, user = examples.histories, examples.user
    limit = request_times(examples, protocol, delay_hours, split_us) + (protocol == "cutoff")
    low, high = histories.offset[user], histories.offset[user + 1]
    # A binary search in every user's own events at once: the first event that is not before `limit`.
    while (open_ := low < high).any():
        middle = (low + high) // 2
        before = open_ & (histories.event_at_us[np.minimum(middle, histories.item_index.size - 1)] < limit)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low


def _gaps(histories: Histories, place: Ints) -> tuple[Ints, Flags]:
    """Time since the previous stored event of the user (µs), and whether there is one; [X] each."""
    has_gap = ~np.isin(place, histories.offset[:-1])
    previous = np.maximum(place - 1, 0)
    return np.where(has_gap, histories.event_at_us[place] - histories.event_at_us[previous], 0), has_gap


def _lengths(column: pa.ChunkedArray) -> Ints:
    return np.diff(column.combine_chunks().offsets.to_numpy()).astype(np.int64)


def _flat(column: pa.ChunkedArray, kind: type[np.generic]) -> NDArray:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(kind)
