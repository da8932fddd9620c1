"""The stage that ranks the full model, on a small lake without Spark."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from deltalake import DeltaTable

from expectations.tables import location
from model.evaluation.names import CANDIDATE
from model.evaluation.ranks import Condition
from pipeline.evaluation.ranking import YARDSTICKS, stored_ranks
from pipeline.settings import Settings
from pipeline.stages import evaluate as stage
from pipeline.stages.evaluate import evaluate
from pipeline.training.fit import fit
from tests.factories import CUTOFFS
from tests.pipeline import small_lake


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A first cycle whose candidate was trained for two epochs: no test here depends on its quality."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")), items=14)
    quick = context.config.training.model_copy(update={"epochs": 2.0})
    context = small_lake.at(small_lake.with_config(context, training=quick), "train")
    fit(context, CANDIDATE, context.config.model.size)
    return small_lake.at(context, "evaluate")


@pytest.fixture(scope="module")
def evaluated(trained):
    return evaluate(trained)


def test_every_label_is_ranked_by_every_model_under_every_condition(trained, evaluated):
    rows = stored_ranks(trained, evaluated.versions["ranks"]).rows.to_pylist()
    conditions = {(row["model"], row["protocol"], row["delay_hours"]) for row in rows}
    models = ("candidate", *YARDSTICKS)
    assert conditions == {
        (model, condition.protocol, condition.delay_hours)
        for model in models
        for condition in (Condition("replay", 0.0), Condition("replay", 48.0), Condition("cutoff", 0.0))
    }
    labels = small_lake.USERS * small_lake.IN_WINDOW
    assert len(rows) == len(conditions) * labels
    assert {row["catalogue_size"] for row in rows} == {14}
    assert all((row["log_probability"] is None) != (row["model"] == "candidate") for row in rows)


def test_the_figures_hold_what_the_report_and_the_funnel_read(evaluated):
    figures = evaluated.figures
    assert (figures.window.labels, figures.window.label_users) == (240, 60)
    assert figures.window.tasks_not_applicable == ("C",)
    assert set(figures.measures.mrr) == {"candidate", *YARDSTICKS}
    assert [one.model for one in figures.yardsticks] == list(YARDSTICKS)
    assert figures.measures.mrr["markov"] == 1  # the chain predicts a ring exactly
    assert figures.latency_milliseconds > 0 and figures.size_megabytes > 0
    assert {row.protocol for row in figures.measures.metrics} == {"replay", "cutoff"}
    assert figures.measures.metrics[0].model == "candidate"
    assert set(figures.lists) == {"candidate"} and figures.lists["candidate"].shown == 2400
    for row in figures.measures.metrics:
        assert row.values["mrr_rare"].value is not None
        # In a ring of twelve with ten or more events of history hardly any item is new to a user.
        assert (row.values["mrr_unseen"].value or 1.0) >= row.values["mrr"].value or row.delay_hours
    assert figures.not_finite is None and figures.reference_not_comparable is None


def test_the_delay_takes_the_history_away(trained, evaluated):
    rows = stored_ranks(trained, evaluated.versions["ranks"]).rows.to_pylist()
    lengths = {row["delay_hours"]: set() for row in rows}
    for row in rows:
        if row["model"] == "candidate" and row["protocol"] == "replay":
            lengths[row["delay_hours"]].add(row["history_length"])
            assert ("new_user" in row["slices"]) == (row["history_length"] == 0)
    assert lengths == {0.0: {10, 11, 12, 13}, 48.0: {0}}
    cutoff = {row["history_length"] for row in rows if row["protocol"] == "cutoff"}
    assert cutoff == {10}


def test_evaluating_again_changes_no_table(trained, evaluated):
    address = location(trained.settings.lake, small_lake.SOURCE, "ranks")
    before = DeltaTable(address).version()
    again = evaluate(trained)
    assert DeltaTable(address).version() == before == again.versions["ranks"]
    assert again.figures.measures == evaluated.figures.measures


def test_a_candidate_with_a_score_that_is_not_finite_has_no_ranks(trained, monkeypatch):
    opened = stage.open_contender

    def broken(context, name):
        contender = opened(context, name)
        with torch.no_grad():
            contender.recommender.item_tower.out_of_vocabulary.fill_(float("nan"))  # items 12 and 13
        return contender

    monkeypatch.setattr(stage, "open_contender", broken)
    figures = evaluate(trained).figures
    assert "not a finite number" in figures.not_finite
    assert CANDIDATE not in figures.measures.mrr and figures.latency_milliseconds is None


def test_a_learned_mixture_stands_beside_a_model_that_reads_signals(tmp_path):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    reads = {"item_signals": True, "pair_signals": True, "request_time": True}
    changes = {
        "model": context.config.model.model_copy(update=reads),
        "training": context.config.training.model_copy(update={"epochs": 1.0}),
    }
    context = small_lake.at(small_lake.with_config(context, **changes), "train")
    fit(context, CANDIDATE, context.config.model.size)
    figures = evaluate(small_lake.at(context, "evaluate")).figures
    assert set(figures.measures.mrr) == {"candidate", *YARDSTICKS, "mixture"}
    described = figures.yardsticks[-1]
    assert described.model == "mixture" and described.not_applicable is None
    assert described.words.startswith("counts the whole log (") and "labels of" in described.words
    assert figures.lists["mixture"].shown == figures.lists["candidate"].shown
    # It never saw a history, so that users with the same pairs and clock are ranked alike; the ring is in the pairs.
    assert figures.measures.mrr["mixture"] > figures.measures.mrr["popularity_frozen"]


def test_the_reference_is_ranked_beside_the_candidate_where_it_can_be(trained):
    second = small_lake.next_cycle(trained, items=14)
    fit(small_lake.at(second, "train"), CANDIDATE, "25k")
    beside = evaluate(small_lake.at(second, "evaluate")).figures
    assert set(list(beside.measures.mrr)[:2]) == {"candidate", "champion"}
    assert {row.against for row in beside.measures.differences} >= {"champion", "popularity_frozen"}
    source = second.config.source
    grown = small_lake.with_config(
        second, source=source.model_copy(update={"actions": (*source.actions, "shared")})
    )
    still = evaluate(small_lake.at(grown, "evaluate")).figures  # no event of the window has the new action
    assert still.measures.mrr["champion"] == beside.measures.mrr["champion"]
    changed = small_lake.with_config(second, source=source.model_copy(update={"reward": "2.0"}))
    alone = evaluate(small_lake.at(changed, "evaluate")).figures
    assert alone.reference_not_comparable == "reward changed since cycle 2024-02-10"
    assert "champion" not in alone.measures.mrr


def test_the_champion_of_some_promotions_ago_is_ranked_where_gates_read(trained):
    """The third cycle's champion is the second's version; one promotion back lies the first's."""
    second = small_lake.next_cycle(trained, items=14)
    fit(small_lake.at(second, "train"), CANDIDATE, "25k")
    version = replace(small_lake.accept(second), version=2)
    later = small_lake.write_cycle(second.settings, CUTOFFS[2], seed=2, items=14)
    cycle = replace(later.cycle, parent=version, reference=version)
    third = replace(later, config=second.config, cycle=cycle)
    fit(small_lake.at(third, "train"), CANDIDATE, "25k")
    for back, words in ((1, "version 1, cycle 2024-02-10"), (0, None), (2, None)):
        funnel = second.config.funnel.model_copy(update={"compare_back": back})
        result = evaluate(small_lake.at(small_lake.with_config(third, funnel=funnel), "evaluate"))
        assert (result.figures.earlier, result.figures.earlier_not_comparable) == (words, None)
        if back == 1:
            rows = stored_ranks(third, result.versions["ranks"]).rows.to_pylist()
            conditions = {
                (row["protocol"], row["delay_hours"]) for row in rows if row["model"] == "champion_earlier"
            }
            assert conditions == {("replay", 0.0)} and "champion_earlier" not in result.figures.measures.mrr
    changed = small_lake.with_config(
        third, funnel=second.config.funnel.model_copy(update={"compare_back": 1})
    )
    reward = changed.config.source.model_copy(update={"reward": "2.0"})
    alone = evaluate(small_lake.at(small_lake.with_config(changed, source=reward), "evaluate")).figures
    assert alone.earlier_not_comparable == "reward changed since cycle 2024-02-10"
