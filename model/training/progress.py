"""Progress of a training run: curves with a bounded number of points, throughput, and lines for the log.

It is stored with every resumable state. Callers measure the seconds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from expectations import wording

CURVE_POINTS = 200
"""Most points of the loss curve; each is the mean since the previous one."""


GOOD_SHARE = 0.98
"""Share of the highest held-out MRR above which a measurement is as good."""


class NotFiniteError(ArithmeticError):
    """A loss that is not a finite number; the message gives the step and what to change."""


@dataclass
class Progress:
    """How far a run is. `seconds` and `tokens` count training alone, including before a resume."""

    total_steps: int
    steps_per_epoch: int
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[list[float]] = field(default_factory=list)
    """Pairs of step and mean loss since the previous pair."""
    held_out_mrr: list[list[float]] = field(default_factory=list)
    """Pairs of step and mean reciprocal rank of held-out labels."""
    open_loss: float = 0.0
    """Sum of the losses since the last point of the curve …"""
    open_steps: int = 0
    """… and number of them."""
    validate_every: int = 0
    """Steps between two measurements of held-out MRR; 0: it is not measured."""
    patience: int = 0
    """Measurements in a row without a better one that end the run; 0: none do."""

    def add(self, loss: float, tokens: int, seconds: float) -> bool:
        """Counts one step; returns whether it completed a point of the loss curve.

        Raises NotFiniteError for a loss that is not finite.
        """
        if not math.isfinite(loss):
            raise NotFiniteError(
                f"the loss is {loss} at step {self.step + 1} of {self.total_steps}; "
                "lower training.learning_rate"
            )
        self.step += 1
        self.tokens += tokens
        self.seconds += seconds
        self.open_loss += loss
        self.open_steps += 1
        closes = self.step % math.ceil(self.total_steps / CURVE_POINTS) == 0 or self.finished
        if closes:
            self.losses.append([self.step, self.open_loss / self.open_steps])
            self.open_loss, self.open_steps = 0.0, 0
        return closes

    @property
    def finished(self) -> bool:
        """Whether every step has been taken, or held-out MRR has stopped to grow."""
        return self.step >= self.total_steps or self.gave_up

    @property
    def wants_validation(self) -> bool:
        """Whether to measure held-out MRR after this step."""
        return self.validate_every > 0 and (self.step % self.validate_every == 0 or self.finished)

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the highest held-out MRR, the first of equals; None before the first."""
        if not self.held_out_mrr:
            return None
        step, mrr = max(self.held_out_mrr, key=lambda pair: pair[1])
        return int(step), mrr

    @property
    def latest_good(self) -> tuple[int, float] | None:
        """Step and value of the last held-out MRR that is at most 2 % below the highest; None before the first.

        Held-out MRR is measured at the full learning rate; a run that ends there lets the rate fall, which gains more
        than 2 % after more steps (docs/log.md).
        """
        if self.best is None:
            return None
        step, mrr = [pair for pair in self.held_out_mrr if pair[1] >= GOOD_SHARE * self.best[1]][-1]
        return int(step), mrr

    @property
    def gave_up(self) -> bool:
        """Whether the last `patience` measurements brought no better one."""
        if not self.patience or self.best is None:
            return False
        since = sum(step > self.best[0] for step, _ in self.held_out_mrr)
        return since >= self.patience

    @property
    def tokens_per_second(self) -> float:
        """Throughput of the whole run, not counting validation and saving."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def loss(self) -> float:
        """The newest point of the loss curve, or the mean so far; NaN before the first step."""
        if self.losses:
            return self.losses[-1][1]
        return self.open_loss / self.open_steps if self.open_steps else math.nan

    def line(self) -> str:
        """One line for the log: step, epoch, loss, throughput, time left, and held-out MRR when known."""
        left = self.seconds / self.step * (self.total_steps - self.step) if self.step else 0.0
        epochs = self.total_steps / self.steps_per_epoch
        line = (
            f"step {self.step}/{self.total_steps}, "
            f"epoch {self.step / self.steps_per_epoch:.1f}/{epochs:.3g}, "
            f"loss {self.loss:.4f}, {self.tokens_per_second:,.0f} tokens/s, {wording.seconds(round(left))} left"
        )
        return line + (f", held-out MRR {self.held_out_mrr[-1][1]:.4f}" if self.held_out_mrr else "")

    def plain(self) -> dict[str, Any]:
        """Plain JSON values; `Progress(**values)` restores it."""
        return asdict(self)
