"""Gates: what a candidate must show, as pure functions from measures to verdicts.

In: paired differences with their bounds, counts of users, measures with budgets. Out: one `Verdict`
a check, and the reason of a refusal in words. It reads no table, no clock and no configuration file.

A check of a paired difference passes when the lower one-sided 95 % bound of the relative difference
lies above the margin, fails when the upper bound lies below it, and is inconclusive otherwise, as it is
with fewer than ten users. What is missing or not a number fails; what is not applicable or not judged
does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from model.evaluation.bootstrap import Difference
from pipeline.wording import percent

Outcome = Literal["pass", "fail", "inconclusive", "not applicable", "not judged"]
Strictness = Literal["strict", "lenient"]

FEWEST_USERS = 10
"""Of fewer users a bootstrap knows too little: one user's interval has no length at all."""


@dataclass(frozen=True)
class Verdict:
    """One check of one candidate; plain values, None where there is none."""

    check: str
    """What was checked, for people: `task A against the champion`."""
    outcome: Outcome
    explanation: str
    """One sentence."""
    value: float | None = None
    """The measure; for a paired difference the relative difference, a fraction."""
    margin: float | None = None
    """What the measure is held against."""
    low: float | None = None
    """One-sided 95 % lower bound of the value."""
    high: float | None = None
    """One-sided 95 % upper bound of the value."""
    detectable: float | None = None
    """Relative difference that this many users would show in four cases of five."""
    users: int | None = None
    binding: bool = True
    """False: shown in the report, refuses nothing."""

    def __post_init__(self) -> None:
        # A verdict is kept as JSON, which knows no NaN.
        for name in ("value", "margin", "low", "high", "detectable"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)


def paired(
    check: str, difference: Difference | None, margin: float, users: int, *, binding: bool = True
) -> Verdict:
    """The three-outcome rule. None, or any bound that is not a number, fails.

    Margin −2 %: bounds (−1 %, 3 %) pass, (−9 %, −3 %) fail, (−4 %, 1 %) are inconclusive.
    """
    if difference is None:
        return Verdict(check, "fail", "the measure is missing", margin=margin, users=users, binding=binding)
    value, low, high = difference.relative.value, difference.lower_bound, difference.upper_bound
    if not all(math.isfinite(number) for number in (value, low, high)):
        return Verdict(
            check, "fail", "the measure is not a number", margin=margin, users=users, binding=binding
        )
    if users < FEWEST_USERS:
        few = f"{percent(value)}, but {users} users are too few to tell (fewer than {FEWEST_USERS})"
        return Verdict(check, "inconclusive", few, value, margin, low, high, None, users, binding)
    outcome: Outcome = "pass" if low > margin else "fail" if high < margin else "inconclusive"
    words = {
        "pass": f"{percent(value)}, surely above {percent(margin)} (lower bound {percent(low)})",
        "fail": f"{percent(value)}, surely below {percent(margin)} (upper bound {percent(high)})",
        "inconclusive": (
            f"{percent(value)}, between {percent(low)} and {percent(high)}: with {users} users only a "
            f"difference of {percent(difference.detectable, sign=False)} could have been detected"
        ),
    }
    return Verdict(
        check, outcome, words[outcome], value, margin, low, high, difference.detectable, users, binding
    )


def paired_part(
    check: str,
    difference: Difference | None,
    margin: float,
    users: int,
    min_users: int,
    *,
    binding: bool = True,
) -> Verdict:
    """`paired` for a part of the labels; under `min_users` users it is reported and not judged."""
    if users >= min_users:
        return paired(check, difference, margin, users, binding=binding)
    shown = "no value" if difference is None else percent(difference.relative.value)
    return Verdict(
        check,
        "not judged",
        f"{users} users, fewer than {min_users}; measured {shown}",
        value=None if difference is None else difference.relative.value,
        margin=margin,
        low=None if difference is None else difference.lower_bound,
        high=None if difference is None else difference.upper_bound,
        detectable=None if difference is None else difference.detectable,
        users=users,
        binding=binding,
    )


def beats(check: str, difference: Difference | None, users: int, *, binding: bool) -> Verdict:
    """Whether the candidate beats a yardstick: passes when the lower bound is above 0, fails when the
    difference itself is not, and is inconclusive between."""
    verdict = paired(check, difference, 0.0, users, binding=binding)
    if verdict.outcome == "inconclusive" and verdict.value is not None and verdict.value <= 0:
        words = f"{percent(verdict.value)}: it does not beat it"
        return Verdict(**{**asdict(verdict), "outcome": "fail", "explanation": words})
    return verdict


def within(check: str, value: float | None, budget: float, unit: str) -> Verdict:
    """Whether a measure is within its budget; a missing one or one that is not a number fails."""
    if value is None or not math.isfinite(value):
        return Verdict(check, "fail", "the measure is missing or not a number", margin=budget)
    outcome: Outcome = "pass" if value <= budget else "fail"
    return Verdict(check, outcome, f"{value:.3g} {unit} of {budget:.3g} {unit}", value, budget)


def finite(check: str, problem: str | None) -> Verdict:
    """Whether every score and loss was a finite number; `problem` says what was not."""
    if problem is None:
        return Verdict(check, "pass", "every score was a finite number")
    return Verdict(check, "fail", problem)


def not_applicable(check: str, why: str) -> Verdict:
    """A check that this source or this cycle cannot have."""
    return Verdict(check, "not applicable", why)


def not_judged(check: str, why: str, users: int = 0) -> Verdict:
    """A check for which this window has too little."""
    return Verdict(check, "not judged", why, users=users)


def refusal(verdicts: Sequence[Verdict], strictness: Strictness) -> str | None:
    """Why the verdicts refuse the candidate; None when they do not.

    A failure refuses; an inconclusive check refuses where the source is strict. No verdict at all
    refuses: nothing was shown.
    """
    binding = [verdict for verdict in verdicts if verdict.binding]
    if not any(verdict.outcome in ("pass", "fail", "inconclusive") for verdict in binding):
        return "nothing was measured"
    refusing = ("fail", "inconclusive") if strictness == "strict" else ("fail",)
    reasons = [
        f"{verdict.check}: {verdict.outcome}, {verdict.explanation}"
        for verdict in binding
        if verdict.outcome in refusing
    ]
    return "; ".join(reasons) or None
