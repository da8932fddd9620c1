"""Every outcome of every rule."""

from __future__ import annotations

import math

import pytest

from model.evaluation.bootstrap import Difference, Interval
from pipeline.gates import rules as gates
from pipeline.gates.rules import Verdict

NAN = float("nan")


def difference(value: float, low: float, high: float) -> Difference:
    """Relative difference with its one-sided bounds; the rest is of no account to a rule."""
    wide = Interval(value, low, high)
    return Difference(absolute=wide, relative=wide, lower_bound=low, upper_bound=high, detectable=0.03)


@pytest.mark.parametrize(
    ("value", "low", "high", "outcome"),
    [
        (0.01, -0.01, 0.03, "pass"),
        (-0.01, -0.019, 0.0, "pass"),
        (-0.06, -0.09, -0.03, "fail"),
        (-0.01, -0.04, 0.01, "inconclusive"),
        (-0.01, -0.02, 0.01, "inconclusive"),  # a bound at the margin itself is not above it
        (-0.03, -0.05, -0.02, "inconclusive"),
        (NAN, -0.01, 0.03, "fail"),
        (0.01, NAN, 0.03, "fail"),
        (0.01, -0.01, NAN, "fail"),
        (math.inf, math.inf, math.inf, "fail"),
    ],
)
def test_a_paired_difference_has_three_outcomes_and_fails_closed(value, low, high, outcome):
    assert gates.paired("task A", difference(value, low, high), -0.02, 300).outcome == outcome


def test_a_missing_difference_fails():
    assert gates.paired("task A", None, -0.02, 300).outcome == "fail"


def test_an_inconclusive_check_says_what_could_have_been_detected():
    verdict = gates.paired("task A", difference(-0.01, -0.04, 0.01), -0.02, 31)
    assert "31 users" in verdict.explanation and "3.0\u00a0%" in verdict.explanation
    assert (verdict.low, verdict.high, verdict.detectable) == (-0.04, 0.01, 0.03)


def test_few_users_decide_nothing_but_a_measure_that_is_missing_fails():
    sure = difference(0.3, 0.3, 0.3)
    verdict = gates.paired("all", sure, -0.02, users=9)
    assert verdict.outcome == "inconclusive" and "9 users are too few" in verdict.explanation
    assert gates.paired("all", sure, -0.02, users=10).outcome == "pass"
    assert gates.beats("all", difference(-0.3, -0.3, -0.3), users=1, binding=True).outcome == "fail"
    assert gates.paired("all", difference(NAN, 0.3, 0.3), -0.02, users=1).outcome == "fail"


def test_a_slice_of_few_users_is_reported_and_not_judged():
    bad = difference(-0.5, -0.6, -0.4)
    assert gates.paired_part("cold", bad, -0.05, users=200, min_users=200).outcome == "fail"
    few = gates.paired_part("cold", bad, -0.05, users=199, min_users=200)
    assert (few.outcome, few.value) == ("not judged", -0.5)
    assert gates.paired_part("cold", None, -0.05, users=3, min_users=200).outcome == "not judged"
    assert gates.paired_part("cold", None, -0.05, users=300, min_users=200).outcome == "fail"


@pytest.mark.parametrize(
    ("value", "low", "high", "outcome"),
    [
        (0.1, 0.01, 0.2, "pass"),
        (0.1, -0.01, 0.2, "inconclusive"),
        (0.0, -0.1, 0.1, "fail"),
        (-0.01, -0.1, 0.1, "fail"),
        (-0.2, -0.3, -0.1, "fail"),
        (NAN, NAN, NAN, "fail"),
    ],
)
def test_beating_a_yardstick_takes_more_than_a_draw(value, low, high, outcome):
    assert gates.beats("popularity", difference(value, low, high), 300, binding=True).outcome == outcome


@pytest.mark.parametrize(
    ("value", "outcome"), [(199.0, "pass"), (200.0, "pass"), (201.0, "fail"), (None, "fail"), (NAN, "fail")]
)
def test_a_budget_is_kept_or_not(value, outcome):
    assert gates.within("latency", value, 200.0, "ms").outcome == outcome


def test_a_score_that_was_not_finite_fails():
    assert gates.finite("scores", None).outcome == "pass"
    assert gates.finite("scores", "the loss is nan").outcome == "fail"


def verdicts(*outcomes: str, binding: bool = True) -> list[Verdict]:
    return [
        Verdict(f"check {number}", outcome, "why", binding=binding) for number, outcome in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("outcomes", "strict", "lenient"),
    [
        (("pass", "pass"), False, False),
        (("pass", "fail"), True, True),
        (("pass", "inconclusive"), True, False),
        (("inconclusive", "fail"), True, True),
        (("pass", "not applicable", "not judged"), False, False),
        (("not applicable", "not judged"), True, True),
        ((), True, True),
    ],
)
def test_when_a_candidate_is_refused(outcomes, strict, lenient):
    found = verdicts(*outcomes)
    assert (gates.refusal(found, "strict") is not None) == strict
    assert (gates.refusal(found, "lenient") is not None) == lenient


def test_a_refusal_names_every_check_that_refuses_and_no_other():
    reason = gates.refusal(verdicts("fail", "pass", "fail", "inconclusive"), "lenient")
    assert reason == "check 0: fail, why; check 2: fail, why"


def test_a_check_that_does_not_bind_refuses_nothing():
    found = verdicts("pass") + verdicts("fail", binding=False)
    assert gates.refusal(found, "strict") is None


def test_a_verdict_is_plain_data_without_numbers_that_json_lacks():
    plain = Verdict("task A", "fail", "the measure is not a number", value=NAN, margin=-0.02).plain()
    assert plain["value"] is None
    assert (plain["check"], plain["outcome"], plain["margin"]) == ("task A", "fail", -0.02)
