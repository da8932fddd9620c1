"""Evaluation examples: the label events of the window, the groups they count for, what each is ranked from.

Shape legend
    U  users of the window     E  their events     X  label events
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from expectations.instants import DAY_US, HOUR_US
from expectations.tables import CONTEXT_FIELDS
from model.arrays import Flags, Ints
from model.config import TaskConfig
from model.data.histories import Histories
from model.data.items import UNKNOWN_LAUNCH, Items
from model.data.vocabulary import Vocabulary
from model.evaluation.names import COLD_START, SLICE_WORDS, WEAK_ID

Protocol = Literal["replay", "cutoff"]


class ExamplesError(ValueError):
    """A configuration from which no examples can be made; the message says what is allowed."""


@dataclass(frozen=True)
class Examples:
    """Label events of the window, with the tasks and slices that depend on the label alone."""

    histories: Histories
    user: Ints
    """int64 [X]; index of the user."""
    position: Ints
    """int64 [X]; position in the user's whole history."""
    item_index: Ints
    """int64 [X]."""
    event_at_us: Ints
    """int64 [X]; microseconds since 1970-01-01 UTC."""
    label_events: Ints
    """int64 [X]; events of the label's item up to the split, 0 for an item outside the vocabulary."""
    tasks: dict[str, Flags]
    """bool [X] for each task that applies to the source."""
    not_applicable: tuple[str, ...]
    """Tasks that do not."""
    slices: dict[str, Flags]
    """bool [X] for each slice but `new_user`, which depends on protocol and delay."""

    @property
    def size(self) -> int:
        """X."""
        return self.user.size


def build_examples(
    histories: Histories,
    items: Items,
    tasks: tuple[TaskConfig, ...],
    slices: tuple[str, ...],
    vocabulary: Vocabulary,
    reference: Vocabulary | None,
    weak_id_events: int,
    context_names: Mapping[str, Mapping[int, str]] | None = None,
) -> Examples:
    """The examples of a window.

    A task with an item age does not apply where no item's launch is known, a task with a gap where no
    user has two events. A first event has no gap; an item of unknown launch, or launched after the label,
    has no age.

    Slices: `cold_start` are labels outside the vocabularies of the candidate and of the reference;
    `weak_id` labels in the candidate's vocabulary with fewer than `weak_id_events` events; a context field
    gives one slice per value, named by `context_names` (field → code → value) or else by its code. Raises
    ExamplesError for a slice that is neither built in nor a context field.
    """
    label, item = histories.label, histories.item_index[histories.label]
    user, at_us = histories.owner[label], histories.event_at_us[label]
    applicable = {task.name: _task_flags(task, histories, items) for task in tasks}
    known = vocabulary.member if reference is None else vocabulary.member | reference.member
    built_in = {
        COLD_START: ~known[item],
        WEAK_ID: vocabulary.member[item] & (vocabulary.event_count[item] < weak_id_events),
    }
    groups: dict[str, Flags] = {}
    for name in slices:
        if name in built_in:
            groups[name] = built_in[name]
        elif name in CONTEXT_FIELDS:
            codes = histories.context[name][label] if name in histories.context else np.empty(0, np.int64)
            values = (context_names or {}).get(name, {})
            for code in np.unique(codes):
                groups[f"{name}={values.get(int(code), code)}"] = codes == code
        elif name not in SLICE_WORDS:
            allowed = ", ".join((*SLICE_WORDS, *CONTEXT_FIELDS))
            raise ExamplesError(f"slice {name!r} is unknown; allowed are {allowed}")
    return Examples(
        histories=histories,
        user=user,
        position=histories.first_position[user] + label - histories.offset[user],
        item_index=item,
        event_at_us=at_us,
        label_events=vocabulary.event_count[item],
        tasks={name: flags for name, flags in applicable.items() if flags is not None},
        not_applicable=tuple(name for name, flags in applicable.items() if flags is None),
        slices=groups,
    )


def request_times(examples: Examples, protocol: Protocol, delay_hours: float, split_us: int) -> Ints:
    """Time of each example's request, int64 [X]: the label's time minus the delay under `replay`, the
    split under `cutoff`."""
    if protocol == "cutoff":
        return np.full(examples.size, split_us, dtype=np.int64)
    return examples.event_at_us - round(delay_hours * HOUR_US)


def history_ends(examples: Examples, protocol: Protocol, delay_hours: float, split_us: int) -> Ints:
    """Where each example's visible history ends, int64 [X]: one past its last event among the E.

    `replay` sees events strictly before the request, `cutoff` events up to the split. A user with events
    at 0 h, 1 h and 1 h, the last one a label: replay sees one event, and none with a delay of 1 h.
    """
    histories, user = examples.histories, examples.user
    limit = request_times(examples, protocol, delay_hours, split_us) + (protocol == "cutoff")
    low, high = histories.offset[user], histories.offset[user + 1]
    # A binary search in every user's own events at once, for the first event that is not before `limit`.
    while (open_ := low < high).any():
        middle = (low + high) // 2
        before = open_ & (histories.event_at_us[np.minimum(middle, histories.item_index.size - 1)] < limit)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low


def _task_flags(task: TaskConfig, histories: Histories, items: Items) -> Flags | None:
    """The labels that count for a task, bool [X]; None where it does not apply."""
    by_gap = task.min_gap_hours is not None or task.max_gap_hours is not None
    no_gaps = by_gap and not (np.diff(histories.offset) > 1).any()
    no_ages = task.max_item_age_days is not None and not (items.launched_at_us != UNKNOWN_LAUNCH).any()
    if no_gaps or no_ages:
        return None
    flags = np.ones(histories.label.size, bool)
    gap_us, has_gap = _gaps(histories)
    if task.min_gap_hours is not None:
        flags &= has_gap & (gap_us >= task.min_gap_hours * HOUR_US)
    if task.max_gap_hours is not None:
        flags &= has_gap & (gap_us <= task.max_gap_hours * HOUR_US)
    if task.max_item_age_days is not None:
        age_us, has_age = _ages(histories, items)
        flags &= has_age & (age_us <= task.max_item_age_days * DAY_US)
    return flags


def _gaps(histories: Histories) -> tuple[Ints, Flags]:
    """Time since the user's previous stored event (µs) and whether there is one, for each label, [X]."""
    label = histories.label
    has_gap = ~np.isin(label, histories.offset[:-1])
    previous = np.maximum(label - 1, 0)
    return np.where(has_gap, histories.event_at_us[label] - histories.event_at_us[previous], 0), has_gap


def _ages(histories: Histories, items: Items) -> tuple[Ints, Flags]:
    """Time since the launch of each label's item (µs) and whether it has an age, [X]."""
    at_us = histories.event_at_us[histories.label]
    launched = items.launched_at_us[histories.item_index[histories.label]]
    has_age = (launched != UNKNOWN_LAUNCH) & (launched <= at_us)
    return np.where(has_age, at_us - np.where(has_age, launched, 0), 0), has_age
