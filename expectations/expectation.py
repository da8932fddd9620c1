"""What an expectation is, as plain data: which batch, which kind of check, which bounds, in words.

In: nothing. Out: the dataclasses that the suites are written in, that `expectations.runner` hands
to Great Expectations and that `expectations.report` shows. It knows neither Spark nor Great
Expectations, so that a suite can be read, compared and tested without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from expectations.tables import Table

Kind = Literal["not_null", "unique", "between", "in_set", "equal", "at_most", "row_count"]
"""`equal` and `at_most` compare two columns of a row (a = b, a ≤ b); `unique` takes a compound key;
`row_count` judges the batch; the others judge one column and pass over nulls, except `not_null`."""

Outcome = Literal["passed", "failed", "crashed", "not_applicable"]
"""A check that crashed says nothing about the data, and is no pass."""

LARGEST_DOUBLE = 1.7976931348623157e308
"""As an upper bound it lets every finite number through; Spark sorts NaN above it."""


@dataclass(frozen=True)
class Expectation:
    """One thing that must be true of one batch of rows."""

    name: str
    """Short and unique in its suite, `event_id_unique`."""
    words: str
    """What must be true, as a sentence for people."""
    batch: str
    """Which of the suite's batches is judged."""
    kind: Kind
    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    """Columns whose values name a failing row."""
    minimum: int | float | None = None
    """Lower bound, itself allowed; None does not bind."""
    maximum: int | float | None = None
    allowed_values: tuple[str | int | bool, ...] = ()
    """For `in_set`."""
    observed: str = ""
    """What was measured, where the suite's maker knows it already."""
    allowed_words: str = ""
    """The bounds for people, where the numbers alone say little."""
    not_applicable: str | None = None
    """Why it cannot be judged; None: it is judged."""

    @property
    def allowed(self) -> str:
        """What the check lets through, for people."""
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
    """How one expectation came out."""

    expectation: Expectation
    outcome: Outcome
    observed: str = ""
    """Measured value, or the first unexpected ones."""
    failing_count: int | None = None
    """Rows (or the one batch) that broke it; None where nothing was counted."""
    keys: tuple[dict[str, Any], ...] = ()
    """Keys of failing rows with the offending values, at most 20."""
    message: str = ""
    """Why it crashed, or why it is not applicable."""

    @property
    def is_red(self) -> bool:
        """Whether it must stop the run."""
        return self.outcome in ("failed", "crashed")


@dataclass(frozen=True)
class SuiteResult:
    """One table's judgements."""

    table: str
    judgements: tuple[Judgement, ...]
    seconds: float
    document: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Great Expectations' own results by batch, for its Data Docs pages."""

    @property
    def red(self) -> tuple[Judgement, ...]:
        return tuple(judgement for judgement in self.judgements if judgement.is_red)

    def count(self, outcome: Outcome) -> int:
        return sum(judgement.outcome == outcome for judgement in self.judgements)


def never_null(table: Table, batch: str, keys: tuple[str, ...]) -> tuple[Expectation, ...]:
    """One expectation for each column that the table's contract says is never null."""
    return tuple(
        Expectation(
            name=f"{column.name}_not_null",
            words=f"{column.name} is never null ({column.doc.split(';')[0]})",
            batch=batch,
            kind="not_null",
            columns=(column.name,),
            keys=keys,
        )
        for column in table.columns
        if not column.nullable
    )


def unique(batch: str, columns: tuple[str, ...], words: str, keys: tuple[str, ...] = ()) -> Expectation:
    """A grain: no two rows agree in all of `columns`, which name a failing row unless `keys` do."""
    return Expectation(
        name="_".join(columns) + "_unique",
        words=words,
        batch=batch,
        kind="unique",
        columns=columns,
        keys=keys or columns,
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
