"""Ranks of a window as they are written and kept: models, yardsticks, exchanged histories."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from deltalake import DeltaTable

from expectations.tables import location
from model.data.events import read_events as read
from model.evaluation.names import CANDIDATE, CHAMPION, ModelName, Variant
from model.evaluation.ranks import Condition, StoredRanks
from pipeline.evaluation.models import open_contender, open_reference
from pipeline.evaluation.ranking import (
    YARDSTICKS,
    exchange,
    rank_contender,
    rank_exchanged,
    rank_yardsticks,
    stored_ranks,
)
from pipeline.evaluation.window import open_window
from pipeline.settings import Settings
from pipeline.training.fit import fit
from spark_jobs.config import SequencesConfig
from tests.pipeline import small_lake

EXCHANGED = ModelName.rung("25k", Variant.EXCHANGED)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A first cycle whose candidate was trained for one epoch: no test here depends on its quality."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")), items=14)
    quick = context.config.training.model_copy(update={"epochs": 1.0})
    context = small_lake.with_config(context, training=quick)
    fit(context, CANDIDATE, context.config.model.size)
    return context


def latest(context) -> int:
    """The newest version of `ranks`."""
    return DeltaTable(location(context.settings.lake, small_lake.SOURCE, "ranks")).version()


def test_a_model_is_ranked_under_the_conditions_given_or_all_of_them(trained):
    window, candidate = open_window(trained), open_contender(trained, CANDIDATE)
    for conditions, wanted in (((window.judged,), [window.judged]), (None, list(window.ends))):
        version = rank_contender(trained, window, candidate, conditions)
        rows = [row for row in stored_ranks(trained, version).rows.to_pylist() if row["model"] == CANDIDATE]
        assert {Condition(row["protocol"], row["delay_hours"]) for row in rows} == set(wanted)
        assert len(rows) == 240 * len(wanted)
        assert {row["model_digest"] for row in rows} == {candidate.digest}
    assert version == latest(trained)


def test_a_champion_is_ranked_with_its_own_length_of_histories(tmp_path):
    """Its rows had 10 events and repeated 2; today's repeat 12, more than its own hold."""
    short = SequencesConfig(max_length=10, context_length=2, max_targets=8, context_buckets=32)
    today = small_lake.write_cycle(Settings.at(tmp_path))
    quick = today.config.training.model_copy(update={"epochs": 1.0})
    first = small_lake.with_config(today, sequences=short, training=quick)
    fit(first, CANDIDATE, first.config.model.size)
    alone = rank_contender(first, open_window(first), open_contender(first, CANDIDATE))
    expected = ranks_of(stored_ranks(first, alone), CANDIDATE)
    longer = SequencesConfig(max_length=16, context_length=12, max_targets=8, context_buckets=32)
    later = small_lake.with_config(today, sequences=longer, training=quick)
    champion = open_reference(later, small_lake.accept(first), CANDIDATE, CHAMPION)
    assert (champion.recommender.config.max_length, champion.context_length) == (10, 2)
    beside = rank_contender(later, open_window(later), champion)
    assert ranks_of(stored_ranks(later, beside), CHAMPION) == expected
    with pytest.raises(ValueError, match=r"below max_length \(10\), given 12"):
        rank_contender(later, open_window(later), replace(champion, context_length=12))


def test_a_champion_reads_the_codes_of_actions_that_it_learned(trained):
    window, champion = open_window(trained), open_contender(trained, CANDIDATE)
    version = rank_contender(trained, window, replace(champion, name=CHAMPION))
    expected = ranks_of(stored_ranks(trained, version), CHAMPION)
    histories = window.examples.histories
    swap = np.array([1, 0, *range(2, len(trained.config.source.actions))])
    today = replace(
        window, examples=replace(window.examples, histories=replace(histories, action=swap[histories.action]))
    )
    version = rank_contender(trained, today, replace(champion, name=CHAMPION, action_code=swap))
    assert ranks_of(stored_ranks(trained, version), CHAMPION) == expected


def ranks_of(stored: StoredRanks, model: str) -> list[tuple]:
    """Every stored rank of a model, in an order that does not depend on its name."""
    keys = ("protocol", "delay_hours", "user_id", "position", "rank")
    return sorted(tuple(row[key] for key in keys) for row in stored.rows.to_pylist() if row["model"] == model)


def test_exchanged_histories_are_ranked_under_their_own_name_where_gates_read(trained):
    window = open_window(trained)
    version = rank_exchanged(trained, window, open_contender(trained, CANDIDATE), EXCHANGED)
    stored = stored_ranks(trained, version)
    rows = [row for row in stored.rows.to_pylist() if row["model"] == EXCHANGED]
    assert {Condition(row["protocol"], row["delay_hours"]) for row in rows} == {window.judged}
    assert len(rows) == 240


def test_yardsticks_are_counted_again_only_where_the_table_holds_others(trained, monkeypatch):
    window = open_window(trained)
    version = rank_yardsticks(trained, window)
    rank_contender(trained, window, open_contender(trained, CANDIDATE))
    times_read = []

    def read_events(*arguments):
        times_read.append(1)
        return read(*arguments)

    monkeypatch.setattr("pipeline.evaluation.ranking.read_events", read_events)
    assert rank_yardsticks(trained, window) >= version
    assert not times_read
    # A run under another configuration that was broken off leaves other rows in their place.
    evaluation = trained.config.evaluation.model_copy(update={"weak_id_events": 1})
    other = small_lake.with_config(trained, evaluation=evaluation)
    for context, times in ((other, 1), (trained, 2)):
        rank_yardsticks(context, open_window(context))
        assert len(times_read) == times
    stored = stored_ranks(trained, latest(trained))
    assert stored.examples(window.judged, (CANDIDATE, *YARDSTICKS))


def test_exchanged_examples_are_a_permutation_between_users():
    user = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    partner = exchange(user)
    assert sorted(partner.tolist()) == list(range(user.size))
    assert (user[partner] != user).all()
    assert (exchange(user) == partner).all()
    assert exchange(np.zeros(3, np.int64)).size == 3
