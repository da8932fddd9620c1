"""Cutoffs and parents, and what a cycle that cannot begin leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.config import ScheduleConfig
from pipeline.cycle.definition import AcceptedVersion, CycleError
from pipeline.registry import tracking
from pipeline.stages import resolve as stage
from pipeline.stages.resolve import choose_parent, pin_cycle, resolve, resolve_cycle
from tests.factories import tiny_config

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = timedelta(days=7)


def version(number: int, cycle: str) -> AcceptedVersion:
    split = datetime.fromisoformat(cycle).replace(tzinfo=UTC) - WINDOW
    return AcceptedVersion(number, cycle, split, f"digest{number}")


def test_a_form_date_is_midnight_utc_for_every_kind_of_run():
    for run_type in ("manual", "scheduled", "backfill"):
        assert resolve_cycle(cutoff="2026-03-01", run_type=run_type) == MARCH


def test_an_instant_with_an_offset_becomes_utc():
    assert resolve_cycle(cutoff="2026-03-01T02:30+02:30") == MARCH


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_scheduled_and_backfilled_runs_end_with_their_interval(run_type):
    cutoff = resolve_cycle(
        run_type=run_type,
        interval_start="2026-02-01T00:00:00+00:00",
        interval_end="2026-03-01T00:00:00+00:00",
    )
    assert cutoff == MARCH


def test_a_zero_length_interval_is_refused():
    with pytest.raises(CycleError, match="no data interval"):
        resolve_cycle(run_type="scheduled", interval_start="2026-03-01", interval_end="2026-03-01")


def test_a_manual_run_ignores_the_interval_that_the_command_line_invents():
    with pytest.raises(CycleError, match="pass --cutoff 2026-03-01"):
        resolve_cycle(run_type="manual", interval_start="2026-02-01", interval_end="2026-03-01")


@pytest.mark.parametrize("text", ["March", "2026-13-01", "2026-03-01T00:00:30"])
def test_a_cutoff_that_is_no_minute_is_refused_with_what_was_given(text):
    with pytest.raises(CycleError, match=text[:7]):
        resolve_cycle(cutoff=text)


def test_the_champion_is_the_parent_when_its_cycle_is_earlier():
    versions = [version(1, "2026-01-01"), version(2, "2026-02-01")]
    assert choose_parent(MARCH, WINDOW, versions, champion=1).version == 1


def test_a_backfill_takes_the_latest_accepted_version_before_it_and_never_its_future():
    versions = [version(1, "2026-01-01"), version(2, "2026-02-01"), version(3, "2026-04-01")]
    assert choose_parent(MARCH, WINDOW, versions, champion=3).version == 2


def test_a_version_trained_on_events_of_the_window_is_no_parent():
    versions = [version(1, "2026-01-01"), version(2, "2026-02-20")]
    assert choose_parent(MARCH, WINDOW, versions, champion=2).version == 2
    assert choose_parent(MARCH, timedelta(days=28), versions, champion=2).version == 1
    assert choose_parent(MARCH, timedelta(days=90), versions, champion=2) is None


def test_a_grown_window_that_leaves_no_parent_says_what_to_do(home, monkeypatch):
    monkeypatch.setattr(tracking, "accepted_versions", lambda *_: [version(2, "2026-02-20")])
    monkeypatch.setattr(tracking, "champion_version", lambda *_: 2)
    grown = tiny_config(schedule=ScheduleConfig(window_days=28))
    with pytest.raises(
        CycleError, match=r"begins 2026-02-01 .* after 2026-03-13, or train from scratch with --cold-start"
    ):
        pin_cycle(grown, MARCH, home)
    assert pin_cycle(grown, MARCH, home, cold_start=True).reference is None


def test_a_cycle_is_pinned_anew_when_its_window_changes(home):
    for days in (7, 28, 28):
        cycle = pin_cycle(tiny_config(schedule=ScheduleConfig(window_days=days)), MARCH, home)
        assert cycle.window == timedelta(days=days)


def test_a_backfill_of_a_cycle_that_began_otherwise_is_a_backfill(home):
    for run_type, expected in (("scheduled", "scheduled"), ("backfill", "backfill"), ("manual", "backfill")):
        assert pin_cycle(tiny_config(), MARCH, home, run_type=run_type).run_type == expected


def test_a_cold_start_drops_a_champion_that_is_lost_and_keeps_one_that_is_not(home, monkeypatch):
    monkeypatch.setattr(tracking, "accepted_versions", lambda *_: [version(1, "2026-01-01")])
    monkeypatch.setattr(tracking, "champion_version", lambda *_: 1)
    lost = pin_cycle(tiny_config(), MARCH, home, cold_start=True)
    assert (lost.parent, lost.reference) == (None, None)
    monkeypatch.setattr(stage, "check_files", lambda *_: None)
    kept = pin_cycle(tiny_config(), MARCH + timedelta(days=1), home, cold_start=True)
    assert kept.parent is None and kept.reference == version(1, "2026-01-01")


def test_a_changed_meaning_of_the_inputs_begins_a_new_lineage(home, monkeypatch):
    known = version(1, "2026-01-01")
    older = tiny_config()
    monkeypatch.setattr(tracking, "accepted_versions", lambda *_: [known])
    monkeypatch.setattr(tracking, "champion_version", lambda *_: 1)
    monkeypatch.setattr(tracking, "check", lambda *_: None)
    monkeypatch.setattr(stage, "land", lambda *_: None)
    monkeypatch.setattr(stage, "check_files", lambda *_: None)
    monkeypatch.setattr(stage.accepted, "configuration", lambda *_: older)
    assert pin_cycle(older, MARCH, home).parent == known
    swapped = older.source.model_copy(update={"actions": older.source.actions[::-1], "reward": "2.0"})
    newer, lines = tiny_config(source=swapped), []
    cycle = resolve(newer, MARCH, home, say=lines.append)  # resolved before, under the older meaning
    assert (cycle.parent, cycle.reference) == (None, known)
    assert lines[0] == "actions and reward changed since cycle 2026-01-01: a new lineage begins"
    assert pin_cycle(newer, MARCH, home) == cycle
    assert pin_cycle(older, MARCH, home).parent == known


def test_a_cycle_never_meets_itself():
    assert choose_parent(MARCH, WINDOW, [version(5, "2026-03-01")], champion=5) is None


def test_the_registry_is_checked_before_anything_is_landed(home, monkeypatch):
    def fail(settings, source):
        raise tracking.RegistryError("MLflow does not answer")

    monkeypatch.setattr(tracking, "check", fail)
    monkeypatch.setattr(stage, "land", None)
    with pytest.raises(tracking.RegistryError, match="does not answer"):
        resolve(tiny_config(), MARCH, home)
    assert not home.cycle_folder("tiny", "2026-03-01").exists()


def test_a_resolved_cycle_says_what_it_starts_from(home, monkeypatch):
    monkeypatch.setattr(stage, "land", lambda *_: None)
    lines = []
    cycle = resolve(tiny_config(), MARCH, home, say=lines.append)
    assert cycle.name == "2026-03-01"
    assert lines == [
        "cycle 2026-03-01 of tiny: split 2026-02-19 00:00, cutoff 2026-03-01 00:00 UTC, trained from scratch"
    ]
