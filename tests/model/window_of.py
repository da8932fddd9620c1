"""Tiny evaluation windows: a few users, a few events, labels by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from expectations.instants import HOUR_US
from model.config import TaskConfig
from model.data.eligible_items import EligibleItems
from model.data.histories import Histories
from model.data.items import UNKNOWN_LAUNCH, Items
from model.data.vocabulary import Vocabulary
from model.evaluation.examples import Examples, build_examples
from model.network.catalogue import OUT_OF_VOCABULARY

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
    label = [offset[user] + index for user, indices in enumerate(labels) for index in indices]
    item = np.array([item for item, _ in events], dtype=np.int64)
    return Histories(
        user_id=np.array([f"u{user}" for user in range(len(users))], dtype=object),
        offset=offset,
        first_position=np.array(first_position or [0] * len(users), dtype=np.int64),
        item_index=item,
        action=item % 3,
        event_at_us=np.array([round(hour * HOUR_US) for _, hour in events], dtype=np.int64),
        reward=(item % 2).astype(np.float32),
        context={"page": item % 4},
        label=np.array(label, dtype=np.int64),
    )


def item_table(items: int, launched_hours: dict[int, float] | None = None) -> Items:
    """`items` items, of unknown launch except those given."""
    launched = np.full(items, UNKNOWN_LAUNCH, dtype=np.int64)
    for item, hour in (launched_hours or {}).items():
        launched[item] = round(hour * HOUR_US)
    ids = [f"i{item}" for item in range(items)]
    return Items(pa.array(ids), pa.array([f"Title {name}" for name in ids]), launched)


def vocabulary(items: int, counts: dict[int, int] | None = None, retired: tuple[int, ...] = ()) -> Vocabulary:
    """The items of `counts` with their events; None: all of the `items` items, with 100 events each."""
    known = dict.fromkeys(range(items), 100) if counts is None else counts
    token, events = np.full(items, OUT_OF_VOCABULARY, np.int64), np.zeros(items, np.int64)
    for row, (item, number) in enumerate(known.items()):
        token[item], events[item] = row, number
    return Vocabulary(token, events, _flags(items, retired))


def examples(
    users: list[list[tuple[int, float]]],
    labels: list[list[int]],
    items: int,
    launched_hours: dict[int, float] | None = None,
    slices: tuple[str, ...] = ("cold_start", "weak_id", "new_user"),
    counts: dict[int, int] | None = None,
    reference: dict[int, int] | None = None,
) -> Examples:
    """Examples of `histories(users, labels)` among `items` items."""
    return build_examples(
        histories(users, labels),
        item_table(items, launched_hours),
        TASKS,
        slices,
        vocabulary(items, counts),
        None if reference is None else vocabulary(items, reference),
        weak_id_events=20,
    )


def eligible(
    items: int, launched_hours: dict[int, float] | None = None, retired: tuple[int, ...] = ()
) -> EligibleItems:
    """The eligible ones of `items` items."""
    return EligibleItems.of(item_table(items, launched_hours).launched_at_us, _flags(items, retired))


def _flags(items: int, chosen: tuple[int, ...]) -> np.ndarray:
    flags = np.zeros(items, bool)
    flags[list(chosen)] = True
    return flags
