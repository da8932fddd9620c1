"""Tiny evaluation windows: a few users, a few events, labels by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from model.config import TaskConfig
from model.data.candidates import UNKNOWN_LAUNCH, Candidates
from model.evaluation.examples import (
    HOUR_US,
    Examples,
    Histories,
    ItemFacts,
    Vocabulary,
    build_examples,
)

TASKS = (
    TaskConfig(name="A", min_gap_hours=24.0),
    TaskConfig(name="B", max_gap_hours=1.0),
    TaskConfig(name="C", max_item_age_days=28.0),
)


def histories(
    users: list[list[tuple[int, float]]], labels: list[list[int]], first_position: list[int] | None = None
) -> Histories:
    """Users as lists of (item, hour); `labels` are the array indices of each user's label events."""
    events = [event for user in users for event in user]
    offset = np.concatenate([[0], np.cumsum([len(user) for user in users])]).astype(np.int64)
    place = [offset[number] + index for number, own in enumerate(labels) for index in own]
    item = np.array([item for item, _ in events], dtype=np.int64)
    return Histories(
        user_id=np.array([f"u{number}" for number in range(len(users))], dtype=object),
        offset=offset,
        first_position=np.array(first_position or [0] * len(users), dtype=np.int64),
        item_index=item,
        action=item % 3,
        event_at_us=np.array([round(hour * HOUR_US) for _, hour in events], dtype=np.int64),
        reward=(item % 2).astype(np.float32),
        context={"page": item % 4},
        label=np.array(place, dtype=np.int64),
    )


def item_facts(items: int, launched_hours: dict[int, float] | None = None) -> ItemFacts:
    """`items` items of unknown launch, but for those given."""
    launched = np.full(items, UNKNOWN_LAUNCH, dtype=np.int64)
    for item, hour in (launched_hours or {}).items():
        launched[item] = round(hour * HOUR_US)
    return ItemFacts(pa.array([f"i{number}" for number in range(items)]), launched)


def vocabulary(items: int, counts: dict[int, int] | None = None) -> Vocabulary:
    """The items of `counts` with their events; None is everybody with 100."""
    known = dict.fromkeys(range(items), 100) if counts is None else counts
    member, count = np.zeros(items, bool), np.zeros(items, np.int64)
    for item, events in known.items():
        member[item], count[item] = True, events
    return Vocabulary(member, count, np.zeros(items, bool))


def examples(
    users: list[list[tuple[int, float]]],
    labels: list[list[int]],
    items: int,
    launched_hours: dict[int, float] | None = None,
    slices: tuple[str, ...] = ("cold_start", "weak_id", "new_user"),
    counts: dict[int, int] | None = None,
    champion: dict[int, int] | None = None,
) -> Examples:
    return build_examples(
        histories(users, labels),
        item_facts(items, launched_hours),
        TASKS,
        slices,
        vocabulary(items, counts),
        None if champion is None else vocabulary(items, champion),
        weak_id_events=20,
    )


def candidates(
    items: int, launched_hours: dict[int, float] | None = None, retired: tuple[int, ...] = ()
) -> Candidates:
    gone = np.zeros(items, bool)
    gone[list(retired)] = True
    return Candidates.of(item_facts(items, launched_hours).launched_at_us, gone)
