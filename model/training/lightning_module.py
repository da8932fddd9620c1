"""Wires the recommender to Lightning: the training step, progress reports, validation and saving.

The loss is the recommender's, the files are `model.training.checkpoint`'s.
"""

from __future__ import annotations

import logging
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor

from model.config import ObjectiveConfig, TrainingConfig
from model.data.batches import TrainingBatches
from model.network.batch import Batch
from model.network.catalogue import Catalogue
from model.network.recommender import Recommender
from model.training.datamodule import RefreshData
from model.training.held_out import HeldOut, held_out_mrr
from model.training.optimizer import Optimizers, Schedule, clip_dense_gradient
from model.training.progress import Progress

LogMetrics = Callable[[dict[str, float], int], None]
"""Receives figures by name, and the step they belong to."""

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BETWEEN_METRICS = 1.0


@dataclass(frozen=True)
class Plan:
    """What a run trains on and how, besides its weights and batches."""

    objective: ObjectiveConfig
    training: TrainingConfig
    schedule: Schedule
    masking_rate: float
    """Probability that an item loses its ID embedding in a step."""
    catalogue: Catalogue
    eligible: Tensor
    """int64, ascending; the items that negatives are sampled from."""
    held_out: HeldOut | None
    """Examples for held-out MRR; None when no label is held out."""


class RefreshModule(pl.LightningModule):
    """The training step, with manual optimization: two optimizers, one schedule, draws seeded by the step."""

    def __init__(self, model: Recommender, optimizers: Optimizers, plan: Plan, progress: Progress) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model, self.pair, self.plan, self.progress = model, optimizers, plan, progress
        self.catalogue, self.eligible = plan.catalogue, plan.eligible

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Both optimizers, so that Lightning moves their state to the device of the weights."""
        return [self.pair.dense, self.pair.sparse]

    def on_fit_start(self) -> None:
        """Moves the catalogue and the eligible items to the device once, and turns dropout on."""
        self.model.train()
        self.catalogue = self.plan.catalogue.to(self.device)
        self.eligible = self.plan.eligible.to(self.device)
        self.model.check(self.catalogue)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Takes the next step, number `progress.step` from 0; returns its figures."""
        training, step = self.plan.training, self.progress.step
        factor = self.plan.schedule.factor(step)
        self.pair.set_learning_rate(factor)
        loss, figures = self.model.training_loss(
            batch,
            self.catalogue,
            self.eligible,
            self.plan.objective,
            self.plan.masking_rate,
            training.seed,
            step,
        )
        self.manual_backward(loss)
        norm = clip_dense_gradient(self.model, training.gradient_clip)
        self.pair.step()
        return figures | {"gradient_norm": norm.detach(), "learning_rate_factor": torch.tensor(factor)}


class Watch(pl.Callback):
    """After every step: counts it; reports, validates and saves when due."""

    def __init__(self, say: Callable[[str], None], save: Callable[[], None]) -> None:
        """`say` shows a line; `save` writes a resumable state, every `checkpoint_every_steps` steps."""
        self.say, self.save = say, save
        self._mark = self._last_line = self._last_metrics = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, module: RefreshModule) -> None:
        """Starts the clock."""
        self._mark = self._last_line = self._last_metrics = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: RefreshModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Times steps with the loading of their batches, without validation and saving."""
        progress = module.progress
        loss = float(outputs["loss"])  # waits until an accelerator has finished the step
        now = time.perf_counter()
        point = progress.add(loss, batch.tokens, now - self._mark)
        figures: dict[str, float] = {}
        validates = progress.wants_validation and module.plan.held_out is not None
        if validates:
            mrr = held_out_mrr(module.model, module.catalogue, module.eligible, module.plan.held_out)
            progress.held_out_mrr.append([progress.step, mrr])
            figures["validation_mrr"] = mrr
        if progress.finished:
            trainer.should_stop = True  # held-out MRR may end a run before the loader is empty
        due = point and now - self._last_metrics >= SECONDS_BETWEEN_METRICS
        if validates or due or progress.finished:
            figures |= {name: float(value) for name, value in outputs.items()}
            figures |= {"loss": progress.loss, "tokens_per_second": progress.tokens_per_second}
            for logger in trainer.loggers:
                logger.log_metrics(figures, progress.step)
            self._last_metrics = now
        if now - self._last_line >= SECONDS_BETWEEN_LINES or progress.finished:
            self.say(progress.line())
            self._last_line = now
        if progress.step % module.plan.training.checkpoint_every_steps == 0 and not progress.finished:
            self.save()
        self._mark = time.perf_counter()


class CallableLogger(Logger):
    """Lightning's logger interface over a plain function, so that this module needs no tracking library."""

    def __init__(self, log_metrics: LogMetrics) -> None:
        super().__init__()
        self._log_metrics = log_metrics

    @property
    def name(self) -> str:
        """Required by Lightning."""
        return "live"

    @property
    def version(self) -> int:
        """Required by Lightning."""
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Forwards the figures."""
        self._log_metrics(metrics, step or 0)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the configuration is recorded elsewhere."""


def run(
    module: RefreshModule, batches: TrainingBatches, watch: Watch, log_metrics: LogMetrics | None
) -> None:
    """Takes all remaining steps, on one device, or those until held-out MRR has stopped to grow.

    Raises NotFiniteError when the loss is not a finite number.
    """
    training = module.plan.training
    on_gpu = torch.cuda.is_available() and training.accelerator != "cpu"
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings(), _determinism(on_gpu):
        warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice on workers and the like
        trainer = pl.Trainer(
            # "auto" might choose Apple's accelerator, which has no float64.
            accelerator="cuda" if on_gpu or training.accelerator == "cuda" else "cpu",
            devices=1,
            precision=training.precision,
            max_epochs=1,  # the loader yields the steps of all epochs
            logger=CallableLogger(log_metrics) if log_metrics is not None else False,
            log_every_n_steps=1,
            callbacks=[watch],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data = RefreshData(batches, first_step=module.progress.step, workers=2 if on_gpu else 0)
        trainer.fit(module, datamodule=data)
    if not module.progress.finished:
        raise RuntimeError(f"training stopped early, {module.progress.line()}; run the stage again to resume")


@contextmanager
def _determinism(on_gpu: bool) -> Iterator[None]:
    """Makes torch refuse operations whose result depends on the order of threads. On a GPU some operations
    have no deterministic form, so torch only warns."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=on_gpu)
    # Filling new tensors with NaN costs time, and nothing here reads unwritten memory.
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fills
