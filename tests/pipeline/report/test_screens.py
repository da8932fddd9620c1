"""What the terminal shows of stages, sources and cycles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from expectations.tables import VOCABULARY
from model.evaluation.figures import Estimate
from model.evaluation.names import DECAYED, DECAYED_UNSEEN
from pipeline.cycle.figures import AcceptedData, PromoteFigures
from pipeline.maintenance.replay import Replayed
from pipeline.registry import tracking
from pipeline.report import screens
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import refresh_cycle
from tests.model import lake
from tests.pipeline import cycle_records
from tests.pipeline.cycle_records import (
    FOUR_RUNGS,
    ONE_RUNG,
    accepted,
    cycle,
    record,
    refused_by_first_rung,
    refused_by_funnel,
    refused_by_training,
    until,
)

NAME = cycle().name


@pytest.fixture
def settings(tmp_path):
    return Settings.at(tmp_path)


def shown(settings, records, rungs=ONE_RUNG, parent=True) -> list[str]:
    """The lines of a cycle's screen."""
    cycle_records.write(settings, cycle(parent), records, rungs)
    return screens.cycle_screen(settings, "tiny", [NAME]).splitlines()


def after(lines: list[str], start: str) -> str:
    """What follows the first words of a line."""
    return next(line.removeprefix(start).strip() for line in lines if line.startswith(start))


def with_metrics(records, change) -> dict:
    """The records with every row of the candidate's metrics changed."""
    figures = records["evaluate"].figures
    measures = replace(figures.measures, metrics=tuple(change(row) for row in figures.measures.metrics))
    return records | {"evaluate": record("evaluate", replace(figures, measures=measures))}


def test_an_accepted_cycle_is_shown_whole(settings):
    lines = shown(settings, accepted())
    assert lines[0] == (
        "Cycle 2024-02-20 of tiny   split 2024-02-10, cutoff 2024-02-20, "
        "fine-tuned from version 1, cycle 2024-02-10"
    )
    assert after(lines, "data") == "700 lines accepted, 3 rejected (2 not JSON, 1 missing user)"
    assert (
        "           640 events up to the split in 45 sequences, 9.0 bytes a token; cold-start rate 11.0%"
        in lines
    )
    assert "           4 accepted lines repeat another of their file exactly" in lines
    assert "           2 events of earlier files replaced by later lines" in lines
    late = "6 of 700 new events came late (4 up to an hour, 2 up to a day), 1 of them as context only"
    assert f"           {late}" in lines
    assert "           2 of 33 lines of items files refused" in lines
    assert "           5 of 33 lines of items files used without a field" in lines
    assert "           (5 kept without launched_at, which is a year without a day; 2 missing item)" in lines
    assert "           900 labels of 120 users in the window" in lines
    assert "MRR with 95 % intervals: replay, no delay" in lines
    assert after(lines, "model").endswith("  task B (640)")
    assert after(lines, "candidate  ").split("  ")[0] == "0.0500 [.045, .056]"
    assert after(lines, "candidate  ").endswith("  0.0300 [.027, .034]")
    assert after(lines, "Markov chain  ").startswith("0.0550 [.050, .062]")
    assert not any("cold-start items" in line for line in lines)
    assert after(lines, "rung 25k") == "passed (1 pass)"
    assert "candidate  passed (3 pass, 1 fail)" in lines
    assert after(lines, "registered") == "version 2 of reprise-tiny, champion"
    assert after(lines, "cost").startswith("events 16 s · items 15 s ·")
    assert "report 16 s · 334 s of stage time" in "\n".join(lines)
    assert after(lines, "  all cycles") == "python -m pipeline status --source tiny"
    assert after(lines, "  report of 2024-02-20") == str(settings.report_folder("tiny", NAME) / "cycle.html")


def test_every_model_has_a_line_and_no_line_is_too_long(settings):
    figures = accepted()["evaluate"].figures
    many = cycle_records.measures({**cycle_records.STRENGTHS, DECAYED: 0.6, DECAYED_UNSEEN: 0.7})
    lines = shown(settings, accepted() | {"evaluate": record("evaluate", replace(figures, measures=many))})
    assert {row.model.words for row in many.metrics} <= {line.split("  ")[0] for line in lines}
    assert max(len(line) for line in lines if "/" not in line) <= screens.WIDTH


def test_four_rungs_are_on_one_screen(settings):
    lines = shown(settings, accepted(FOUR_RUNGS), FOUR_RUNGS)
    assert [after(lines, f"rung {size} ") for size in FOUR_RUNGS] == ["passed (1 pass)"] * 4
    assert all(f"rung_{number} 16 s" in "\n".join(lines) for number in (1, 2, 3, 4))


def test_a_rung_that_the_configuration_no_longer_has_is_not_shown(settings):
    lines = shown(settings, accepted(FOUR_RUNGS), ONE_RUNG)
    assert not any("50k" in line or "rung_2" in line for line in lines)


def test_a_refused_cycle_shows_the_rung_beside_the_yardsticks_and_why(settings):
    lines = shown(settings, refused_by_first_rung(), ("25k", "50k"))
    assert "           900 labels of 120 users in the window" in lines
    assert after(lines, "rung 25k  ").startswith("0.0500 [.045, .056]")
    assert after(lines, "frozen popularity").startswith("0.0200 [.018, .022]")
    assert "rung 25k   refused (1 fail)" in lines
    why = [line.replace("\u00a0", " ").strip() for line in lines if line.startswith(" " * 11)]
    assert (
        "own histories against other users': fail, −1.0 %, below the +5.0 % margin at 95 % confidence (upper bound "
        "+4.0 %). This saved training rung 50k and the full model 400k (16 times this rung's backbone)"
    ) in " ".join(why)
    assert after(lines, "registered") == "nothing: the candidate was refused"
    assert after(lines, "cost").startswith("events 16 s") and not any("train 15 s" in line for line in lines)


def test_a_refusal_in_training_says_what_was_not_finite(settings):
    lines = shown(settings, refused_by_training())
    assert "candidate  refused in training" in lines
    assert "           the loss of step 7 is not a finite number" in lines
    assert after(lines, "registered") == "nothing: the candidate was refused"


def test_a_refusal_by_the_funnel_shows_the_candidates_figures_and_why(settings):
    lines = shown(settings, refused_by_funnel())
    ranked, judged = [line for line in lines if line.startswith("candidate")]
    assert "[" in ranked and judged == "candidate  refused (1 pass, 1 fail)"
    assert any(line.startswith(" " * 11 + "all labels against the champion: fail, −11.1") for line in lines)


def test_a_version_that_is_not_live_says_why(settings):
    figures = PromoteFigures(version=2, champion=1, moved=False, why="a backfill moves nothing")
    lines = shown(settings, accepted() | {"promote": record("promote", figures)})
    assert after(lines, "registered") == "version 2 of reprise-tiny; a backfill moves nothing"


def test_a_cycle_that_ranked_nothing_says_so(settings):
    lines = shown(settings, until(accepted(), "events"), parent=False)
    assert lines[0].endswith("trained from scratch")
    assert after(lines, "MRR") == "not measured: no model was ranked"
    assert screens.cycle_screen(settings, "tiny", ["2024-03-01"]).startswith(
        "Cycle 2024-03-01 of tiny has not run."
    )


def test_a_resolved_cycle_has_ingested_nothing(settings):
    lines = shown(settings, {})
    assert after(lines, "data") == "nothing ingested yet"
    assert after(lines, "cost") == "0 s of stage time"


def test_no_line_is_wider_than_the_screen(settings):
    wide = with_metrics(
        accepted(), lambda row: replace(row, group="launches of the last two weeks", examples=123_456_789)
    )
    for records, rungs in (
        (wide, ONE_RUNG),
        (accepted(FOUR_RUNGS), FOUR_RUNGS),
        (refused_by_first_rung(), ("25k", "50k")),
    ):
        lines = shown(settings, records, rungs)
        assert max(len(line) for line in lines if "report of" not in line) <= screens.WIDTH
        assert not any(line != line.rstrip() for line in lines)
        assert "0.0500 [.045, .056]" in "\n".join(lines)


def test_a_metric_without_a_value_says_none(settings):
    def nothing(row):
        return replace(row, values=row.values | {"mrr": Estimate(None)}) if row.group == "A" else row

    ranked = [line for line in shown(settings, with_metrics(accepted(), nothing)) if line.count("[") == 2]
    assert len(ranked) == 5 and all(line.count("none") == 1 for line in ranked)


def status(settings, records, rungs=ONE_RUNG) -> list[str]:
    """The words of a source's last row."""
    cycle_records.write(settings, cycle(), records, rungs)
    return screens.screen(settings, "tiny").splitlines()[-1].split()


def test_every_cycle_of_a_home_is_one_row(settings, monkeypatch):
    monkeypatch.setattr(tracking, "champion_version", lambda settings, source: 2)
    assert screens.screen(settings) == f"No cycle has run under {settings.home}. Start one with: make demo"
    cycle_records.write(settings, cycle(), accepted())
    lines = screens.screen(settings).splitlines()
    assert lines[0].strip() == "tiny: champion is version 2"
    assert lines[-1].split() == [
        *("2024-02-20", "version", "1,", "cycle", "2024-02-10"),
        *("accepted", "2", "(champion)", "0.0500", "334"),
    ]


@pytest.mark.parametrize(
    ("records", "outcome"),
    [
        (refused_by_first_rung(), "refused by rung 25k 234"),
        (refused_by_training(), "refused in training 249"),
        (refused_by_funnel(), "refused by the funnel's last gate 0.0500 283"),
        (until(accepted(), "vocabulary"), "unfinished, last stage vocabulary 76"),
        ({}, "resolved, no stage finished 0"),
    ],
    ids=["rung", "training", "funnel", "unfinished", "resolved"],
)
def test_a_row_says_how_its_cycle_ended(settings, monkeypatch, records, outcome):
    monkeypatch.setattr(tracking, "champion_version", lambda settings, source: None)
    assert " ".join(status(settings, records)[5:]) == outcome


def test_the_map_names_every_stage_of_the_funnel():
    rows = [
        line.split()[0]
        for line in screens.map_screen(refresh_cycle(FOUR_RUNGS)).splitlines()
        if line[:1].strip()
    ]
    assert [row for row in rows if row.startswith("rung_")] == ["rung_1", "rung_2", "rung_3", "rung_4"]
    assert {"resolve", "events", "funnel", "report"} < set(rows)


def test_what_was_accepted_and_what_left_is_told(settings):
    records = accepted()
    word = AcceptedData(("events.volume_drift",), "ann@host", "2024-02-11T00:00:00", "the source was down")
    judged = replace(
        records["validate_events"].figures, accepted=word, cautions=("every event is of no country",)
    )
    events = replace(
        records["events"].figures,
        outdated_by_reason={"withdrawn": 1},
        files_withdrawn=1,
        new_columns=("device",),
        retyped=("column ts of 2.csv was numbers and is text on 100.0 % of its lines",),
        empty_files=("1.csv", "2.csv", "3.csv", "4.csv"),
    )
    items = replace(records["items"].figures, empty_files=("titles.csv",))
    changed = {"validate_events": record("validate_events", judged), "events": record("events", events)}
    changed["items"] = record("items", items)
    told = " ".join(" ".join(shown(settings, records | changed)).split())
    for part in (
        "1 ingested file left or read again: withdrawn 1 withdrawn, not read",
        "columns that no file had before: device",
        "without a line: 1.csv, 2.csv, 3.csv and 1 more",
        "without a line: titles.csv",
        "column ts of 2.csv was numbers and is text on 100.0 % of its lines",
        "every event is of no country",
        "not met: events.volume_drift; accepted by ann@host on 2024-02-11: the source was down",
    ):
        assert part in told


def test_the_tables_that_readers_may_use_are_shown_and_what_is_gone_is_told(settings):
    assert "No table of tiny has passed a suite" in screens.tables_screen(settings, "tiny")
    row = {
        "cycle": NAME,
        "item_token": 0,
        "item_index": 0,
        "event_count": 1,
        "added_in": NAME,
        "retired": False,
    }
    version = lake.write(Path(settings.lake), VOCABULARY, [row])
    judged = {
        stage: replace(one, inputs={"reads": {name: ["w", "d", version] for name in reads}})
        for stage, one, reads in (
            ("validate_events", accepted()["validate_events"], ()),
            ("validate_sequences", accepted()["validate_sequences"], ("vocabulary",)),
        )
    }
    cycle_records.write(settings, cycle(), judged)
    shown = screens.tables_screen(settings, "tiny").splitlines()
    assert after(shown, "vocabulary").split("  ")[:2] == [str(version), f"cycle = '{NAME}'"]
    assert shown[-1].endswith("/tiny/passed.json")
    for path in Path(settings.lake).rglob("*.parquet"):
        path.unlink()
    told = screens.tables_screen(settings, "tiny")
    assert f"vocabulary none nobody yet: version {version} lost 1 of its files" in " ".join(told.split())


def test_a_version_that_was_made_again_is_shown_table_by_table():
    found = [
        Replayed("events", 3, "same", "7 rows, the given ones"),
        Replayed("kept weights", None, "same", "digest x"),
    ]
    lines = screens.replay_screen("tiny", 2, found).splitlines()
    assert lines[0].strip() == "tiny: version 2, made again from its record"
    assert [line.split() for line in lines[3:]] == [
        ["events", "3", "same", "7", "rows,", "the", "given", "ones"],
        ["kept", "weights", "same", "digest", "x"],
    ]
