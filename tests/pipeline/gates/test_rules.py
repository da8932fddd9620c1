"""Every outcome of every rule."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest

from model.evaluation.bootstrap import Difference, Interval
from pipeline.gates import rules
from pipeline.gates.rules import Verdict

NAN = float("nan")


def difference(value: float, low: float, high: float) -> Difference:
    """A relative difference with its one-sided bounds; no rule reads the rest."""
    wide = Interval(value, low, high)
    return Difference(absolute=wide, relative=wide, lower_bound=low, upper_bound=high, detectable=0.03)


def plain(verdict: Verdict) -> str:
    """The explanation with ordinary spaces."""
    return verdict.explanation.replace("\u00a0", " ")


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
    assert rules.paired("task A", difference(value, low, high), -0.02, 300).outcome == outcome


def test_a_missing_difference_fails():
    assert rules.paired("task A", None, -0.02, 300).outcome == "fail"


@pytest.mark.parametrize(
    ("measured", "margin", "explanation"),
    [
        (
            difference(0.01, -0.01, 0.03),
            -0.02,
            "+1.0 %, above the −2.0 % margin at 95 % confidence (lower bound −1.0 %)",
        ),
        (
            difference(-0.06, -0.09, -0.03),
            -0.02,
            "−6.0 %, below the −2.0 % margin at 95 % confidence (upper bound −3.0 %)",
        ),
        (difference(0.1, 0.01, 0.2), 0.0, "+10.0 %, above zero at 95 % confidence (lower bound +1.0 %)"),
        (
            difference(-0.01, -0.04, 0.01),
            -0.02,
            (
                "−1.0 %, with bounds −4.0 % and +1.0 % on both sides of the −2.0 % margin; "
                "with 300 users only a difference of 3.0 % could have been detected"
            ),
        ),
    ],
)
def test_an_explanation_is_one_sentence_with_its_bounds(measured, margin, explanation):
    assert plain(rules.paired("task A", measured, margin, 300)) == explanation


def test_an_inconclusive_check_says_what_could_have_been_detected():
    verdict = rules.paired("task A", difference(-0.01, -0.04, 0.01), -0.02, 31)
    assert "31 users" in verdict.explanation and "3.0\u00a0%" in verdict.explanation
    assert (verdict.low, verdict.high, verdict.detectable) == (-0.04, 0.01, 0.03)


def test_few_users_are_inconclusive_but_a_missing_measure_fails():
    narrow = difference(0.3, 0.3, 0.3)
    verdict = rules.paired("all", narrow, -0.02, users=9)
    assert verdict.outcome == "inconclusive" and "9 users are too few" in verdict.explanation
    assert verdict.detectable is None
    assert rules.paired("all", narrow, -0.02, users=10).outcome == "pass"
    assert rules.beats("all", difference(-0.3, -0.3, -0.3), users=1, binding=True).outcome == "fail"
    assert rules.paired("all", difference(NAN, 0.3, 0.3), -0.02, users=1).outcome == "fail"


def test_a_slice_of_few_users_is_reported_and_not_judged():
    bad = difference(-0.5, -0.6, -0.4)
    assert rules.paired_part("cold", bad, -0.05, users=200, min_users=200).outcome == "fail"
    few = rules.paired_part("cold", bad, -0.05, users=199, min_users=200)
    assert (few.outcome, few.value) == ("not judged", -0.5)
    assert plain(few) == "−50.0 % with 199 users; at least 200 are needed to judge"
    assert rules.paired_part("cold", None, -0.05, users=3, min_users=200).outcome == "not judged"
    assert rules.paired_part("cold", None, -0.05, users=300, min_users=200).outcome == "fail"


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
    assert rules.beats("popularity", difference(value, low, high), 300, binding=True).outcome == outcome


def test_a_model_that_is_no_better_than_a_yardstick_fails_with_these_words():
    verdict = rules.beats("popularity", difference(-0.01, -0.1, 0.1), 300, binding=True)
    assert plain(verdict) == "−1.0 %, no better than the yardstick"


@pytest.mark.parametrize(
    ("value", "outcome"), [(199.0, "pass"), (200.0, "pass"), (201.0, "fail"), (None, "fail"), (NAN, "fail")]
)
def test_a_measure_is_within_its_budget_or_fails(value, outcome):
    assert rules.within("latency", value, 200.0, "ms").outcome == outcome


def test_a_budget_is_shown_in_full():
    assert rules.within("size", 0.1337, 8192.0, "MB").explanation == "0.134 MB, within the budget of 8,192 MB"
    assert rules.within("latency", 900.4, 200.0, "ms").explanation == "900 ms, over the budget of 200 ms"


def test_a_score_that_is_not_finite_fails():
    assert rules.finite(None).outcome == "pass"
    assert rules.finite("the loss is nan").outcome == "fail"


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
    judged = verdicts(*outcomes)
    assert (rules.refusal(judged, "strict") is not None) == strict
    assert (rules.refusal(judged, "lenient") is not None) == lenient


def test_a_refusal_names_every_check_that_refuses_and_no_other():
    reason = rules.refusal(verdicts("fail", "pass", "fail", "inconclusive"), "lenient")
    assert reason == "check 0: fail, why; check 2: fail, why"


def test_a_check_that_does_not_bind_refuses_nothing():
    judged = verdicts("pass") + verdicts("fail", binding=False)
    assert rules.refusal(judged, "strict") is None


def test_a_verdict_holds_no_number_that_json_lacks():
    verdict = Verdict("task A", "fail", "the measure is not a finite number", value=NAN, margin=-0.02)
    assert json.loads(json.dumps(asdict(verdict), allow_nan=False)) == asdict(verdict)
    assert verdict.value is None
    assert (verdict.check, verdict.outcome, verdict.margin) == ("task A", "fail", -0.02)


def test_a_verdict_reads_in_one_line():
    assert Verdict("latency", "fail", "900 ms, over the budget of 200 ms").words == (
        "latency: fail, 900 ms, over the budget of 200 ms"
    )
