"""Metrics of ranks that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.metrics import (
    ALL,
    Group,
    MetricsError,
    RankedExamples,
    Summary,
    hit_rate,
    ndcg,
    reciprocal_rank,
    tied_rank,
)
from model.evaluation.metrics import test_loss as loss_of

TASK = Group("task", "A")
NOTHING = np.full(3, np.nan)


def ranked(**changes) -> RankedExamples:
    """Three examples of two users under two models."""
    settings = {
        "user": np.array([0, 0, 1]),
        "groups": {ALL: np.ones(3, bool), TASK: np.array([False, True, True])},
        "rank": {"new": np.array([1.0, 2.0, 4.0]), "old": np.array([2.0, 2.0, 4.0])},
        "log_probability": {"new": np.log([1 / 2, 1 / 4, 1 / 8]), "old": NOTHING},
    }
    return RankedExamples(**(settings | changes))


def test_a_rank_counts_the_higher_and_half_of_the_other_equals():
    assert tied_rank(np.array([0, 2]), np.array([0, 3])).tolist() == [1, 9 / 2]


def test_reciprocal_ranks():
    assert reciprocal_rank(np.array([1.0, 2.0, 4.0])).tolist() == [1, 1 / 2, 1 / 4]


def test_tied_hits_count_by_their_middle_rank():
    assert hit_rate(np.array([1.0, 2.5, 4.0]), 2).tolist() == [1, 0, 0]


def test_ndcg_of_one_label():
    assert ndcg(np.array([1.0, 3.0, 7.0]), 5) == pytest.approx([1, 1 / 2, 0])
    assert ndcg(np.array([1.0, 3.0, 7.0]), 10) == pytest.approx([1, 1 / 2, 1 / 3])


def test_the_loss_of_equal_scores_is_the_logarithm_of_the_number_of_items():
    assert loss_of(np.log(np.full(2, 1 / 8))) == pytest.approx(np.log([8, 8]))


def test_a_summary_pools_examples_and_also_averages_over_users():
    summary = Summary(ranked(), hits_at=(2,), samples=100)
    assert summary.value("new", ALL).value == pytest.approx(7 / 12)
    assert summary.value("new", ALL, "mrr_by_user").value == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert summary.value("new", TASK).value == pytest.approx(3 / 8)
    assert summary.value("new", ALL, "hit_rate@2").value == pytest.approx(2 / 3)
    assert summary.value("new", ALL, "test_loss").value == pytest.approx(np.log([2, 4, 8]).mean())
    assert np.isnan(summary.value("old", ALL, "test_loss").value)
    assert (summary.examples(TASK), summary.users(TASK)) == (2, 2)


def test_rare_items_weigh_more_and_labels_that_a_user_has_are_left_out_of_the_unseen():
    events, unseen = np.array([990.0, 0.0, np.nan]), {"new": np.array([1.0, np.nan, 2.0])}
    summary = Summary(ranked(label_events=events, rank_unseen=unseen), samples=100)
    assert summary.value("new", ALL, "mrr_rare").value == pytest.approx(51 / 101)
    assert summary.value("new", ALL, "mrr_unseen").value == pytest.approx(3 / 4)
    assert np.isnan(summary.value("old", ALL, "mrr_unseen").value)
    assert np.isnan(Summary(ranked(), samples=100).value("new", ALL, "mrr_rare").value)
    kept = ranked(label_events=events, rank_unseen=unseen).only(np.array([False, True, False]))
    assert kept.label_events.tolist() == [0] and np.isnan(kept.rank_unseen["new"]).all()


def test_a_difference_is_between_two_models():
    difference = Summary(ranked(), samples=100).difference("new", "old", ALL)
    assert difference.absolute.value == pytest.approx(7 / 12 - 5 / 12)
    assert difference.relative.value == pytest.approx(2 / 5)


def test_a_group_without_examples_is_not_measured():
    none = Group("slice", "new_user")
    summary = Summary(ranked(groups={ALL: np.ones(3, bool), none: np.zeros(3, bool)}), samples=100)
    assert summary.groups == (ALL,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.5])
def test_a_rank_below_1_or_not_finite_is_refused(bad):
    with pytest.raises(MetricsError, match="ranks of new"):
        Summary(ranked(rank={"new": np.array([1.0, bad, 2.0]), "old": np.ones(3)}))


def test_no_examples_are_refused():
    empty = RankedExamples(
        np.empty(0, np.int64), {ALL: np.empty(0, bool)}, {"new": np.empty(0)}, {"new": np.empty(0)}
    )
    with pytest.raises(MetricsError, match="no examples"):
        Summary(empty)


def test_only_keeps_some_examples_and_renumbers_their_users():
    kept = ranked().only(np.array([False, False, True]))
    assert kept.user.tolist() == [0]
    assert kept.rank["new"].tolist() == [4]
    assert Summary(kept, samples=100).value("new", TASK).value == 1 / 4


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (Group("all", "all"), "all labels"),
        (Group("task", "A"), "task A"),
        (Group("slice", "cold_start"), "cold-start items"),
        (Group("slice", "weak_id"), "weak-ID items"),
        (Group("slice", "new_user"), "new users"),
        (Group("slice", "country=NL"), "country=NL"),
    ],
)
def test_groups_in_words(group, words):
    assert group.words == words
