"""Which landed files a cycle has passed: those of the table `ingested_files` as `validate_events` judged it.

An ingestion numbers the rows that it writes by the version of the table, and a cycle passes every row up to
the version that it judged. What no cycle has passed may still be mended by changing the landing folder.
"""

from __future__ import annotations

from expectations.tables import INGESTED_FILES
from pipeline.cycle.records import StageRecord, read_records
from pipeline.settings import Settings

JUDGE = "validate_events"


def passed_version(settings: Settings, source: str, but: str | None = None) -> int | None:
    """The newest version of `ingested_files` that a cycle has passed, `but` left out; None: none has."""
    cycles = settings.cycle_folder(source, "any").parent
    versions = [
        version
        for folder in cycles.glob("*")
        if folder.name != but and (version := judged_version(read_records(folder).get(JUDGE))) is not None
    ]
    return max(versions, default=None)


def judged_version(record: StageRecord | None) -> int | None:
    """The version of `ingested_files` that a record of `validate_events` is of; None without a record."""
    if record is None:
        return None
    _, _, version = record.inputs.get("reads", {}).get(INGESTED_FILES.name) or (None, None, None)
    return version
