"""The packaged sources by name."""

from __future__ import annotations

import pytest

from pipeline.sources import SOURCES, SourceError, land, packaged


def test_a_source_has_its_own_name():
    assert list(SOURCES) == ["ml-100k", "ifdb", "kuairand", "kuairand-history", "movietweetings"]
    assert all(packaged(name).config.name == name for name in SOURCES)
    with pytest.raises(
        SourceError, match="no packaged source 'netflix'; the packaged ones are ml-100k, ifdb"
    ):
        packaged("netflix")


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_says_when_its_cycles_are(name):
    schedule = packaged(name).overlay["schedule"]
    first, second = schedule["demo_cutoffs"]
    assert schedule["start_date"] <= first < second <= schedule["end_date"]
    assert schedule["window_days"] > 0


def test_landing_does_nothing_for_a_source_that_is_not_packaged(home):
    land("mine", home, print)
    assert not home.landing("mine").exists()
