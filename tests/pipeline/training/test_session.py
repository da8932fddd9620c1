"""What a run of training reads: its labels, its item features, and the digest of all that it depends on."""

from __future__ import annotations

from dataclasses import replace

import torch

from model.data.batches import LabelInterval
from model.data.cycle_items import load_items
from model.data.cycle_tables import CycleTables
from model.evaluation.names import CANDIDATE
from pipeline.training.session import configured_passes, inputs_digest, load_data
from pipeline.training.start import Start, find_start
from tests.model import lake
from tests.pipeline.tiny_training import config


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
