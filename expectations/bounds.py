"""What losses are judged by: bounds that a source sets, or bounds that follow from what it lost before.

Pure rules over numbers. What is measured is in `expectations.losses`, what is judged in `expectations.suites.losses`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pydantic import Field

from expectations.section import Section

DEVIATIONS = 3.0
"""Standard deviations of a binomial share, or of a Poisson count, by which chance alone may pass a bound."""


MAX_FAULTY_FRACTION = 0.05
"""Largest share of a file's lines that may be faulty, where a source sets none."""


class Bounds(Section):
    """Floor and ceiling of one measure; what is not set follows from the source's past."""

    floor: float | None = None
    """Smallest allowed value."""
    ceiling: float | None = None
    """Largest allowed value; 1.0 allows every share."""


class NullBounds(Section):
    """Share of events without a value, by column of `events` that may lack one."""

    watch_seconds: Bounds = Bounds()
    completion_fraction: Bounds = Bounds()
    rating: Bounds = Bounds()
    page: Bounds = Bounds()
    position: Bounds = Bounds()
    country: Bounds = Bounds()
    device: Bounds = Bounds()

    def of(self, column: str) -> Bounds:
        """Bounds of a column."""
        return getattr(self, column)


class FirstBounds(Section):
    """Largest shares where there is no past to compare with: what no healthy log has."""

    excluded: float = Field(0.95, ge=0.0, le=1.0)
    """Of a file's lines, that `where` excludes where other files keep theirs."""
    all_excluded: float = Field(0.999, ge=0.0, le=1.0)
    """Of the lines of all files."""
    duplicates: float = Field(0.95, ge=0.0, le=1.0)
    """Of a file's lines, whose events are known."""
    repeats: float = Field(0.45, ge=0.0, le=1.0)
    """Of a file's lines, that repeat others of it; a file that was written twice has a half."""
    nulls: float = Field(0.999, ge=0.0, le=1.0)
    """Of the events of all files, without a value of a column that the mapping gives."""


class LossBounds(Section):
    """How much a landed file or a day may lose beside those before it. A file is compared with the files of earlier cycles
    that passed, those of alike names where there are enough; a day of the window with the days before the window."""

    past_files: int = Field(100, ge=1)
    """Most earlier files that a file is compared with, the last ones."""
    min_past_files: int = Field(3, ge=1)
    """Fewest earlier files by which a file is judged."""
    past_days: int = Field(56, ge=1)
    """Most days before the window that a day is compared with."""
    min_past_days: int = Field(14, ge=1)
    """Fewest such days by which a day is judged."""
    max_rise: float = Field(0.1, ge=0.0, le=1.0)
    """How far a share may rise above the largest of the past, beside what chance explains."""
    min_ratio: float = Field(0.25, ge=0.0, le=1.0)
    """How far lines and events may fall, as a ratio to the smallest of the past; its square for a day's share of labels."""
    max_ratio: float = Field(4.0, ge=1.0)
    """How far bytes an event may rise, as a ratio to the largest of the past."""
    first: FirstBounds = FirstBounds()
    """Where there are fewer earlier files, and neither floor nor ceiling is set."""
    excluded: Bounds = Bounds()
    """Share of a file's or a day's lines that `where` excludes."""
    duplicates: Bounds = Bounds()
    """Share of lines whose event is known already."""
    repeats: Bounds = Bounds()
    """Share of a file's lines that repeat another line of it exactly."""
    nulls: NullBounds = NullBounds()
    """Share of events without a value, `nulls.country`."""
    lines: Bounds = Bounds()
    """Lines of a file."""
    bytes_per_event: Bounds = Bounds()
    """Size of a file over the events that it gives."""
    events: Bounds = Bounds()
    """Events of a day."""
    labels: Bounds = Bounds()
    """Share of events that may be labels, by day; and of positions in sequences, by cycle."""
    context_only: Bounds = Bounds(ceiling=0.2)
    """Share of a cycle's new events that came too late to be labels."""


@dataclass(frozen=True)
class Judged:
    """One measure of one file or one day."""

    place: str
    """The file's path, or the day."""
    size: int
    """Lines or events that the value is of."""
    value: float
    floor: float | None = None
    ceiling: float | None = None
    why_not: str | None = None
    """Why it is not judged; None when it is."""

    @property
    def holds(self) -> bool:
        """Whether the value is within its bounds, or is not judged."""
        below = self.floor is not None and self.value < self.floor
        above = self.ceiling is not None and self.value > self.ceiling
        return not (below or above)


def share_ceiling(past: Sequence[float], size: int, max_rise: float) -> float:
    """Largest allowed share of `size` rows: as far above the largest of the past as that is above the median, a
    further `max_rise`, and what chance adds.

    Past shares 0, 0.01 and 0.02, a rise of 0.1, 100 rows: 0.03 + 0.1 = 0.13, and 3·√(0.13·0.87/100) = 0.101.
    """
    expected = min(1.0, 2 * max(past) - median(past) + max_rise)
    return min(1.0, expected + DEVIATIONS * math.sqrt(expected * (1 - expected) / max(size, 1)))


def share_floor(past: Sequence[float], size: int, min_ratio: float) -> float:
    """Smallest allowed share of `size` rows: `min_ratio` of what is usual at least, where chance does not explain less."""
    least = _least(past)
    chance = least - DEVIATIONS * math.sqrt(least * (1 - least) / max(size, 1))
    return max(0.0, min(min_ratio * least, chance))


def count_floor(past: Sequence[float], min_ratio: float) -> float:
    """Smallest allowed count: `min_ratio` of what is usual at least, where chance does not explain less.

    Past counts 400, 500 and 800, a ratio of 0.25: 400²/500 · 0.25 = 80. Past counts of 9: 9 − 3·√9 = 0.
    """
    least = _least(past)
    return max(0.0, min(min_ratio * least, least - DEVIATIONS * math.sqrt(least)))


def _least(past: Sequence[float]) -> float:
    """As far below the smallest of the past, as a ratio, as that is below the median: an uneven log may fall further."""
    middle = median(past)
    return min(past) ** 2 / middle if middle else 0.0


def whole_loss_is_chance(kept: float, size: int) -> bool:
    """Whether a file of `size` lines may give no event where this share of other files' lines are events: the chance
    of it is at least one in a thousand."""
    return max(0.0, 1 - kept) ** size >= 1e-3
