"""Feeds the batches of a run to Lightning, from its first open step on.

`TrainingBatches` decides which batch belongs to a step, so a resumed run sees the batches it would have
seen without the interruption.
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
        """`workers` processes assemble batches ahead; 0: the training process does."""
        super().__init__()
        self.batches, self.first_step, self.workers = batches, first_step, workers

    def train_dataloader(self) -> DataLoader[Batch]:
        """One whole `Batch` per step."""
        steps = range(self.first_step, self.batches.total_steps)
        # The loader draws a seed for its workers; a private generator keeps torch's global one untouched.
        return DataLoader(
            self.batches,
            batch_size=None,
            sampler=steps,
            num_workers=self.workers,
            generator=torch.Generator(),
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Needed because Lightning does not move frozen dataclasses."""
        return batch.to(device)
