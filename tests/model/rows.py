"""`Sequences` from plain histories, cut as the Spark job cuts them."""

from __future__ import annotations

from pathlib import Path

from expectations.tables import SEQUENCES
from model.data.cycle_tables import CycleTables
from model.data.sequences import Sequences, load_sequences
from tests.model import lake


def sequences(folder: Path, users: dict[str, list[lake.Event]], items: int = 64) -> Sequences:
    """Writes the histories to a lake in `folder` and reads every row with a high-value event."""
    rows = [row for user, events in users.items() for row in lake.chunks(user, events)]
    version = lake.write(folder, SEQUENCES, rows)
    tables = CycleTables(str(folder), lake.SOURCE, lake.CYCLE, {"sequences": version})
    return load_sequences(tables, (), None, 10**15, items)
