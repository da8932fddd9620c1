"""Hands the batches of a run to Lightning, from the step at which the run stands.

Comes in: `TrainingBatches` and the first step. Goes out: a data loader. Which batch belongs to a
step is not decided here, so a run that is resumed meets the batches that it would have met.
"""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from model.data.batches import TrainingBatches
from model.network.batch import Batch


class RefreshData(pl.LightningDataModule):
    """The batches of the steps [first_step, total_steps), in order, over all epochs."""

    def __init__(self, batches: TrainingBatches, first_step: int = 0, workers: int = 0) -> None:
        """`workers` processes assemble batches ahead; 0 does it in the training process."""
        super().__init__()
        self.batches, self.first_step, self.workers = batches, first_step, workers

    def train_dataloader(self) -> DataLoader[Batch]:
        """Yields one whole `Batch` at a time."""
        steps = range(self.first_step, self.batches.total_steps)
        # A loader draws a seed for its workers; from a generator of its own, it disturbs nobody's.
        return DataLoader(
            self.batches,
            batch_size=None,
            sampler=steps,
            num_workers=self.workers,
            generator=torch.Generator(),
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Lightning does not look into frozen dataclasses."""
        return batch.to(device)
