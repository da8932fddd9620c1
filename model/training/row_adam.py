"""Adam for the rows of a table, each with a step count of its own.

`torch.optim.SparseAdam` keeps one count for the whole table: a row that is first touched at step 1,000 then
has moments of one step and the bias correction of a thousand, and its first update is about three times too
large. A row's count here is the number of steps that touched it.

Shape legend
    V  rows of the table    d_e  width    R  rows that a step touches
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MEAN, SQUARE, STEPS = "exp_avg", "exp_avg_sq", "row_steps"
"""State of the table: both moments [V, d_e], and the steps of each row, int32 [V]."""


class RowAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1) on the rows of a sparse gradient; others keep value and state.

    A step costs R · d_e. State is allocated when it is made, so that no step has to.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        for group in self.param_groups:
            for table in group["params"]:
                self.state[table] = _new_state(table)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Updates the rows that have a gradient. Raises ValueError for a dense gradient."""
        if closure is not None:
            raise ValueError("RowAdam takes no closure")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                if not table.grad.is_sparse:
                    raise ValueError("RowAdam updates rows; the gradient must be sparse")
                gradient = table.grad.coalesce()
                self._update(table, gradient.indices()[0], gradient.values(), group)

    def _update(self, table: nn.Parameter, rows: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """`rows` int64 [R], distinct; `gradient` [R, d_e]."""
        state, (beta_mean, beta_square) = self.state[table], group["betas"]
        count = state[STEPS][rows] + 1
        mean = state[MEAN][rows].lerp(gradient, 1 - beta_mean)
        square = state[SQUARE][rows].mul(beta_square).addcmul(gradient, gradient, value=1 - beta_square)
        # In float64: of 1 − 0.999, a first step's, float32 keeps only half of the digits.
        steps = count.double()
        bias_mean, bias_square = ((1 - beta**steps).to(mean.dtype)[:, None] for beta in group["betas"])
        change = (mean / bias_mean) / ((square / bias_square).sqrt() + group["eps"])
        state[STEPS].index_copy_(0, rows, count)
        state[MEAN].index_copy_(0, rows, mean)
        state[SQUARE].index_copy_(0, rows, square)
        table.index_copy_(0, rows, table[rows] - group["lr"] * change)


def _new_state(table: Tensor) -> dict[str, Tensor]:
    return {
        STEPS: torch.zeros(table.shape[0], dtype=torch.int32, device=table.device),
        MEAN: torch.zeros_like(table.data),
        SQUARE: torch.zeros_like(table.data),
    }
