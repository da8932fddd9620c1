"""Histories: users' events end to end, from `evaluation_sequences` or as given to a served model.

Shape legend
    U  users     E  their events     X  label events
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expectations.tables import EVALUATION_SEQUENCES, TOKEN_FIELDS
from model.arrays import Ints, flat, lengths, numbers
from model.data.delta import PinnedTable, TableError


@dataclass(frozen=True)
class Histories:
    """Events of some users, user after user, each user's in stored order."""

    user_id: NDArray[np.object_]
    """[U], ascending."""
    offset: Ints
    """int64 [U + 1]; events of user u are offset[u] to offset[u + 1]."""
    first_position: Ints
    """int64 [U]; position in the user's whole history of the first event here."""
    item_index: Ints
    """int64 [E]."""
    action: Ints
    """int64 [E]; index into the source's actions."""
    event_at_us: Ints
    """int64 [E]; microseconds since 1970-01-01 UTC."""
    reward: NDArray[np.float32]
    """float32 [E]; reward weight, 0 for an event that is not high-value."""
    context: dict[str, Ints]
    """int64 [E] of hashed codes for each context field that the source has."""
    label: Ints
    """int64 [X]; indices of the label events among the E, ascending."""

    @property
    def owner(self) -> Ints:
        """User of every event, int64 [E]."""
        return np.repeat(np.arange(self.user_id.size), np.diff(self.offset))


def read_histories(lake: str, source: str, cycle: str, version: int) -> Histories:
    """One cycle's `evaluation_sequences` at a Delta version, in order of user id.

    Raises TableError when the table cannot be read or the cycle has no row in it.
    """
    columns = (
        "user_id", "first_position", "item_index", "action", "event_at_us", "reward", *TOKEN_FIELDS,
        "label_positions",
    )  # fmt: skip
    table = PinnedTable(lake, source, EVALUATION_SEQUENCES, version)
    rows = table.read(columns, cycle=cycle).sort_by("user_id")
    if rows.num_rows == 0:
        raise TableError(f"cycle {cycle} of {source} has no user with a label event in its evaluation window")
    offset = np.concatenate([[0], np.cumsum(lengths(rows["item_index"]))])
    labels = lengths(rows["label_positions"])
    known = [name for name in TOKEN_FIELDS if rows[name].null_count == 0]
    return Histories(
        user_id=rows["user_id"].to_numpy(),
        offset=offset,
        first_position=numbers(rows["first_position"], np.int64),
        item_index=flat(rows["item_index"], np.int64),
        action=flat(rows["action"], np.int64),
        event_at_us=flat(rows["event_at_us"], np.int64),
        reward=flat(rows["reward"], np.float32),
        context={name: flat(rows[name], np.int64) for name in known},
        label=flat(rows["label_positions"], np.int64) + np.repeat(offset[:-1], labels),
    )
