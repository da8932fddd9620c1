"""What validation measured and judged, as a cycle's record keeps it: frozen dataclasses of JSON values.

Neither Spark nor Great Expectations is imported here, so that stages and reports that only read a
record load neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


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


class KindLines(NamedTuple):
    """Sampled lines of a file whose value in a column is of one kind."""

    lines: int
    faulty: int
    """Those of them that were refused as faulty."""


@dataclass(frozen=True)
class FileLines:
    """What became of the lines of one landed file."""

    path: str
    """Relative to the landing folder."""
    size_bytes: int
    lines: int
    accepted: int
    """Lines that became events; the sum of the other counts but `repeats` and `conflicts` is what did not."""
    excluded: int = 0
    """By the mapping's `where`."""
    duplicates: int = 0
    """Their event was known with the same content."""
    faulty: int = 0
    replaced: int = 0
    """By later lines of their event, or of an erased person, or repeats where the source refuses them."""
    conflicts: int = 0
    """Lines among the faulty whose event_id is that of an event with other content."""
    repeats: int | None = None
    """Lines that repeat another of the file exactly, accepted or refused; None: not known."""
    nulls: Mapping[str, int] = field(default_factory=dict)
    """Accepted lines without a value, by mapped column."""
    readable: bool = True
    unreadable_because: str | None = None
    """Why none of its lines can be read; None where they can."""
    kinds: Mapping[str, Mapping[str, KindLines]] = field(default_factory=dict)
    """What the values of the columns that the mapping names are, by column and kind; empty where it is not known."""
    mapping: str = ""
    """Digest of the mapping that read it."""


@dataclass(frozen=True)
class DayLines:
    """What became of the lines of one UTC day, of all files."""

    day: str
    """ISO 8601."""
    events: int
    labels: int = 0
    """Events that are high-value."""
    excluded: int = 0
    duplicates: int = 0
    faulty: int = 0
    nulls: Mapping[str, int] = field(default_factory=dict)
    """Events without a value, by mapped column."""

    @property
    def lines(self) -> int:
        """Lines whose time can be read."""
        return self.events + self.excluded + self.duplicates + self.faulty


@dataclass(frozen=True)
class Days:
    """The days of a cycle's window, and how many of them lie after the last event."""

    days: tuple[DayLines, ...]
    """Every whole day of the window, those without a line too."""
    past: tuple[DayLines, ...]
    """Whole days before it, from the first with an event on."""
    after_the_last: int = 0
    """Days of the window after the last event up to the cutoff."""
    undated: int = 0
    """Excluded and duplicate lines whose day is not known."""


@dataclass(frozen=True)
class LateEvents:
    """Events that no earlier cycle had, by how late they came."""

    since: str
    """Cutoff of the cycle before, ISO 8601: what happened up to it and is new came late."""
    new: int
    by_lateness: Mapping[str, int]
    """Late ones by the time between event and that cutoff, the shortest first."""
    context_only: int
    """Late ones up to the split of the version that training continues: context, never labels."""
    context_only_labels: int
    """High-value events among them."""

    @property
    def late(self) -> int:
        """Late events."""
        return sum(self.by_lateness.values())

    @property
    def words(self) -> str:
        """For people: `5 of 400 new events came late (3 up to an hour, 2 up to a day), 0 of them as context only`."""
        told = ", ".join(f"{count:,} {lateness}" for lateness, count in self.by_lateness.items() if count)
        return (
            f"{self.late:,} of {self.new:,} new events came late{f' ({told})' if told else ''}, "
            f"{self.context_only:,} of them as context only"
        )

    @property
    def context_only_fraction(self) -> float:
        """`context_only` / `new`; 0 without a new event."""
        return self.context_only / self.new if self.new else 0.0


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
