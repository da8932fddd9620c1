"""What is said against a source's data is kept, once each."""

from __future__ import annotations

import json

import pytest

from pipeline.cycle import corrections
from pipeline.cycle.corrections import CorrectionError, Corrections, Said

WHY = Said("ann@host", "2026-03-01T00:00:00+00:00", "bots")


def test_what_was_written_is_read_back(home):
    assert corrections.read(home, "films") == Corrections()
    said = corrections.withdraw(Corrections(landed_at=("/a",)), "b.jsonl", ("id2",), WHY)
    said = corrections.erase(
        corrections.withdraw(said, "b.jsonl", ("id1",), Said("x", "", "")), "digest", WHY
    )
    corrections.write(home, "films", said)
    assert corrections.read(home, "films") == said == corrections.erase(said, "digest", Said("x", "", ""))
    assert said.withdrawn[0].said == WHY
    assert (said.kept_out, said.erased_users) == (("b.jsonl", "id1", "id2"), ("digest",))


def test_a_file_is_let_in_again_only_where_it_was_withdrawn():
    said = corrections.withdraw(Corrections(), "a", (), WHY)
    assert corrections.readmit(said, "a") == Corrections()
    with pytest.raises(CorrectionError, match="b is not withdrawn; withdrawn are: a"):
        corrections.readmit(said, "b")


def test_a_reason_is_needed_and_the_user_is_named():
    assert "@" in corrections.said(" because ").by and corrections.said(" because ").reason == "because"
    assert corrections.said("because", "ann").by == "ann"
    with pytest.raises(CorrectionError, match="--reason is empty"):
        corrections.said("  ")


def test_a_file_of_a_later_release_is_refused(home):
    path = home.corrections("films")
    path.parent.mkdir()
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(CorrectionError, match="update the code"):
        corrections.read(home, "films")
