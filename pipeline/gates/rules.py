"""Gates: what a candidate must show, as pure functions from measures to verdicts.

A check of a paired difference has three outcomes. It passes when the one-sided 95 % lower bound of the
relative difference is above the margin, fails when the upper bound is below it, and is inconclusive
otherwise, or with fewer than ten users. A measure that is missing or not a finite number fails. Checks
that are not applicable or not judged refuse nothing.

No table, clock or configuration is read here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from expectations.wording import percent
from model.evaluation.bootstrap import Difference

Outcome = Literal["pass", "fail", "inconclusive", "not applicable", "not judged"]
Strictness = Literal["strict", "lenient"]

FEWEST_USERS = 10
"""Below this a bootstrap over users says too little: with one user the interval has no width at all."""


@dataclass(frozen=True)
class Verdict:
    """One check of one model; None where a number does not apply or is not finite."""

    check: str
    """What was checked, for people: `task A against the champion`."""
    outcome: Outcome
    explanation: str
    """Why, for people; follows the outcome in one sentence."""
    value: float | None = None
    """The measure; for a paired difference the relative difference, a fraction."""
    margin: float | None = None
    """What the measure is compared with: a margin (fraction) or a budget (in the measure's unit)."""
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
        # A verdict is stored as JSON, which has no NaN.
        for name in ("value", "margin", "low", "high", "detectable"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)

    @property
    def words(self) -> str:
        """The verdict in one line: `latency: fail, 900 ms, over the budget of 200 ms`."""
        return f"{self.check}: {self.outcome}, {self.explanation}"


def paired(
    check: str, difference: Difference | None, margin: float, users: int, *, binding: bool = True
) -> Verdict:
    """Whether a relative difference is above a margin, by the three-outcome rule.

    With a margin of −2 %, bounds (−1 %, 3 %) pass, (−9 %, −3 %) fail, and (−4 %, 1 %) are inconclusive.
    """
    outcome, explanation = _three_outcomes(difference, margin, users)
    return _verdict(check, outcome, explanation, difference, margin, users, binding)


def paired_part(
    check: str, difference: Difference | None, margin: float, users: int, min_users: int
) -> Verdict:
    """`paired` for some of the labels; with fewer than `min_users` users it is reported and not judged."""
    if users >= min_users:
        return paired(check, difference, margin, users)
    value = "no value" if difference is None else percent(difference.relative.value)
    few = f"{value} with {users} users; at least {min_users} are needed to judge"
    return _verdict(check, "not judged", few, difference, margin, users)


def beats(check: str, difference: Difference | None, users: int, *, binding: bool) -> Verdict:
    """Whether a model is better than a yardstick.

    Passes when the lower bound is above 0, fails when the difference itself is not above 0, and is
    inconclusive between.
    """
    verdict = paired(check, difference, 0.0, users, binding=binding)
    if verdict.outcome == "inconclusive" and verdict.value <= 0:
        no_better = f"{percent(verdict.value)}, no better than the yardstick"
        return replace(verdict, outcome="fail", explanation=no_better)
    return verdict


def within(check: str, value: float | None, budget: float, unit: str) -> Verdict:
    """Whether a measure is within its budget; one that is missing or not a finite number fails."""
    if value is None or not math.isfinite(value):
        return Verdict(check, "fail", "the measure is missing or not a finite number", margin=budget)
    outcome: Outcome = "pass" if value <= budget else "fail"
    side = "within" if value <= budget else "over"
    words = f"{_quantity(value)} {unit}, {side} the budget of {_quantity(budget)} {unit}"
    return Verdict(check, outcome, words, value, budget)


def finite(problem: str | None) -> Verdict:
    """Whether every score and loss was a finite number; `problem` says which was not."""
    if problem is None:
        return Verdict("scores", "pass", "every score is a finite number")
    return Verdict("scores", "fail", problem)


def not_applicable(check: str, why: str) -> Verdict:
    """A check that this source or this cycle does not allow."""
    return Verdict(check, "not applicable", why)


def not_judged(check: str, why: str, users: int = 0) -> Verdict:
    """A check for which this window has too few labels."""
    return Verdict(check, "not judged", why, users=users)


def refusal(verdicts: Sequence[Verdict], strictness: Strictness) -> str | None:
    """Why the verdicts refuse the candidate; None when they do not.

    A failed check refuses; so does an inconclusive one where the source is strict. Where no binding check
    was judged, the candidate is refused too: nothing speaks for it.
    """
    binding = [verdict for verdict in verdicts if verdict.binding]
    if not any(verdict.outcome in ("pass", "fail", "inconclusive") for verdict in binding):
        return "no check could be judged"
    refusing = ("fail", "inconclusive") if strictness == "strict" else ("fail",)
    return "; ".join(verdict.words for verdict in binding if verdict.outcome in refusing) or None


def _three_outcomes(difference: Difference | None, margin: float, users: int) -> tuple[Outcome, str]:
    """Outcome and explanation of a paired difference against a margin."""
    if difference is None:
        return "fail", "the measure is missing"
    value, low, high = difference.relative.value, difference.lower_bound, difference.upper_bound
    if not all(math.isfinite(number) for number in (value, low, high)):
        return "fail", "the measure is not a finite number"
    if users < FEWEST_USERS:
        few = f"{percent(value)}, but {users} users are too few to judge; at least {FEWEST_USERS} are needed"
        return "inconclusive", few
    limit = f"the {percent(margin)} margin" if margin else "zero"
    if low > margin:
        above = f"above {limit} at 95\u00a0% confidence (lower bound {percent(low)})"
        return "pass", f"{percent(value)}, {above}"
    if high < margin:
        below = f"below {limit} at 95\u00a0% confidence (upper bound {percent(high)})"
        return "fail", f"{percent(value)}, {below}"
    detectable = percent(difference.detectable, sign=False)
    return "inconclusive", (
        f"{percent(value)}, with bounds {percent(low)} and {percent(high)} on both sides of {limit}; "
        f"with {users} users only a difference of {detectable} could have been detected"
    )


def _verdict(
    check: str,
    outcome: Outcome,
    explanation: str,
    difference: Difference | None,
    margin: float,
    users: int,
    binding: bool = True,
) -> Verdict:
    """A verdict on a paired difference, with its numbers where there is one."""
    verdict = Verdict(check, outcome, explanation, margin=margin, users=users, binding=binding)
    if difference is None:
        return verdict
    return replace(
        verdict,
        value=difference.relative.value,
        low=difference.lower_bound,
        high=difference.upper_bound,
        detectable=difference.detectable if users >= FEWEST_USERS else None,
    )


def _quantity(value: float) -> str:
    """Three digits, or whole numbers with their thousands separated: 4.21, 8,192."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
