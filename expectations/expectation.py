"""Expectations and judgements as plain data.

Suites are written in these dataclasses, `expectations.runner` translates them for Great Expectations, and
`expectations.report` shows them. Neither Spark nor Great Expectations is imported, so a suite can be read,
compared and tested without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["not_null", "unique", "between", "in_set", "equal", "at_most", "row_count"]
"""`equal` and `at_most` compare two columns of a row (a = b, a ≤ b); `unique` takes one or more columns;
`row_count` judges the whole batch; the others judge one column, and all but `not_null` ignore nulls."""

Outcome = Literal["passed", "failed", "crashed", "not_applicable"]
"""A crashed check says nothing about the data and stops the run as a failed one does."""

LARGEST_DOUBLE = 1.7976931348623157e308
"""As an upper bound it allows every finite number; Spark sorts NaN above it."""


@dataclass(frozen=True)
class Expectation:
    """One statement that must be true of one batch of rows."""

    name: str
    """Short name, unique in its suite: `event_id_unique`."""
    words: str
    """The statement as a sentence for people."""
    batch: str
    """Which of the suite's batches is judged."""
    kind: Kind
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Columns whose values name a failing row."""
    minimum: int | float | None = None
    """Smallest allowed value; None sets no bound."""
    maximum: int | float | None = None
    """Largest allowed value; None sets no bound."""
    allowed_values: tuple[str | int | bool, ...] = ()
    """The set of `in_set`."""
    observed: str = ""
    """The measured value, for suites that measure before they judge."""
    allowed_words: str = ""
    """The bounds for people, where the numbers alone are hard to read."""
    remedy: str = ""
    """What a person may do where it is not met, beginning with a verb; empty where that depends."""
    not_applicable: str | None = None
    """Why it cannot be judged; None when it can."""

    @property
    def allowed(self) -> str:
        """The allowed values, for people."""
        if self.allowed_words:
            return self.allowed_words
        first = self.columns[0] if self.columns else "rows"
        match self.kind:
            case "not_null":
                return f"{first} is not null"
            case "unique":
                return (
                    f"({', '.join(self.columns)}) occurs once"
                    if len(self.columns) > 1
                    else f"{first} occurs once"
                )
            case "in_set" if self.allowed_values == (True,):
                return f"{first} is true"
            case "in_set":
                return f"{first} is one of {', '.join(str(value) for value in self.allowed_values)}"
            case "equal":
                return f"{first} = {self.columns[1]}"
            case "at_most":
                return f"{first} ≤ {self.columns[1]}"
            case _:
                return _bounds(first, self.minimum, self.maximum)


@dataclass(frozen=True)
class Judgement:
    """The result of checking one expectation."""

    expectation: Expectation
    outcome: Outcome
    observed: str = ""
    """Measured value, or the first unexpected ones."""
    failing_count: int | None = None
    """Rows that violate it (1 for a batch); None where nothing was counted."""
    keys: tuple[dict[str, Any], ...] = ()
    """Keys of failing rows with the offending values, at most `runner.FAILING_KEYS_SHOWN`."""
    message: str = ""
    """Why it crashed, or why it is not applicable."""

    @property
    def is_red(self) -> bool:
        """Whether it stops the run."""
        return self.outcome in ("failed", "crashed")


@dataclass(frozen=True)
class SuiteResult:
    """The judgements of one table."""

    table: str
    judgements: tuple[Judgement, ...]
    seconds: float
    document: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Great Expectations' own results by batch, for its Data Docs pages."""

    @property
    def red(self) -> tuple[Judgement, ...]:
        """The judgements that stop the run."""
        return tuple(judgement for judgement in self.judgements if judgement.is_red)

    def count(self, outcome: Outcome) -> int:
        """Number of judgements with this outcome."""
        return sum(judgement.outcome == outcome for judgement in self.judgements)


def unique(batch: str, columns: tuple[str, ...], words: str, keys: tuple[str, ...] = ()) -> Expectation:
    """A grain: no two rows have equal values in all of `columns`. Failing rows are named by `keys`, by default
    the same columns."""
    return Expectation(
        name="_".join(columns) + "_unique",
        words=words,
        batch=batch,
        kind="unique",
        columns=columns,
        keys=keys or columns,
    )


def between(
    batch: str,
    keys: tuple[str, ...],
    name: str,
    column: str,
    words: str,
    minimum: float | None = None,
    maximum: float | None = None,
    allowed_words: str = "",
) -> Expectation:
    """A range of one column, bounds included; None: no bound."""
    return Expectation(
        name, words, batch, "between", (column,), keys, minimum, maximum, allowed_words=allowed_words
    )


def _bounds(name: str, minimum: float | None, maximum: float | None) -> str:
    upper = None if maximum == LARGEST_DOUBLE else maximum
    minimum = None if minimum == -LARGEST_DOUBLE else minimum
    finite = " and finite" if maximum == LARGEST_DOUBLE else ""
    match (minimum, upper):
        case (None, None):
            return f"{name} is finite" if finite else f"any {name}"
        case (None, _):
            return f"{name} ≤ {upper:,}"
        case (_, None):
            return f"{name} ≥ {minimum:,}{finite}"
        case _:
            return f"{minimum:,} ≤ {name} ≤ {upper:,}"
