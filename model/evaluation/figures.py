"""Measures of an evaluation as plain records, for reports and later cycles; `measures` computes them.

Nothing but the standard library and words, so that reading a record loads neither NumPy nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from expectations.wording import number


class Estimate(NamedTuple):
    """A value with its two-sided 95 % interval; None for a number that is not finite."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_significant(self) -> bool:
        """Of a difference: whether its interval excludes 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Span(NamedTuple):
    """What a yardstick finds in a span of time."""

    days: int | None
    """Length; None is the whole log up to the instant."""
    events: int
    items: int
    """Distinct items of the events."""

    @property
    def words(self) -> str:
        """Its length for people."""
        return "the whole log" if self.days is None else f"{self.days} days"


@dataclass(frozen=True)
class Lists:
    """The ten best items for every label, where the gates read: what they show of the catalogue."""

    shown: int
    """Places of all lists."""
    covered: float
    """Share of the eligible items that are in some list."""
    gini: float
    """Gini coefficient of the number of lists that each eligible item is in: 0 is even, near 1 is all on one
    item."""


@dataclass(frozen=True)
class Yardstick:
    """What one yardstick counted."""

    model: str
    """Its name in `ranks`."""
    spans: tuple[Span, ...]
    """Spans of events (of the Markov chain, transitions) that were tried, the shortest first; the last one
    is counted."""
    not_applicable: str | None = None
    """Why it has too little to count, in words; None: it was compared with."""
    counts: str = "events"
    """What it counts, for people."""
    half_life_hours: float | None = None
    """Of decayed popularity; None for the others."""
    half_life_labels: int | None = None
    """High-value events before the split that the half-life was chosen on."""
    half_life_mrr: tuple[tuple[float, float], ...] = ()
    """Half-lives tried, in hours, and MRR on these events."""
    lists: Lists | None = None
    """What its lists of ten show; None where that was not counted."""

    @property
    def words(self) -> str:
        """What it counts, for people: `counts 28 days (1,204 events of 96 items), since 7 days hold 3 events
        of 2 items`."""
        *shorter, counted = self.spans
        text = f"counts {counted.words} ({self._content(counted)})"
        if shorter:
            longest = shorter[-1]
            text = f"{text}, since {longest.words} hold {self._content(longest)}"
        return text

    @property
    def is_longer(self) -> bool:
        """Whether a longer span than the first is counted."""
        return len(self.spans) > 1

    def _content(self, span: Span) -> str:
        return f"{number(span.events)} {self.counts} of {number(span.items)} items"


@dataclass(frozen=True)
class MetricRow:
    """Every metric of one model on one group of examples under one condition."""

    model: str
    """Its name in `ranks`, see `names.ModelName`."""
    protocol: str
    """`replay` or `cutoff`."""
    delay_hours: float
    """Serving delay; 0 under the cutoff protocol."""
    kind: str
    """`all`, `task` or `slice`."""
    group: str
    """The task or slice, as stored; `all` for all examples. `metrics.Group` has the words."""
    examples: int
    users: int
    values: Mapping[str, Estimate]
    """Estimates by metric: `mrr`, `mrr_by_user`, `mrr_rare`, `mrr_unseen`, `hit_rate@10`, …, `test_loss` (nats)."""

    @property
    def condition(self) -> tuple[str, float]:
        """Protocol and delay."""
        return self.protocol, self.delay_hours


@dataclass(frozen=True)
class DifferenceRow:
    """The paired difference in MRR of the first model and another, in one group under one condition."""

    model: str
    against: str
    protocol: str
    delay_hours: float
    kind: str
    group: str
    examples: int
    users: int
    absolute: Estimate
    """MRR of `model` − MRR of `against`."""
    relative: Estimate
    """(MRR of `model` − MRR of `against`) / MRR of `against`."""
    lower_bound: float | None
    """One-sided 95 % lower bound of the relative difference."""
    upper_bound: float | None
    """One-sided 95 % upper bound of the relative difference."""
    detectable: float | None
    """Relative difference that this many users would detect with a power of 80 %."""

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
    """The measures of one evaluation, whose first model is compared with each of the others."""

    mrr: Mapping[str, float] = field(default_factory=dict)
    """MRR of all examples by model, under the condition that gates read."""
    metrics: tuple[MetricRow, ...] = ()
    """By condition, group and model; the condition that gates read comes first."""
    differences: tuple[DifferenceRow, ...] = ()
    delay_curves: tuple[DelayCurve, ...] = ()
