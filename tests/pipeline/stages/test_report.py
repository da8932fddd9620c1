"""The stage `report`: it leaves the page and closes the run of every model of the cycle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.evaluation.figures import Measures
from model.evaluation.names import CANDIDATE, CHAMPION, FROZEN, ModelName
from pipeline.cycle.figures import ReportFigures
from pipeline.registry import tracking
from pipeline.report.table_facts import TableFacts
from pipeline.stages import report
from pipeline.stages.report import run_figures
from tests.pipeline import cycle_records
from tests.pipeline.cycle_records import FOUR_RUNGS, ONE_RUNG


class Runs:
    """Takes what the stage writes to the registry."""

    def __init__(self) -> None:
        self.logged: dict[ModelName, dict[str, float]] = {}
        self.closed: dict[ModelName, tuple[str, str]] = {}
        self.pages: dict[ModelName, list[str]] = {}
        self.lineage: dict = {}

    def log_figures(self, context, model, figures):
        self.logged[model] = figures

    def close_run(self, context, model, outcome, reason, pages=()):
        self.closed[model] = (outcome, reason)
        self.pages[model] = [path.name for path in pages]

    def tag_lineage(self, context, lineage):
        self.lineage = lineage


@pytest.fixture
def runs(monkeypatch) -> Runs:
    taken = Runs()
    for name in ("log_figures", "close_run", "tag_lineage"):
        monkeypatch.setattr(tracking, name, getattr(taken, name))
    return taken


def run(home, records, rungs=ONE_RUNG, said: list[str] | None = None):
    said = [] if said is None else said
    return report.report(cycle_records.context(home, "report", records, rungs, say=said.append))


@pytest.fixture
def page(home):
    return home.report_folder("tiny", "2024-02-20") / "cycle.html"


@pytest.fixture(autouse=True)
def no_tables(monkeypatch):
    """The made-up records pin versions of tables that nobody wrote."""
    monkeypatch.setattr(report, "table_facts", lambda context: TableFacts())


def test_a_refused_cycle_closes_its_runs_and_leaves_a_page(home, runs, page):
    said = []
    pairs = home.pairs_folder("tiny", "2024-02-20") / "0123"
    pairs.mkdir(parents=True)
    result = run(home, cycle_records.refused_by_first_rung(), ("25k", "50k"), said)
    assert not pairs.exists()
    title = "Refused by rung 25k: nothing was registered"
    assert result.figures == ReportFigures("refused", title, "cycle.html")
    assert result.refused is None and result.versions == {}
    assert {model: outcome for model, (outcome, _) in runs.closed.items()} == {
        "rung-25k": "refused",
        "candidate": "refused",
    }
    assert runs.closed[CANDIDATE][1].startswith(f"{title}. Own histories against other users': fail")
    assert "This saved training rung 50k" in runs.closed[CANDIDATE][1]
    assert "This saved training rung 50k" in runs.closed[ModelName.rung("25k")][1]
    assert list(runs.logged) == ["rung-25k"]
    assert runs.pages == {"rung-25k": [], "candidate": ["cycle.html"]}
    assert said == [f"{title}; {page}"]
    assert title in page.read_text(encoding="utf-8")


def test_an_accepted_cycle_of_four_rungs_closes_a_run_a_model(home, runs, page):
    result = run(home, cycle_records.accepted(FOUR_RUNGS), FOUR_RUNGS)
    assert result.figures.outcome == "accepted"
    rungs = [ModelName.rung(size) for size in FOUR_RUNGS]
    assert list(runs.logged) == [*rungs, CANDIDATE]
    assert {model: outcome for model, (outcome, _) in runs.closed.items()} == {
        **dict.fromkeys(rungs, "passed"),
        CANDIDATE: "accepted",
    }
    assert runs.logged[CANDIDATE]["mrr/all"] == pytest.approx(0.05)
    assert runs.lineage["parent_version"] == 1 and runs.lineage["table_versions"]["sequences"] == 3
    assert "Rung 200k" in page.read_text(encoding="utf-8")


def test_run_again_it_writes_the_same_page(home, runs, page):
    run(home, cycle_records.accepted())
    first = page.read_bytes()
    run(home, cycle_records.accepted())
    assert page.read_bytes() == first


def test_figures_of_a_run_name_group_condition_and_model():
    figures = run_figures(CANDIDATE, cycle_records.measures(cycle_records.STRENGTHS))
    assert figures["mrr/all"] == pytest.approx(0.05)
    assert figures["mrr/task A"] == pytest.approx(0.04)
    assert figures["mrr/slice cold_start"] == pytest.approx(0.02)
    assert figures["mrr of markov/all"] == pytest.approx(0.055)
    assert figures["mrr/replay 48 h"] == pytest.approx(0.035)
    assert figures["hit_rate_10/cutoff"] == pytest.approx(0.1)
    assert "test_loss/cutoff" in figures
    assert run_figures(CANDIDATE, None) == {}


def test_a_candidate_without_ranks_takes_no_other_models_figures():
    figures = run_figures(CANDIDATE, cycle_records.measures({CHAMPION: 0.9, FROZEN: 0.4}))
    assert figures["mrr of champion/all"] == pytest.approx(0.045)
    assert not any(name.startswith(("mrr/", "hit_rate")) for name in figures)


def test_characters_that_mlflow_refuses_become_underscores():
    rows = cycle_records.measures({CANDIDATE: 1.0}).metrics
    odd = tuple(replace(row, kind="slice", group="country=N,L") for row in rows if row.kind == "slice")
    figures = run_figures(CANDIDATE, Measures(metrics=odd))
    assert list(figures) == ["mrr/slice country_N_L"]
