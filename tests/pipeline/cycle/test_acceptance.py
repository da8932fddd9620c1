"""A person's word passes a red suite over the data that was judged, and over no other."""

from __future__ import annotations

import pytest

from pipeline.cycle import acceptance
from pipeline.cycle.corrections import CorrectionError, Said

WHY = Said("ann@host", "2026-03-01T00:00:00+00:00", "two days were lost")


@pytest.fixture
def folder(home):
    found = home.cycle_folder("films", "2026-03-01")
    found.mkdir(parents=True)
    return found


def test_what_was_red_passes_for_the_same_inputs_only(home, folder):
    acceptance.found_red(folder, "validate_events", "digest", ["events.a", "events.b"], [])
    assert acceptance.find(folder, "validate_events", "digest", ["events.a"]) is None
    words = acceptance.accept(home, "films", "2026-03-01", WHY)
    word = acceptance.find(folder, "validate_events", "digest", ["events.a"])
    assert words == {"validate_events": word} and word.expectations == ("events.a", "events.b")
    assert word.words == "accepted by ann@host on 2026-03-01: two days were lost"
    assert acceptance.find(folder, "validate_events", "other", ["events.a"]) is None
    assert acceptance.find(folder, "validate_events", "digest", ["events.c"]) is None
    assert acceptance.find(folder, "validate_sequences", "digest", ["events.a"]) is None


def test_nothing_red_and_a_crashed_check_cannot_be_accepted(home, folder):
    with pytest.raises(CorrectionError, match="no suite of cycle 2026-03-01 of films is red"):
        acceptance.accept(home, "films", "2026-03-01", WHY)
    with pytest.raises(CorrectionError, match="films has no cycle 2026-04-01; its cycles are 2026-03-01"):
        acceptance.accept(home, "films", "2026-04-01", WHY)
    acceptance.found_red(folder, "validate_events", "digest", [], ["events.a"])
    with pytest.raises(CorrectionError, match="events.a of validate_events crashed"):
        acceptance.accept(home, "films", "2026-03-01", WHY)
    acceptance.passed(folder, "validate_events")
    with pytest.raises(CorrectionError, match="is red"):
        acceptance.accept(home, "films", "2026-03-01", WHY)
