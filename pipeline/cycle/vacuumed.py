"""Cycles whose tables may be gone: their records tell what was, and no stage goes on from them.

    cycles/my-log/2026-03-01/vacuumed.json        written before the files of its table versions are deleted

A cycle that ends and registers no version leaves tables that nobody needs. If it is run again with another
configuration, it begins again with its first stage, as a new cycle does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from expectations.files import write_atomically
from pipeline.cycle.records import StageRecord


def mark(folder: Path, at: datetime) -> None:
    """Notes in a cycle's folder that versions pinned before an instant may be gone. A later note replaces an earlier."""
    write_atomically(folder / "vacuumed.json", json.dumps({"at": at.astimezone(UTC).isoformat()}))


def usable(folder: Path, records: Mapping[str, StageRecord]) -> dict[str, StageRecord]:
    """Of a cycle's records, those whose tables are there."""
    path = folder / "vacuumed.json"
    if not path.exists():
        return dict(records)
    at = datetime.fromisoformat(json.loads(path.read_text())["at"])
    return {
        name: record for name, record in records.items() if datetime.fromisoformat(record.started_at) > at
    }
