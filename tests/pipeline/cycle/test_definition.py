"""What a cycle is, and its record."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline.cycle.definition import (
    AcceptedVersion,
    Cycle,
    CycleError,
    cutoff_of,
    cycle_name,
    load_cycle,
    read_cycle,
    write_cycle,
)
from pipeline.cycle.formats import FORMAT, RecordFormatError
from tests.factories import tiny_config

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
VERSION = AcceptedVersion(3, "2026-02-01", datetime(2026, 1, 4, tzinfo=UTC), "ab" * 32)
CYCLE = Cycle("tiny", MARCH, timedelta(days=28), VERSION, VERSION, "scheduled")


def test_names_sort_by_time():
    assert cycle_name(MARCH) == "2026-03-01"
    assert cycle_name(MARCH + timedelta(hours=6)) == "2026-03-01T0600"
    assert cycle_name(MARCH) < cycle_name(MARCH + timedelta(hours=6)) < cycle_name(MARCH + timedelta(days=1))


def test_a_date_is_midnight_utc():
    assert cutoff_of(date(2026, 3, 1)) == MARCH


def test_the_split_lies_a_window_before_the_cutoff():
    assert CYCLE.split == datetime(2026, 2, 1, tzinfo=UTC)


def test_a_cycle_is_read_back_as_it_was_written(home):
    scratch = replace(CYCLE, cutoff=MARCH + timedelta(days=1), parent=None)
    for cycle in (CYCLE, scratch):
        write_cycle(home, cycle, tiny_config(), cold_start=cycle.parent is None)
        resolved = read_cycle(home, "tiny", cycle.name)
        assert resolved.cycle == load_cycle(home, "tiny", cycle.name) == cycle
        assert resolved.cold_start is (cycle.parent is None)
        assert resolved.configuration == tiny_config().model_dump(mode="json")


def test_a_record_that_would_not_change_is_left_alone(home):
    write_cycle(home, CYCLE, tiny_config(), cold_start=False)
    path = home.cycle_folder("tiny", CYCLE.name) / "cycle.json"
    before = path.stat().st_ino
    write_cycle(home, CYCLE, tiny_config(), cold_start=False)
    assert path.stat().st_ino == before


def test_a_cycle_that_was_never_resolved_says_what_to_run(home):
    assert read_cycle(home, "tiny", "2026-03-01") is None
    with pytest.raises(
        CycleError, match="cycle 2026-03-01 of tiny was never resolved; run the stage `resolve`"
    ):
        load_cycle(home, "tiny", "2026-03-01")


def test_a_record_of_the_format_before_is_read(home):
    write_cycle(home, CYCLE, tiny_config(), cold_start=False)
    path = home.cycle_folder("tiny", CYCLE.name) / "cycle.json"
    content = json.loads(path.read_text())
    content["champion"] = content.pop("reference")
    del content["format"]
    path.write_text(json.dumps(content))
    assert load_cycle(home, "tiny", CYCLE.name) == CYCLE


def test_a_record_of_a_later_format_is_refused(home):
    write_cycle(home, CYCLE, tiny_config(), cold_start=False)
    path = home.cycle_folder("tiny", CYCLE.name) / "cycle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1}))
    with pytest.raises(
        RecordFormatError, match=f"format {FORMAT + 1}, and this revision reads up to {FORMAT}"
    ):
        load_cycle(home, "tiny", CYCLE.name)
