"""Which table versions and cycles somebody may still read."""

from __future__ import annotations

from expectations.tables import ITEMS
from pipeline.cycle import lease
from pipeline.cycle.figures import ReportFigures
from pipeline.cycle.records import StageRecord, write_record
from pipeline.maintenance.kept import find_kept
from tests.pipeline.maintenance.conftest import DIGEST, LATE, NEWEST, REFUSED, REGISTERED, UNFINISHED


def test_registered_unfinished_and_newest_cycles_are_kept_and_all_their_versions(tidy):
    kept = find_kept(tidy.settings, "tiny", 1)
    assert kept.cycles == {REGISTERED, UNFINISHED, NEWEST} and kept.newest == NEWEST
    assert kept.others == (REFUSED, LATE)
    wanted = {tidy.versions[cycle] for cycle in kept.cycles}
    # The registered cycle ran again: its version and its folder tell of different ones.
    assert wanted < kept.versions["events"] and len(kept.versions["events"]) == 4
    assert find_kept(tidy.settings, "tiny", 2).others == (REFUSED,)
    lease.take(tidy.settings, "tiny", REFUSED)  # it is run again
    assert find_kept(tidy.settings, "tiny", 2).others == ()


def record(tidy, folder, stage, reads=None, writes=None):
    """A further record, older than the cycle's report."""
    inputs = {"reads": {name: [stage, "d", version] for name, version in (reads or {}).items()}}
    figures = ReportFigures("refused", "Refused", "cycle.html")
    at = "2020-01-01T00:00:00+00:00"
    write_record(folder, StageRecord(stage, "d", inputs, writes or {}, figures, None, 1.0, at, 1.0))


def test_what_readers_outside_and_replay_need_is_kept_though_its_cycle_is_old(tidy):
    folder = tidy.settings.cycle_folder("tiny", REFUSED)
    record(tidy, folder, "validate_events", {"events": tidy.versions[REFUSED]})
    kept = find_kept(tidy.settings, "tiny", 1)
    assert REFUSED in kept.cycles and tidy.versions[REFUSED] in kept.versions["events"]
    # A later cycle that passes takes its place.
    record(
        tidy, tidy.settings.cycle_folder("tiny", NEWEST), "validate_events", {"events": tidy.versions[NEWEST]}
    )
    assert REFUSED not in find_kept(tidy.settings, "tiny", 1).cycles
    # The catalogue from which `replay` makes a version's items again.
    folder = tidy.settings.accepted_folder("tiny", DIGEST)
    record(tidy, folder, "items", writes={"items": 7})
    assert find_kept(tidy.settings, "tiny", 1).versions[ITEMS.name] == {6, 7}
