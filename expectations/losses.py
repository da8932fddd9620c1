"""What may be lost on the way from landed lines to events: what is compared, and one measure of every file or day.

Plain numbers in, judged numbers out. The measures are in `expectations.losses_of_files` and
`expectations.losses_of_days`, the expectations in `expectations.suites.losses`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from expectations.bounds import Bounds, Judged, LossBounds
from expectations.figures import Days, FileLines, LateEvents
from expectations.wording import number, percent

FEW_LINES = 20
"""A file or a day with fewer lines than this says little by its share."""
LEAST_LINES = 5
"""Fewest lines of which a file may not lose all, and by which a column's kind is known."""
_HASHED = re.compile(r"[0-9a-fA-F-]*\d[0-9a-fA-F-]*")


@dataclass(frozen=True)
class Past:
    """What is known of earlier cycles."""

    files: tuple[FileLines, ...] = ()
    """Files of earlier cycles that passed by themselves, oldest first."""
    days_after_the_last: tuple[int, ...] = ()
    """Of each earlier cycle: days of its window after the last event."""


@dataclass(frozen=True)
class Retyped:
    """A column of one file that is not what it was."""

    path: str
    column: str
    was: str
    """The most frequent kind before."""
    now: str
    share: float
    """Share of the file's lines of this kind."""

    @property
    def words(self) -> str:
        """For people: `column ts of b.jsonl was numbers and is text on 100.0 % of its lines`."""
        column = f"column {self.column} of {self.path} was {self.was} and is"
        return f"{column} {self.now} on {share_words(self.share)} of its lines"


@dataclass(frozen=True)
class Compared:
    """Columns beside those of earlier files."""

    judged: int
    """Columns of files that were compared."""
    retyped: tuple[Retyped, ...]


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
    cautions: tuple[str, ...] = ()
    """What is said of files without a past."""
    columns: Compared = Compared(0, ())
    """What columns of the new files are, beside earlier ones."""


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


def family(path: str) -> str:
    """What files of one kind have in common: their names differ in numbers and digests."""
    return _HASHED.sub("#", path)


def is_set(bounds: Bounds) -> bool:
    """Whether a source has set one of the two."""
    return bounds.floor is not None or bounds.ceiling is not None
