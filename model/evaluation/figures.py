"""Measures of an evaluation as plain records: what `ranks` came to, for reports and later cycles.

Standard library only, so that a reader of a record loads neither NumPy nor torch. `measures` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Estimate(NamedTuple):
    """A value with its two-sided 95 % interval; None where it is not a number."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the interval of a difference excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class MetricRow:
    """Every metric of one model on one group of examples under one condition."""

    model: str
    """Name in `ranks`."""
    protocol: str
    """`replay` or `cutoff`."""
    delay_hours: float
    """Serving delay; 0 under the cutoff protocol."""
    kind: str
    """`all`, `task` or `slice`."""
    group: str
    """Name of the task or slice; `all` for all examples."""
    examples: int
    users: int
    values: Mapping[str, Estimate]
    """Estimates by metric: `mrr`, `mrr_by_user`, `hit_rate@10`, …, `test_loss` (nats)."""

    @property
    def condition(self) -> tuple[str, float]:
        """Protocol and delay."""
        return self.protocol, self.delay_hours


@dataclass(frozen=True)
class DifferenceRow:
    """The paired difference in MRR between the first model and another."""

    model: str
    against: str
    protocol: str
    delay_hours: float
    kind: str
    group: str
    examples: int
    users: int
    absolute: Estimate
    relative: Estimate
    """(MRR of `model` − MRR of `against`) / MRR of `against`."""
    lower_bound: float | None
    """One-sided 95 % lower bound of the relative difference."""
    upper_bound: float | None
    detectable: float | None
    """Relative difference that this many users would show in four cases of five."""

    @property
    def condition(self) -> tuple[str, float]:
        """Protocol and delay."""
        return self.protocol, self.delay_hours


@dataclass(frozen=True)
class DelayPoint:
    """MRR at one serving delay."""

    delay_hours: float
    mrr: Estimate
    relative: Estimate
    """Paired relative difference to the smallest delay."""


@dataclass(frozen=True)
class DelayCurve:
    """MRR of one model and group by serving delay, over examples that keep a history at the largest."""

    model: str
    kind: str
    group: str
    examples: int
    share: float
    """Fraction of the group's examples that keep a history at the largest delay."""
    points: tuple[DelayPoint, ...]


@dataclass(frozen=True)
class Measures:
    """What the ranks of one cycle came to; the first model is compared with the others."""

    mrr: Mapping[str, float] = field(default_factory=dict)
    """MRR of all examples by model, under the condition that gates read."""
    metrics: tuple[MetricRow, ...] = ()
    """The condition that gates read comes first."""
    differences: tuple[DifferenceRow, ...] = ()
    delay_curves: tuple[DelayCurve, ...] = ()
