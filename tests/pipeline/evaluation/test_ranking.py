"""The evaluation stage on a small lake without Spark."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from deltalake import DeltaTable

from expectations.tables import location
from model.data.events import read_events as read
from model.evaluation.ranks import Condition
from pipeline.evaluation import measures
from pipeline.evaluation import ranking as stage
from pipeline.evaluation.ranking import exchange, rank_yardsticks
from pipeline.evaluation.window import open_window
from pipeline.settings import Settings
from pipeline.training.fit import fit
from tests.pipeline import small_lake


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A first cycle whose candidate was trained for two epochs: its quality is of no account here."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")), items=14)
    quick = context.config.training.model_copy(update={"epochs": 2.0})
    context = small_lake.with_config(context, training=quick)
    fit(context, "candidate", context.config.model.size)
    return context


@pytest.fixture(scope="module")
def evaluated(trained):
    return stage.evaluate(trained)


def test_every_label_is_ranked_by_every_model_under_every_condition(trained, evaluated):
    rows = measures.read(trained, evaluated.versions["ranks"]).rows.to_pylist()
    conditions = {(row["model"], row["protocol"], row["delay_hours"]) for row in rows}
    models = ("candidate", "markov", "popularity_frozen", "popularity_moving")
    assert conditions == {
        (model, one.protocol, one.delay_hours)
        for model in models
        for one in (Condition("replay", 0.0), Condition("replay", 48.0), Condition("cutoff", 0.0))
    }
    labels = small_lake.USERS * small_lake.IN_WINDOW
    assert len(rows) == len(conditions) * labels
    assert {row["catalogue_size"] for row in rows} == {14}
    assert all((row["log_probability"] is None) != (row["model"] == "candidate") for row in rows)


def test_the_figures_hold_what_the_report_and_the_funnel_read(evaluated):
    figures = evaluated.figures
    assert figures["labels"] == 240 and figures["label_users"] == 60
    assert figures["tasks_not_applicable"] == ["C"]
    assert set(figures["mrr"]) == {"candidate", "markov", "popularity_frozen", "popularity_moving"}
    assert figures["mrr"]["markov"] == 1  # the ring is what the chain knows
    assert figures["latency_milliseconds"] > 0 and figures["size_megabytes"] > 0
    assert {row["protocol"] for row in figures["metrics"]} == {"replay", "cutoff"}


def test_the_delay_takes_the_history_away(trained, evaluated):
    rows = measures.read(trained, evaluated.versions["ranks"]).rows.to_pylist()
    seen = {row["delay_hours"]: set() for row in rows}
    for row in rows:
        if row["model"] == "candidate" and row["protocol"] == "replay":
            seen[row["delay_hours"]].add(row["history_length"])
            assert ("new_user" in row["slices"]) == (row["history_length"] == 0)
    assert seen == {0.0: {10, 11, 12, 13}, 48.0: {0}}
    cutoff = {row["history_length"] for row in rows if row["protocol"] == "cutoff"}
    assert cutoff == {10}


def test_evaluating_again_changes_no_table(trained, evaluated):
    address = location(trained.settings.lake, small_lake.SOURCE, "ranks")
    before = DeltaTable(address).version()
    again = stage.evaluate(trained)
    assert DeltaTable(address).version() == before == again.versions["ranks"]
    assert again.figures["mrr"] == evaluated.figures["mrr"]
    assert again.figures["metrics"] == evaluated.figures["metrics"]


def test_yardsticks_are_counted_again_only_where_the_table_holds_others(trained, evaluated, monkeypatch):
    window = open_window(trained)
    times_read = []

    def read_events(*arguments):
        times_read.append(1)
        return read(*arguments)

    monkeypatch.setattr("pipeline.evaluation.ranking.read_events", read_events)
    assert rank_yardsticks(trained, window) == evaluated.versions["ranks"]
    assert not times_read
    # A run under another configuration, broken off, leaves its own in their place.
    evaluation = trained.config.evaluation.model_copy(update={"weak_id_events": 1})
    other = replace(trained, config=trained.config.model_copy(update={"evaluation": evaluation}))
    for context in (other, trained):
        rank_yardsticks(context, open_window(context))
        assert len(times_read) == (1 if context is other else 2)
    stored = measures.read(trained, DeltaTable(location(trained.settings.lake, "tiny", "ranks")).version())
    assert stored.examples(window.judged, ("candidate", *stage.YARDSTICKS))


def test_a_candidate_with_a_score_that_is_not_finite_is_measured_as_such(trained, monkeypatch):
    opened = stage.open_model

    def broken(context, name):
        recommender, catalogue = opened(context, name)
        with torch.no_grad():
            recommender.item_tower.out_of_vocabulary.fill_(float("nan"))  # items 12 and 13
        return recommender, catalogue

    monkeypatch.setattr(stage, "open_model", broken)
    figures = stage.evaluate(trained).figures
    assert "not a finite number" in figures["not_finite"]
    assert "candidate" not in figures["mrr"] and "latency_milliseconds" not in figures


def test_exchanged_examples_are_a_permutation_between_users():
    user = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    partner = exchange(user)
    assert sorted(partner.tolist()) == list(range(user.size))
    assert (user[partner] != user).all()
    assert (exchange(user) == partner).all()
    assert exchange(np.zeros(3, np.int64)).size == 3
