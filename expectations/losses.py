"""What may be lost on the way from landed lines to events: what is compared, and one measure of every file or day.

Plain numbers in, judged numbers out. The measures are in `expectations.losses_of_files` and
`expectations.losses_of_days`, the expectations in `expectations.suites.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from expectations.bounds import Bounds, Judged, LossBounds
from expectations.figures import Days, FileLines, LateEvents
from expectations.wording import number, percent

FEW_LINES = 20
"""A file or a day with fewer lines than this says little by its share."""


@dataclass(frozen=True)
class Past:
    """What is known of earlier cycles."""

    files: tuple[FileLines, ...] = ()
    """Files of earlier cycles that passed by themselves, oldest first."""
    days_after_the_last: tuple[int, ...] = ()
    """Of each earlier cycle: days of its window after the last event."""


@dataclass(frozen=True)
class Losses:
    """What is judged."""

    files: tuple[FileLines, ...]
    """Files that no earlier cycle has passed."""
    days: Days
    late: LateEvents | None
    """None: it is not known."""
    past: Past = Past()
    no_late: str = "no earlier cycle to compare with"
    """Why `late` is None."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the expectations."""

    bounds: LossBounds
    max_faulty_fraction: float
    """Largest allowed share of faulty lines of a file."""
    columns: tuple[str, ...]
    """Columns of events that the source maps and that may be null."""
    format: str
    """Of the landed files."""


@dataclass(frozen=True)
class Measure:
    """One measure of every file or day, judged."""

    name: str
    words: str
    """What must be true."""
    remedy: str
    batch: str
    """`landed`: a file each; `days`: a day each."""
    judged: tuple[Judged, ...]
    what: str
    """What the value counts, after the number: `lines excluded by where`."""
    none: str
    """Why there is nothing to judge."""
    of: str | None = "lines"
    """What a share is of; None: the value is a count."""

    def show(self, value: float) -> str:
        """The value for people."""
        return number(round(value)) if self.of is None else share_words(value)

    def told(self, one: Judged) -> str:
        """The value of one file or day in words: `50.0 % of 400 lines excluded by where in a.jsonl`."""
        if self.of is None:
            return f"{self.show(one.value)} {self.what} in {one.place}"
        return f"{self.show(one.value)} of {one.size:,} {self.of} {self.what} in {one.place}"

    def allowed(self, one: Judged) -> str:
        """The bounds of one file or day in words."""
        floor = None if one.floor is None else f"at least {self.show(one.floor)}"
        ceiling = None if one.ceiling is None else f"at most {self.show(one.ceiling)}"
        return " and ".join(part for part in (floor, ceiling) if part)


share_words = partial(percent, sign=False)


def is_set(bounds: Bounds) -> bool:
    """Whether a source has set one of the two."""
    return bounds.floor is not None or bounds.ceiling is not None
