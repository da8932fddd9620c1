"""Ranks of a window as they are written and kept: models, yardsticks, exchanged histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from expectations.instants import HOUR_US, microseconds
from expectations.tables import location
from model.data.events import read_events as read
from model.evaluation import spans
from model.evaluation.figures import Lists, Span
from model.evaluation.names import (
    CANDIDATE,
    CHAMPION,
    DECAYED,
    DECAYED_UNSEEN,
    FROZEN,
    MARKOV,
    MOVING,
    ModelName,
    Variant,
)
from model.evaluation.ranks import Condition, StoredRanks
from pipeline.evaluation.models import open_contender, open_reference
from pipeline.evaluation.ranking import (
    YARDSTICKS,
    applicable,
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
        version, lists = rank_contender(trained, window, candidate, conditions)
        assert lists.shown == 240 * 10 and lists.covered == 1 and 0 < lists.gini < 1
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
    alone, _ = rank_contender(first, open_window(first), open_contender(first, CANDIDATE))
    expected = ranks_of(stored_ranks(first, alone), CANDIDATE)
    longer = SequencesConfig(max_length=16, context_length=12, max_targets=8, context_buckets=32)
    later = small_lake.with_config(today, sequences=longer, training=quick)
    champion = open_reference(later, small_lake.accept(first), CANDIDATE, CHAMPION)
    assert (champion.recommender.config.max_length, champion.context_length) == (10, 2)
    beside, _ = rank_contender(later, open_window(later), champion)
    assert ranks_of(stored_ranks(later, beside), CHAMPION) == expected
    with pytest.raises(ValueError, match=r"below max_length \(10\), given 12"):
        rank_contender(later, open_window(later), replace(champion, context_length=12))


def test_a_champion_reads_the_codes_of_actions_that_it_learned(trained):
    window, champion = open_window(trained), open_contender(trained, CANDIDATE)
    version, _ = rank_contender(trained, window, replace(champion, name=CHAMPION))
    expected = ranks_of(stored_ranks(trained, version), CHAMPION)
    histories = window.examples.histories
    swap = np.array([1, 0, *range(2, len(trained.config.source.actions))])
    today = replace(
        window, examples=replace(window.examples, histories=replace(histories, action=swap[histories.action]))
    )
    version, _ = rank_contender(trained, today, replace(champion, name=CHAMPION, action_code=swap))
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
    version, described = rank_yardsticks(trained, window)
    rank_contender(trained, window, open_contender(trained, CANDIDATE))
    times_read = []

    def read_events(*arguments):
        times_read.append(1)
        return read(*arguments)

    monkeypatch.setattr("pipeline.evaluation.ranking.read_events", read_events)
    again = rank_yardsticks(trained, window)
    assert again.version >= version and again.figures == described
    assert not times_read
    # A run under another configuration that was broken off leaves other rows in their place.
    evaluation = trained.config.evaluation.model_copy(update={"weak_id_events": 1})
    other = small_lake.with_config(trained, evaluation=evaluation)
    for context, times in ((other, 1), (trained, 2)):
        rank_yardsticks(context, open_window(context))
        assert len(times_read) == times
    stored = stored_ranks(trained, latest(trained))
    assert stored.examples(window.judged, (CANDIDATE, *YARDSTICKS))


def moved_back(context, days: int):
    """The same cycle, every event up to the split so much earlier in the table `events`."""
    address = location(context.settings.lake, small_lake.SOURCE, "events")
    table, split = DeltaTable(address).to_pyarrow_table(), context.cycle.split
    at = [at - timedelta(days=days) if at <= split else at for at in table["event_at"].to_pylist()]
    moved = table.set_column(table.schema.get_field_index("event_at"), table.schema.field("event_at"), [at])
    dates = pa.array([instant.date() for instant in at])
    moved = moved.set_column(
        table.schema.get_field_index("event_date"), table.schema.field("event_date"), dates
    )
    write_deltalake(address, moved, mode="overwrite")
    record = context.finished["vocabulary"]
    versions = {**record.versions, "events": DeltaTable(address).version()}
    return replace(context, finished={**context.finished, "vocabulary": replace(record, versions=versions)})


def test_what_the_yardsticks_counted_is_described(tmp_path):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    described = {one.model: one for one in rank_yardsticks(context, open_window(context)).figures}
    assert list(described) == list(YARDSTICKS) and applicable(list(described.values())) == YARDSTICKS
    assert described[FROZEN].spans == (Span(7, 600, 12),)
    # Ten of the twelve items are shown to everybody: Σ (2 i − 13) x_i / (12 Σ x) = 1/6.
    assert described[FROZEN].lists == Lists(2400, 10 / 12, pytest.approx(1 / 6))
    assert described[MOVING].lists.covered >= 10 / 12 and described[MARKOV].lists is None
    assert described[MOVING].spans[0].days == 7 and described[MOVING].spans[0].events > 600
    assert described[MARKOV].words == "counts the whole log (540 transitions of 12 items)"
    for name in (DECAYED, DECAYED_UNSEEN):
        assert described[name].spans == (Span(None, 600, 12),)
        assert described[name].half_life_labels == 600
        tried = dict(described[name].half_life_mrr)
        assert tried[described[name].half_life_hours] == max(tried.values())


def test_with_nothing_in_the_days_before_the_split_longer_spans_are_counted(tmp_path):
    context = moved_back(small_lake.write_cycle(Settings.at(tmp_path)), days=20)
    described = {one.model: one for one in rank_yardsticks(context, open_window(context)).figures}
    assert described[FROZEN].spans == (Span(7, 0, 0), Span(28, 600, 12))
    assert described[FROZEN].not_applicable is None and described[FROZEN].is_longer
    assert (
        described[FROZEN].words
        == "counts 28 days (600 events of 12 items), since 7 days hold 0 events of 0 items"
    )


def test_a_log_that_is_too_small_leaves_no_yardstick(tmp_path, monkeypatch):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    monkeypatch.setattr(spans, "FEWEST_EVENTS", 100_000)
    described = rank_yardsticks(context, open_window(context)).figures
    assert applicable(described) == ()
    assert [span.days for span in described[1].spans] == [7, 28, 180, None]
    assert described[1].not_applicable == (
        "the whole log up to the split holds 600 events of 12 items; at least 100000 of 10 items are needed"
    )


def test_what_follows_the_split_changes_neither_the_half_life_nor_a_frozen_count(tmp_path):
    context = small_lake.write_cycle(Settings.at(tmp_path))
    before = rank_yardsticks(context, open_window(context)).figures
    address = location(context.settings.lake, small_lake.SOURCE, "events")
    rows = DeltaTable(address).to_pyarrow_table().slice(0, 1).to_pylist() * 500
    planted = [
        row | {"event_at": context.cycle.cutoff, "event_date": context.cycle.cutoff.date()} for row in rows
    ]
    schema = DeltaTable(address).to_pyarrow_table().schema
    write_deltalake(address, pa.Table.from_pylist(planted, schema), mode="append")
    after = rank_yardsticks(moved_back(context, days=0), open_window(context)).figures
    assert [one for one in after if one.model != MOVING] == [one for one in before if one.model != MOVING]


def test_exchanged_examples_are_a_permutation_between_users():
    user = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    partner = exchange(user)
    assert sorted(partner.tolist()) == list(range(user.size))
    assert (user[partner] != user).all()
    assert (exchange(user) == partner).all()
    assert exchange(np.zeros(3, np.int64)).size == 3


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A cycle whose candidate reads item signals, pair signals and the time of the request."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("reading")))
    signals = {"item_signals": True, "pair_signals": True, "request_time": True}
    context = small_lake.with_config(
        context,
        model=context.config.model.model_copy(update=signals),
        training=context.config.training.model_copy(update={"epochs": 3.0}),
    )
    fit(context, CANDIDATE, context.config.model.size)
    return context


def test_a_model_with_signals_ranks_by_what_followed_what(reading):
    """After three passes the chain that it reads tells it the next item of the ring; without it no model does."""
    window, contender = open_window(reading), open_contender(reading, CANDIDATE)
    version, shown = rank_contender(reading, window, contender)
    ranked = ranks_of(stored_ranks(reading, version), CANDIDATE)
    now = [rank for protocol, delay, _, _, rank in ranked if (protocol, delay) == ("replay", 0.0)]
    assert len(now) == 240 and np.mean(np.array(now) <= 2) > 0.9
    assert shown is not None


def test_a_champion_with_signals_reads_flags_of_the_actions_that_it_learned(reading):
    window, champion = open_window(reading), open_contender(reading, CANDIDATE)
    version, _ = rank_contender(reading, window, replace(champion, name=CHAMPION))
    expected = ranks_of(stored_ranks(reading, version), CHAMPION)
    histories = window.examples.histories
    swap = np.array([1, 0, *range(2, len(reading.config.source.actions))])
    today = replace(
        window, examples=replace(window.examples, histories=replace(histories, action=swap[histories.action]))
    )
    # Pairs of today's codes are counted first, under the same views.
    rank_contender(reading, today, champion)
    version, _ = rank_contender(reading, today, replace(champion, name=CHAMPION, action_code=swap))
    assert ranks_of(stored_ranks(reading, version), CHAMPION) == expected


def planted(context, shift: timedelta):
    """The same cycle with more rows of signals, so long after the split: half of the items a hundred times as
    popular, and each of them after the opposite one of the ring."""
    at_us = microseconds(context.cycle.split + shift)

    def popular(row):
        counts = {"events": 100 * row["events"], "decayed": [100 * value for value in row["decayed"]]}
        return row | counts | {"bucket_end_us": at_us // HOUR_US * HOUR_US}

    def followed(row):
        return row | {"event_at_us": at_us, "previous_items": [(row["item_index"] + 6) % 12]}

    record = context.finished["vocabulary"]
    versions = dict(record.versions)
    for name, change in (("item_signals", popular), ("successors", followed)):
        address = location(context.settings.lake, small_lake.SOURCE, name)
        table = DeltaTable(address, versions[name]).to_pyarrow_table()
        rows = {row["item_index"]: change(row) for row in table.to_pylist() if row["item_index"] < 6}
        write_deltalake(address, pa.Table.from_pylist([*rows.values()], table.schema), mode="append")
        versions[name] = DeltaTable(address).version()
    return replace(context, finished={**context.finished, "vocabulary": replace(record, versions=versions)})


def test_rows_of_signals_from_the_last_request_on_change_no_rank(reading):
    contender = open_contender(reading, CANDIDATE)

    def ranked(context):
        version, _ = rank_contender(context, open_window(context), contender)
        rows = stored_ranks(context, version).rows.to_pylist()
        keys = ("protocol", "delay_hours", "user_id", "position", "rank", "log_probability")
        return sorted(tuple(row[key] for key in keys) for row in rows if row["model"] == CANDIDATE)

    before = ranked(reading)
    assert ranked(planted(reading, timedelta(hours=6))) == before
    assert ranked(planted(reading, timedelta(hours=-2))) != before
