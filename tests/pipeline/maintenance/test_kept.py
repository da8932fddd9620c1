"""Which table versions and cycles somebody may still read."""

from __future__ import annotations

from pipeline.cycle import lease
from pipeline.maintenance.kept import find_kept
from tests.pipeline.maintenance.conftest import LATE, NEWEST, REFUSED, REGISTERED, UNFINISHED


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
