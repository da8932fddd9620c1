"""Cutoffs, parents and the record that pins them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.config import ScheduleConfig
from pipeline.cycle.definition import (
    AcceptedVersion,
    Cycle,
    CycleError,
    choose_parent,
    cycle_name,
    resolve,
    resolve_cycle,
)
from pipeline.registry import tracking
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


def test_names_sort_by_time():
    assert cycle_name(MARCH) == "2026-03-01"
    assert cycle_name(MARCH + timedelta(hours=6)) == "2026-03-01T0600"
    assert cycle_name(MARCH) < cycle_name(MARCH + timedelta(hours=6)) < cycle_name(MARCH + timedelta(days=1))


def test_the_split_lies_a_window_before_the_cutoff():
    cycle = Cycle("log", MARCH, timedelta(days=28), None)
    assert cycle.split == datetime(2026, 2, 1, tzinfo=UTC)


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
        CycleError, match=r"begins 2026-02-01 .* after 2026-03-13, or start anew with --cold-start"
    ):
        resolve(grown, MARCH, home)
    assert resolve(grown, MARCH, home, cold_start=True).champion is None


def test_a_cycle_is_pinned_anew_when_its_window_changes(home):
    for days in (7, 28, 28):
        cycle = resolve(tiny_config(schedule=ScheduleConfig(window_days=days)), MARCH, home)
        assert cycle.window == timedelta(days=days)


def test_a_backfill_of_a_cycle_that_began_otherwise_is_a_backfill(home):
    for run_type, expected in (("scheduled", "scheduled"), ("backfill", "backfill"), ("manual", "backfill")):
        assert resolve(tiny_config(), MARCH, home, run_type=run_type).run_type == expected


def test_a_cold_start_drops_a_champion_that_is_lost_and_keeps_one_that_is_not(home, monkeypatch):
    monkeypatch.setattr(tracking, "accepted_versions", lambda *_: [version(1, "2026-01-01")])
    monkeypatch.setattr(tracking, "champion_version", lambda *_: 1)
    lost = resolve(tiny_config(), MARCH, home, cold_start=True)
    assert (lost.parent, lost.champion, lost.before) == (None, None, None)
    monkeypatch.setattr("pipeline.cycle.definition.check_parent", lambda *_: None)
    kept = resolve(tiny_config(), MARCH + timedelta(days=1), home, cold_start=True)
    assert kept.parent is None and kept.before == kept.champion == version(1, "2026-01-01")


def test_a_cycle_never_meets_itself():
    assert choose_parent(MARCH, WINDOW, [version(5, "2026-03-01")], champion=5) is None
