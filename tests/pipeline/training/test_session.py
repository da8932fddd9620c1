"""What a run of training reads: its labels, its item features, and the digest of all that it depends on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import torch

from model.data.batches import LabelInterval, coverage
from model.data.cycle_items import load_items
from model.data.cycle_tables import CycleTables
from model.evaluation.names import CANDIDATE
from pipeline.cycle.signals import network
from pipeline.training.session import configured_passes, inputs_digest, load_data
from pipeline.training.start import Start, find_start
from tests.model import lake
from tests.model.signal_rows import HALF_LIVES
from tests.pipeline.tiny_training import ITEMS, config, with_signals


def test_a_cycle_trains_on_the_labels_between_its_parents_split_and_its_own(finetuned):
    second = finetuned.context
    start = find_start(second, CANDIDATE, second.config.network())
    data = load_data(second, second.config.network(), start)
    assert data.interval == LabelInterval(20 * lake.DAY, 30 * lake.DAY)


def test_a_cycle_may_train_with_the_item_features_of_its_parents_split(finetuned):
    second = finetuned.context
    earlier = config(features_as_of="parent split")
    start = find_start(second, CANDIDATE, earlier.network())
    own = load_data(second, second.config.network(), start).items
    older = load_data(replace(second, config=earlier), earlier.network(), start).items
    graph = (own.catalogue.features["graph"], older.catalogue.features["graph"])
    assert not torch.equal(*graph)
    first = CycleTables(second.settings.lake, "tiny", second.cycle.parent.cycle, second.versions)
    assert torch.equal(graph[1], load_items(first, (("graph", 8),)).catalogue.features["graph"])


def test_a_start_from_a_parent_makes_the_passes_of_fine_tuning(finetuned):
    second = finetuned.context
    start = find_start(second, CANDIDATE, second.config.network())
    assert configured_passes(second, start) == second.config.training.finetune_epochs
    assert configured_passes(second, Start()) == second.config.training.epochs


def test_the_digest_depends_on_the_configuration_the_start_and_the_run(finetuned):
    second = finetuned.context
    network = second.config.network()
    start = find_start(second, CANDIDATE, network)
    digests = {
        inputs_digest(second, network, start, {"passes": 1.0}),
        inputs_digest(second, network, start, {"passes": 2.0}),
        inputs_digest(second, network, Start(), {"passes": 1.0}),
        inputs_digest(replace(second, config=config(seed=2)), network, start, {"passes": 1.0}),
        inputs_digest(second, second.config.network("50k"), start, {"passes": 1.0}),
    }
    assert len(digests) == 5
    assert inputs_digest(second, network, start, {"passes": 1.0}) in digests


def test_a_model_with_signals_is_given_them_and_counts_pairs_of_positions(finetuned):
    second = replace(finetuned.context, config=with_signals(finetuned.context.config))
    start = find_start(second, CANDIDATE, network(second))
    data = load_data(second, network(second), start)
    assert data.items.catalogue.signals.half_lives_days == HALF_LIVES
    assert data.items.catalogue.signals.count == ITEMS
    positions = coverage(data.sequences, second.config.objective, data.interval).requests
    pairs = data.pair_signals(positions)
    assert pairs.lists.size == positions.index.size and pairs.lists.item_index.size > 0
    # The item of the position itself is the last one of its history.
    event = data.sequences.first[positions.sequence[-1]] + positions.index[-1]
    own = slice(pairs.lists.first[-1], pairs.lists.first[-1] + pairs.lists.count[-1])
    last = pairs.lists.flags[own] & 4 > 0
    assert pairs.lists.item_index[own][last].tolist() == [data.sequences.events.item_index[event]]


def test_the_models_of_a_cycle_count_the_pairs_of_a_position_once(finetuned, monkeypatch):
    lines = []
    second = replace(finetuned.context, config=with_signals(finetuned.context.config), say=lines.append)
    shutil.rmtree(second.settings.pairs_folder(second.cycle.source, second.cycle.name), ignore_errors=True)
    found = []
    for _ in range(2):
        data = load_data(second, network(second), find_start(second, CANDIDATE, network(second)))
        positions = coverage(data.sequences, second.config.objective, data.interval).requests
        found.append(data.pair_signals(positions).lists)
    first, again = (line for line in lines if line.startswith("pair signals: "))
    assert f"{positions.index.size:,} of them counted in" in first and again.endswith(", all counted before")
    assert np.array_equal(found[0].counts, found[1].counts)
    monkeypatch.setattr("pipeline.training.session.PAIR_RULES", 0)
    data = load_data(second, network(second), find_start(second, CANDIDATE, network(second)))
    data.pair_signals(positions)
    assert "of them counted in" in lines[-1]


def test_a_model_without_signals_reads_none(finetuned):
    second = finetuned.context
    data = load_data(second, second.config.network(), find_start(second, CANDIDATE, second.config.network()))
    assert data.pair_signals is None and data.items.catalogue.signals is None


def test_an_item_may_be_a_negative_from_one_window_before_its_first_event_and_is_young_for_one_after_it(
    finetuned,
):
    second = finetuned.context
    data = load_data(second, second.config.network(), Start())
    since = data.items.catalogue.exists_since_seconds.numpy()
    seen = data.sequences.seen
    window = second.cycle.window.total_seconds()
    assert (since[seen] == data.sequences.first_seen_us[seen] / 1e6 - window).all()
    assert np.isnan(since[~seen]).all() and (~seen).any()
    until = data.items.catalogue.young_until_seconds.numpy()
    assert (until[seen] == data.sequences.first_seen_us[seen] / 1e6 + window).all()
    assert np.isnan(until[~seen]).all()


def test_the_digest_depends_on_the_signals_of_a_model_that_reads_them(finetuned):
    plain = finetuned.context
    reading = replace(plain, config=with_signals(plain.config))
    what = {"passes": 1.0}

    def digests(context):
        """Under today's half-lives, under others, and of other counts of what followed what."""
        figures = replace(context.finished["item_signals"].figures, half_lives_days=(0.5, 8.0))
        record = replace(context.finished["item_signals"], figures=figures)
        shaped = replace(context, finished=context.finished | {"item_signals": record})
        vocabulary = context.finished["vocabulary"]
        versions = {**vocabulary.versions, "successors": 99}
        counted = replace(
            context, finished=context.finished | {"vocabulary": replace(vocabulary, versions=versions)}
        )
        return [inputs_digest(one, network(one), Start(), what) for one in (context, shaped, counted)]

    assert len(set(digests(reading))) == 3
    own, shaped, counted = digests(plain)
    assert own == shaped != counted
