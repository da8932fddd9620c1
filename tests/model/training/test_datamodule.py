"""Batches for Lightning, from a step on."""

from __future__ import annotations

import torch

from model.config import ObjectiveConfig
from model.data.batches import LabelInterval, TrainingBatches
from model.training.datamodule import RefreshData
from tests.model import lake
from tests.model.rows import sequences


def test_the_loader_yields_the_batches_from_a_step_on(tmp_path):
    data = sequences(tmp_path, lake.histories(users=12))
    interval = LabelInterval(None, 10**15)
    batches = TrainingBatches(data, ObjectiveConfig(), interval, 34, 17, epochs=2.0, seed=1)
    loaded = list(RefreshData(batches, first_step=3).train_dataloader())
    assert len(loaded) == batches.total_steps - 3 > batches.steps_per_epoch
    for step, batch in enumerate(loaded, start=3):
        assert torch.equal(batch.item_index, batches[step].item_index)
        assert torch.equal(batch.label_weight, batches[step].label_weight)
