"""Which version of every table readers outside are told to use."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from expectations.tables import EVENTS, TABLES
from pipeline.cycle import vacuumed
from pipeline.cycle.figures import AcceptedData, ReportFigures, ValidateSequencesFigures
from pipeline.cycle.passed_tables import Judged, address, passed_tables, publish
from pipeline.cycle.records import StageRecord, write_record
from spark_jobs.lake import delta
from tests.factories import events_frame

FIRST, SECOND = "2026-01-01", "2026-02-01"
AT = "2026-02-02T00:00:00+00:00"


def write(home, cycle, stage, reads=None, versions=None, figures=None):
    """A record of a stage that read and wrote tables at versions."""
    folder = home.cycle_folder("films", cycle)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cycle.json").touch()
    inputs = {"reads": {name: ["w", "d", version] for name, version in (reads or {}).items()}}
    figures = figures or ReportFigures("accepted", "", "")
    write_record(folder, StageRecord(stage, "d", inputs, versions or {}, figures, None, 1.0, AT, 1.0))


def versions(home, **options) -> dict[str, tuple[int, str]]:
    return {
        name: (told.version, told.cycle) for name, told in passed_tables(home, "films", **options).items()
    }


def test_a_table_is_told_at_the_last_version_that_its_suite_passed(home):
    assert passed_tables(home, "films") == {}
    write(home, FIRST, "validate_events", {"events": 3, "items": 2})
    write(home, FIRST, "sequences", versions={"sequences": 5})
    assert versions(home) == {"events": (3, FIRST), "items": (2, FIRST)}
    write(home, FIRST, "validate_sequences", {"events": 3, "items": 2, "sequences": 4})
    write(home, FIRST, "item_features", versions={"item_features": 1, "text_vectors": 7})
    write(home, FIRST, "evaluate", versions={"ranks": 9})
    # `sequences` has been written again since, and no suite has seen that.
    told = passed_tables(home, "films")
    assert {name: one.version for name, one in told.items()} == {
        "events": 3, "items": 2, "text_vectors": 7, "item_features": 1, "sequences": 4,
    }  # fmt: skip
    assert list(told) == [name for name in TABLES if name in told]
    assert told["sequences"].where == f"cycle = '{FIRST}'" and told["events"].where is None
    suites = {name: one.suite for name, one in told.items()}
    assert suites["events"] == "validate_events" and suites["sequences"] == "validate_sequences"
    assert suites["item_features"] is suites["text_vectors"] is None


def test_a_cycle_that_is_under_way_moves_only_what_it_has_passed(home):
    for cycle, version in ((FIRST, 3), (SECOND, 6)):
        write(home, cycle, "validate_events", {"events": version})
    write(home, FIRST, "validate_sequences", {"events": 3, "sequences": 4})
    assert versions(home) == {"events": (6, SECOND), "sequences": (4, FIRST)}
    now = Judged(SECOND, "validate_sequences", {"events": 6, "sequences": 5})
    assert versions(home, now=now)["sequences"] == (5, SECOND)
    # An earlier cycle that runs again later reads later events; its own rows are not the newest cycle's.
    write(home, FIRST, "validate_events", {"events": 8})
    write(home, FIRST, "validate_sequences", {"events": 8, "sequences": 7})
    write(home, SECOND, "validate_sequences", {"events": 6, "sequences": 5})
    assert versions(home) == {"events": (8, FIRST), "sequences": (5, SECOND)}


def test_what_is_gone_is_not_told_and_a_persons_word_is(home):
    write(home, FIRST, "validate_events", {"events": 3, "items": 2})
    assert versions(home, readable=lambda table, version: table is not EVENTS) == {"items": (2, FIRST)}
    word = AcceptedData(("sequences.x",), "ann", AT, "known")
    write(home, FIRST, "validate_sequences", {"sequences": 4},
          figures=ValidateSequencesFigures((), "page.html", word))  # fmt: skip
    assert passed_tables(home, "films")["sequences"].accepted == "accepted by ann on 2026-02-02: known"
    vacuumed.mark(home.cycle_folder("films", FIRST), datetime(2026, 3, 1, tzinfo=UTC))
    assert passed_tables(home, "films") == {}


def test_the_file_beside_the_tables_says_the_same_and_forgets_what_was_erased(home, spark):
    place = (EVENTS, home.lake, "films")
    for user in ("u1", "u2"):
        version = delta.replace(spark, events_frame(spark, [(user, "i1", 5)]), *place, "true")
    write(home, FIRST, "validate_events", {"events": version})
    publish(home, "films", spark)
    content = json.loads(Path(address(home, "films")).read_text())
    assert content == {
        "format": 1,
        "source": "films",
        "tables": {
            "events": {
                "version": version, "cycle": FIRST, "where": None, "suite": "validate_events", "accepted": None,
            }
        },
    }  # fmt: skip
    for name in delta.files_of(spark, home.lake, "films", EVENTS, version):
        next(Path(home.lake).rglob(name)).unlink()
    publish(home, "films", spark)
    assert json.loads(Path(address(home, "films")).read_text())["tables"] == {}
