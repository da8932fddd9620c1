"""Verdicts from ranks written by hand: ten users, one label each unless stated."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.figures import Span, Yardstick
from model.evaluation.metrics import ALL, Group, RankedExamples, Summary
from pipeline.config import FunnelConfig
from pipeline.gates import verdicts
from pipeline.gates.rules import Verdict
from tests.factories import tiny_config

USERS = 10
CONFIG = tiny_config(funnel=FunnelConfig(rungs=("25k",), min_users=8, strictness="strict"))


def measured(ranks: dict[str, float], **groups: int) -> Summary:
    """Every label of a model at one rank; `groups` gives the number of labels of each further group, by
    `task_A` or `slice_new_user`."""
    members = {ALL: np.ones(USERS, bool)}
    for name, size in groups.items():
        members[Group(*name.split("_", 1))] = np.arange(USERS) < size
    rank = {model: np.full(USERS, value) for model, value in ranks.items()}
    unknown = dict.fromkeys(rank, np.full(USERS, np.nan))
    return Summary(RankedExamples(np.arange(USERS), members, rank, unknown), samples=100)


def outcomes(judged: list[Verdict]) -> dict[str, str]:
    return {verdict.check: verdict.outcome for verdict in judged}


def compared(summary: Summary, *not_applicable: str) -> dict[str, str]:
    return outcomes(verdicts.non_inferiority(summary, "candidate", "champion", "it", CONFIG, not_applicable))


def test_a_group_without_labels_is_not_judged_and_one_without_a_task_not_applicable():
    assert compared(measured({"candidate": 2.0, "champion": 2.0}), "A") == {
        "all labels against it": "pass",
        "task A against it": "not applicable",
        "task B against it": "not judged",
        "task C against it": "not judged",
    }


def test_tasks_and_slices_are_judged_by_their_own_number_of_users():
    worse = measured(
        {"candidate": 4.0, "champion": 2.0},
        task_A=USERS,
        task_B=USERS - 1,
        slice_cold_start=8,
        slice_new_user=7,
    )
    assert compared(worse, "C") == {
        "all labels against it": "fail",
        "task A against it": "fail",
        "task B against it": "not judged",
        "task C against it": "not applicable",
        "cold-start items against it": "inconclusive",
        "new users against it": "not judged",
    }


def test_a_slice_may_lose_more_than_a_task():
    """Ranks 26 and 25 differ by (1/26 − 1/25) / (1/25) = −1/26, which lies between the margins."""
    ranked = measured({"candidate": 26.0, "champion": 25.0}, task_A=USERS, slice_weak_id=USERS)
    assert compared(ranked)["task A against it"] == "fail"
    assert compared(ranked)["weak-ID items against it"] == "pass"


@pytest.mark.parametrize(("exchanged", "outcome"), [(8.0, "pass"), (4.1, "fail"), (4.0, "fail")])
def test_a_rung_must_gain_five_percent_from_the_right_history(exchanged, outcome):
    """Rank 4 against 4.1 gains 2.5 %."""
    yardsticks = {"markov": 2.0, "popularity_moving": 4.0}
    summary = measured({"rung-25k": 4.0, "rung-25k-exchanged": exchanged} | yardsticks)
    verdict = verdicts.reads_history(summary, "rung-25k", "rung-25k-exchanged")
    assert (verdict.check, verdict.outcome) == ("own histories against other users'", outcome)
    assert verdict.margin == verdicts.HISTORY_WORTH == 0.05 and verdict.binding


@pytest.mark.parametrize(("moving", "binding"), [(2.6, True), (2.4, False), (1.0, False)])
def test_where_recency_explains_the_labels_the_own_history_is_reported_only(moving, binding):
    """A chain at rank 2 surpasses popularity at rank 2.6 by 30 %, at rank 2.4 by 20 %."""
    yardsticks = {"markov": 2.0, "popularity_moving": moving}
    summary = measured({"rung-25k": 4.0, "rung-25k-exchanged": 4.0} | yardsticks)
    verdict = verdicts.reads_history(summary, "rung-25k", "rung-25k-exchanged")
    assert (verdict.outcome, verdict.binding) == ("fail", binding)
    assert ("reported only" in verdict.explanation) != binding


def test_where_a_yardstick_has_too_little_to_count_the_own_history_is_reported_only():
    summary = measured({"rung-25k": 4.0, "rung-25k-exchanged": 4.0, "markov": 2.0})
    verdict = verdicts.reads_history(summary, "rung-25k", "rung-25k-exchanged")
    assert (verdict.outcome, verdict.binding) == ("fail", False)
    assert "cannot be compared with moving popularity: too little was counted" in verdict.explanation


def test_without_a_second_user_no_history_can_be_exchanged():
    verdict = verdicts.reads_history(measured({"rung-25k": 4.0}), "rung-25k", None)
    assert verdict.outcome == "not applicable"


ENOUGH = (Span(7, 500, 40),)
TOO_LITTLE = "the whole log up to the split holds 12 events of 3 items"


def against(summary: Summary, *described: Yardstick, must_beat=True, has_other=False) -> list[Verdict]:
    return verdicts.against_yardsticks(
        summary, "candidate", described, must_beat=must_beat, has_other=has_other
    )


def binding(judged: list[Verdict]) -> list[str]:
    return [verdict.check for verdict in judged if verdict.binding]


def test_a_yardstick_is_named_in_words_and_frozen_popularity_must_be_beaten():
    summary = measured({"candidate": 2.0, "markov": 1.0, "popularity_frozen": 4.0})
    described = Yardstick("popularity_frozen", ENOUGH), Yardstick("markov", ENOUGH)
    judged = against(summary, *described)
    assert outcomes(judged) == {
        "all labels against frozen popularity": "pass",
        "all labels against the Markov chain": "fail",
    }
    assert binding(judged) == ["all labels against frozen popularity"]
    assert binding(against(summary, *described, must_beat=False)) == []


def test_a_yardstick_that_counts_a_longer_span_says_so():
    summary = measured({"candidate": 2.0, "popularity_frozen": 4.0})
    spans = (Span(7, 3, 2), Span(28, 1204, 96))
    (verdict,) = against(summary, Yardstick("popularity_frozen", spans))
    assert verdict.outcome == "pass"
    assert verdict.explanation.endswith(
        "; the yardstick counts 28 days (1,204 events of 96 items), since 7 days hold 3 events of 2 items"
    )


def test_where_the_champion_cannot_be_compared_every_yardstick_that_counts_binds():
    summary = measured({"candidate": 2.0, "markov": 1.0, "popularity_frozen": 4.0})
    judged = verdicts.against_yardsticks(
        summary,
        "candidate",
        [
            Yardstick("popularity_frozen", ENOUGH),
            Yardstick("popularity_moving", (Span(None, 12, 3),), TOO_LITTLE),
            Yardstick("markov", ENOUGH),
        ],
        must_beat=True,
        has_other=False,
        all_binding=True,
    )
    assert [verdict.outcome for verdict in judged] == ["pass", "not applicable", "fail"]
    reason = verdicts.refusal(judged, "lenient", lambda line: None)
    assert reason.startswith("all labels against the Markov chain: fail")


def test_a_yardstick_with_too_little_to_count_is_not_applicable_and_the_others_must_be_beaten():
    summary = measured({"candidate": 2.0, "popularity_moving": 4.0, "markov": 4.0})
    judged = against(
        summary,
        Yardstick("popularity_frozen", (Span(None, 12, 3),), TOO_LITTLE),
        Yardstick("popularity_moving", ENOUGH),
        Yardstick("markov", ENOUGH),
    )
    assert [verdict.outcome for verdict in judged] == ["not applicable", "pass", "pass"]
    assert judged[0].explanation == TOO_LITTLE
    assert binding(judged)[1:] == [
        "all labels against moving popularity",
        "all labels against the Markov chain",
    ]
    assert verdicts.refusal(judged, "strict", lambda line: None) is None


@pytest.mark.parametrize("strictness", ["strict", "lenient"])
def test_where_nothing_can_be_compared_with_the_model_is_refused(strictness):
    nothing = Yardstick("popularity_frozen", (Span(None, 12, 3),), TOO_LITTLE)
    judged = against(measured({"candidate": 1.0}), nothing)
    reason = verdicts.refusal(judged, strictness, lambda line: None)
    assert reason.startswith("anything to beat: fail, no yardstick has enough events to count")
    compared = against(measured({"candidate": 1.0}), nothing, has_other=True)
    assert [verdict.outcome for verdict in compared] == ["not applicable"]


def test_a_relative_difference_is_of_the_reference():
    summary = measured({"candidate": 2.0, "champion": 4.0})
    assert verdicts.relative(summary, "candidate", "champion") == pytest.approx(1)
    assert verdicts.relative(summary, "champion", "candidate") == pytest.approx(-1 / 2)


def test_every_verdict_is_shown_and_the_configured_strictness_decides():
    lines: list[str] = []
    judged = [Verdict("task A", "pass", "good"), Verdict("task B", "inconclusive", "who knows")]
    assert verdicts.refusal(judged, "strict", lines.append) == "task B: inconclusive, who knows"
    assert verdicts.refusal(judged, "lenient", lambda line: None) is None
    assert lines == ["task A: pass, good", "task B: inconclusive, who knows"]
