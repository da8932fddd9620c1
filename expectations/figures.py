"""What validation measured and judged, as a cycle's record keeps it: frozen dataclasses of JSON values.

Neither Spark nor Great Expectations is imported here, so that stages and reports that only read a
record load neither.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """What a cycle saw in its evaluation window."""

    days: float
    """W, days."""
    action_counts: dict[str, int]
    """Events by action."""

    @property
    def events(self) -> int:
        """Events of the window."""
        return sum(self.action_counts.values())

    @property
    def events_per_day(self) -> float:
        """Mean over the window."""
        return self.events / self.days


@dataclass(frozen=True)
class Drift:
    """A window against earlier ones; `expectations.drift.drift` makes one."""

    volume_ratio: float
    """Events a day, over the median of the earlier windows'."""
    action_mix_distance: float
    """Half the sum of absolute differences of action shares, from the earlier windows' pooled mix.

    Earlier 60 views and 40 likes, now 90 and 10: (|0.9 − 0.6| + |0.1 − 0.4|) / 2 = 0.3.
    """


@dataclass(frozen=True)
class NewLines:
    """Lines of the landed files that no earlier cycle has passed."""

    lines: int
    """Duplicates and lines that the mapping excludes are not counted."""
    faulty: int
    """Lines refused among them."""
    examples: tuple[str, ...] = ()
    """The most frequent reasons: how many lines, and where the first of them is."""
    conflicts: int = 0
    """Lines among the faulty whose event_id is that of an event with other content."""

    @property
    def faulty_fraction(self) -> float:
        """`faulty` / `lines`; 0 without a line."""
        return self.faulty / self.lines if self.lines else 0.0

    @property
    def conflict_fraction(self) -> float:
        """`conflicts` / `lines`; 0 without a line."""
        return self.conflicts / self.lines if self.lines else 0.0


@dataclass(frozen=True)
class JudgementRow:
    """One judgement without its failing rows, which only the page shows."""

    table: str
    name: str
    """Name of the expectation, unique within its table."""
    words: str
    """What must be true, as a sentence."""
    outcome: str
    """`passed`, `failed`, `crashed` or `not_applicable`."""
    observed: str
    """Measured value, or the first unexpected ones; may be empty."""
    allowed: str
    """Bounds that it was judged by."""
    message: str
    """Why it crashed or is not applicable; else empty."""
