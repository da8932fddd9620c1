"""The optimizers: AdamW for dense parameters, row-wise Adam for the ID table, and one schedule for both.

The schedule is a pure function of the step. Moments are saved as a flat dictionary of tensors.

The ID table's gradient is sparse: a step reads and writes only the rows that its batch uses, and so costs
the same for a vocabulary of a thousand and of a million.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.config import TrainingConfig
from model.network.recommender import Recommender
from model.training.row_adam import STEPS as ROW_STEPS
from model.training.row_adam import RowAdam

MOMENTS = ("exp_avg", "exp_avg_sq")
STEP = "step"
SIGNAL_TERMS = ("item_term.", "pair_term.")
"""Parameters of the score's second and third term begin with these; they have a learning rate of their own."""


@dataclass(frozen=True)
class Optimizers:
    """The two optimizers of a recommender, always stepped together."""

    dense: torch.optim.AdamW
    sparse: RowAdam | torch.optim.SparseAdam

    def step(self) -> None:
        """Updates the weights by their gradients, then clears the gradients."""
        for optimizer in (self.dense, self.sparse):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def set_learning_rate(self, factor: float) -> None:
        """Sets every learning rate to `factor` times its configured peak."""
        for optimizer in (self.dense, self.sparse):
            for group in optimizer.param_groups:
                group["lr"] = factor * group["peak_learning_rate"]


def build_optimizers(model: Recommender, training: TrainingConfig, finetune: bool) -> Optimizers:
    """Optimizers for a cold start, or for fine-tuning a parent's weights.

    Weight decay applies to linear maps, not to norms, biases, single vectors and embeddings. The table's
    moments (V · d_e each) are allocated here, so that no step has to.
    """
    peak = training.finetune_learning_rate if finetune else training.learning_rate
    # Fine-tuning scales the table's learning rate by the same factor.
    table_peak = training.embedding_learning_rate * peak / training.learning_rate
    decayed = _decayed_names(model)
    signal_peak = training.signal_learning_rate * peak / training.learning_rate
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in dense_parameters(model):
        groups.setdefault((name in decayed, name.startswith(SIGNAL_TERMS)), []).append(parameter)
    dense = torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": training.weight_decay if is_decayed else 0.0,
                "peak_learning_rate": signal_peak if of_signals else peak,
            }
            for (is_decayed, of_signals), parameters in sorted(groups.items(), reverse=True)
        ],
        lr=peak,
        # On a CPU, looping over parameters takes six times as long as one kernel (2.6 ms of a 40 ms step).
        fused=not torch.cuda.is_available(),
    )
    table = model.item_tower.table.weight
    groups = [{"params": [table], "peak_learning_rate": table_peak}]
    if training.row_step_counts:
        return Optimizers(dense, RowAdam(groups, lr=table_peak))
    sparse = torch.optim.SparseAdam(groups, lr=table_peak)
    sparse.state[table] = {STEP: 0} | {moment: torch.zeros_like(table.data) for moment in MOMENTS}
    return Optimizers(dense, sparse)


def dense_parameters(model: Recommender) -> Iterator[tuple[str, nn.Parameter]]:
    """Every named parameter but the ID table."""
    table = model.item_tower.table.weight
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter is not table)


def clip_dense_gradient(model: Recommender, largest_norm: float) -> Tensor:
    """Scales the dense gradient down to `largest_norm`; returns its norm before clipping (a scalar).

    The table is not clipped: Adam's step does not depend on the scale of the gradient.
    """
    parameters = [parameter for _, parameter in dense_parameters(model)]
    return torch.nn.utils.clip_grad_norm_(parameters, largest_norm)


@dataclass(frozen=True)
class Schedule:
    """The learning rate by step: linear warm-up, a constant, then half a cosine down to 0.

    Only the fall depends on where a run ends, so that one run of constant rate shows what runs of any
    length would have come to before their fall.
    """

    total_steps: int
    warmup_steps: int
    decay_steps: int
    """0: the rate stays at its peak."""

    @classmethod
    def of(cls, total_steps: int, configured_steps: int, training: TrainingConfig) -> Schedule:
        """The schedule of a run. The warm-up follows from `configured_steps`, those of all configured passes,
        and so is the same however many passes were found."""
        return cls(
            total_steps,
            math.ceil(training.warmup_fraction * configured_steps),
            math.ceil(training.decay_fraction * total_steps),
        )

    def factor(self, step: int) -> float:
        """Share of the peak learning rate at a step counted from 0; it would reach 0 at `total_steps`.

        10 steps, 2 of warm-up, 4 of decay → 1/2, 1, 1, …, 1 at step 6, 1/2 at step 8.
        """
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        fallen = step - (self.total_steps - self.decay_steps)
        if fallen <= 0:
            return rise
        return min(rise, 0.5 * (1 + math.cos(math.pi * min(1.0, fallen / self.decay_steps))))


def moments(model: Recommender, optimizers: Optimizers) -> dict[str, Tensor]:
    """Optimizer state as a flat dictionary, `<parameter>/<moment>`, for safetensors.

    Parameters without a step so far are absent.
    """
    flat: dict[str, Tensor] = {}
    for name, parameter, optimizer in _owners(model, optimizers):
        state = optimizer.state.get(parameter, {})
        for key, value in state.items():
            flat[f"{name}/{key}"] = torch.as_tensor(value, dtype=torch.float64 if key == STEP else None)
    return flat


def load_moments(model: Recommender, optimizers: Optimizers, flat: Mapping[str, Tensor]) -> None:
    """Restores saved optimizer state, so that training continues as if it had not stopped.

    Step counts of the table that were saved in the other form, one for all rows or one a row, are converted.
    Raises ValueError for state of an unknown parameter or with another shape.
    """
    owners = {name: (parameter, optimizer) for name, parameter, optimizer in _owners(model, optimizers)}
    for address, value in _with_counts(model, optimizers, flat).items():
        name, _, key = address.rpartition("/")
        if name not in owners or key not in (*MOMENTS, STEP, ROW_STEPS):
            raise ValueError(f"optimizer state {address!r} belongs to no parameter of this model")
        parameter, optimizer = owners[name]
        state = optimizer.state[parameter]
        if key == STEP:
            is_sparse = optimizer is optimizers.sparse
            state[STEP] = int(value) if is_sparse else torch.tensor(float(value), dtype=torch.float32)
        elif key == ROW_STEPS and value.shape == parameter.shape[:1]:
            state[ROW_STEPS] = value.to(parameter.device, torch.int32, copy=True)
        elif value.shape != parameter.shape:
            raise ValueError(
                f"optimizer state {address!r} has shape {tuple(value.shape)}; "
                f"the parameter has {tuple(parameter.shape)}"
            )
        else:
            state[key] = value.to(parameter.device, parameter.dtype, copy=True)


def _with_counts(model: Recommender, optimizers: Optimizers, flat: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state with the table's step counts in the form that its optimizer keeps.

    One count of a whole table becomes that of every row with a second moment: its moments are those of many
    steps, or at worst are taken for it. Of counts a row, the largest stands for the table.
    """
    table = model.item_tower.table.weight
    name = next(name for name, parameter in model.named_parameters() if parameter is table)
    whole, by_row, square = f"{name}/{STEP}", f"{name}/{ROW_STEPS}", f"{name}/{MOMENTS[1]}"
    counted = dict(flat)
    if isinstance(optimizers.sparse, RowAdam) and whole in counted and square in counted:
        touched = (counted[square] != 0).any(dim=1)
        counted[by_row] = touched.to(torch.int32) * int(counted.pop(whole))
    elif not isinstance(optimizers.sparse, RowAdam) and by_row in counted:
        steps = counted.pop(by_row)
        counted[whole] = steps.max() if steps.numel() else torch.tensor(0)
    return counted


def _owners(
    model: Recommender, optimizers: Optimizers
) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
    for name, parameter in model.named_parameters():
        is_table = parameter is model.item_tower.table.weight
        yield name, parameter, optimizers.sparse if is_table else optimizers.dense


def _decayed_names(model: Recommender) -> set[str]:
    return {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
