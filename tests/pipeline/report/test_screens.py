"""What the terminal shows of a cycle."""

from __future__ import annotations

import pytest

from pipeline.registry import tracking
from pipeline.report import screens as status
from pipeline.settings import Settings
from tests.pipeline import cycle_records
from tests.pipeline.cycle_records import accepted, cycle, record, refused_by_first_rung

NAME = cycle().name


@pytest.fixture
def settings(tmp_path):
    return Settings.at(tmp_path)


def shown(settings, records) -> list[str]:
    """The lines of the screen, without blanks at their ends."""
    cycle_records.write(settings, cycle(), records)
    return [line.rstrip() for line in status.cycle_screen(settings, "tiny", [NAME]).splitlines()]


def after(lines: list[str], start: str) -> str:
    """What follows the first words of a line."""
    return next(line.removeprefix(start).strip() for line in lines if line.startswith(start))


def test_an_accepted_cycle_is_told_whole(settings):
    lines = shown(settings, accepted())
    assert lines[0] == (
        "Cycle 2024-02-20 of tiny   split 2024-02-10, cutoff 2024-02-20, fine-tuned from version 1 of 2024-02-10"
    )
    assert after(lines, "data") == "700 lines accepted, 3 rejected (2 not JSON, 1 missing user)"
    assert "           900 labels of 120 users in the window" in lines
    told = "candidate champion frozen popularity moving popularity Markov chain"
    assert after(lines, "labels").split() == told.split()
    assert after(lines, "all (900)") == (
        "0.0500 [.045, .056]  0.0450 [.041, .050]  0.0200 [.018, .022]  0.0250 [.023, .028]  0.0550 [.050, .062]"
    )
    assert after(lines, "task B (640)").startswith("0.0300 [.027, .034]")
    assert not any("cold_start" in line for line in lines)
    assert after(lines, "rung_1") == "passed (1 pass)"
    assert after(lines, "funnel") == "passed (3 pass, 1 fail)"
    assert after(lines, "registered") == "version 2 of reprise-tiny, champion"
    assert after(lines, "cost").startswith("events 16 s · items 15 s ·")
    assert "292 s of stages" in "\n".join(lines)
    assert after(lines, "  all cycles") == "python -m pipeline status --source tiny"
    assert after(lines, "  report of 2024-02-20") == str(settings.report_folder("tiny", NAME) / "cycle.html")


def test_a_refused_cycle_shows_the_rung_beside_the_yardsticks_and_why(settings):
    lines = shown(settings, refused_by_first_rung())
    assert "           900 labels of 120 users in the window" in lines
    assert after(lines, "labels").split() == ["rung", "25k", "frozen", "popularity", "Markov", "chain"]
    assert after(lines, "all (900)") == "0.0500 [.045, .056]  0.0200 [.018, .022]  0.0550 [.050, .062]"
    assert after(lines, "rung_1") == "refused (1 fail)"
    assert "           own histories against other users': fail. Saved: the rung 50k" in "\n".join(lines)
    assert after(lines, "registered") == "nothing: the candidate was refused"
    assert after(lines, "cost").startswith("events 16 s") and not any("train 15 s" in line for line in lines)


def test_a_version_that_is_not_live_says_why(settings):
    figures = {"version": 2, "champion": 1, "moved": False, "why": "a backfill moves nothing"}
    lines = shown(settings, accepted() | {"promote": record("promote", figures)})
    assert after(lines, "registered") == "version 2 of reprise-tiny; a backfill moves nothing"


def test_a_cycle_that_ranked_nothing_says_so(settings):
    first = {"events": accepted()["events"]}
    assert after(shown(settings, first), "MRR") == "not measured: no model was ranked"
    assert status.cycle_screen(settings, "tiny", ["2024-03-01"]).startswith(
        "Cycle 2024-03-01 of tiny has not run."
    )


def test_no_line_is_wider_than_the_screen(settings):
    records = accepted()
    wide = [
        row | {"group": "launches of the last two weeks", "examples": 123_456_789}
        for row in records["evaluate"].figures["metrics"]
    ]
    records["evaluate"] = record("evaluate", records["evaluate"].figures | {"metrics": wide})
    for found in (records, accepted(), refused_by_first_rung()):
        lines = shown(settings, found)
        assert max(len(line) for line in lines if "report of" not in line) <= status.WIDTH
    assert "0.0500 [.045, .056]" in "\n".join(shown(settings, records))


def test_every_cycle_of_a_home_is_one_row(settings, monkeypatch):
    monkeypatch.setattr(tracking, "champion_version", lambda settings, source: 2)
    assert status.screen(settings) == f"No cycle has run under {settings.home}. Start one with: make demo"
    cycle_records.write(settings, cycle(), accepted())
    lines = status.screen(settings).splitlines()
    assert lines[0].strip() == "tiny: champion is version 2"
    assert lines[-1].split() == [
        "2024-02-20",
        "version",
        "1,",
        "2024-02-10",
        "accepted",
        "2",
        "(champion)",
        "0.0500",
        "292",
    ]
