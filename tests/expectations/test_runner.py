"""Judging DataFrames: each kind of check, failing keys, crashes, and what is not applicable."""

from __future__ import annotations

import pytest

from expectations.expectation import LARGEST_DOUBLE, Expectation
from expectations.runner import FAILING_KEYS_SHOWN, judge


def one(name, kind, columns=(), **bounds):
    return Expectation(name, f"words of {name}", "rows", kind, columns, ("id",), **bounds)


def cached_ids(spark):
    """Ids of what the session keeps cached; Spark drops abandoned ones of earlier tests at any time."""
    return set(spark.sparkContext._jsc.getPersistentRDDs().keySet())


@pytest.fixture(scope="module")
def result(spark):
    batches = {
        "rows": spark.sql(
            "select * from values ('a', 1, 1, 0.5D, 'x'), ('b', 2, 3, double('NaN'), 'y'), ('b', 2, 2, 2D, null) "
            "as t(id, left, right, share, letter)"
        ),
        "many": spark.range(50).selectExpr("id", "1 as left", "2 as right"),
    }
    expectations = [
        one("id_not_null", "not_null", ("id",)),
        one("letter_not_null", "not_null", ("letter",)),
        one("id_unique", "unique", ("id",)),
        one("pair_unique", "unique", ("id", "right")),
        one("compound_not_unique", "unique", ("id", "left")),
        one("share_finite", "between", ("share",), minimum=0, maximum=LARGEST_DOUBLE),
        one("left_small", "between", ("left",), maximum=2),
        one("letter_known", "in_set", ("letter",), allowed_values=("x",)),
        one("sides_equal", "equal", ("left", "right")),
        one("left_at_most_right", "at_most", ("left", "right")),
        one("right_at_most_left", "at_most", ("right", "left")),
        one("rows_many", "row_count", minimum=10),
        one("crashes", "between", ("no_such_column",), minimum=0),
        one("first_cycle", "between", ("left",), minimum=5, not_applicable="no earlier cycle"),
        Expectation("many_differ", "left is right", "many", "equal", ("left", "right"), ("id",)),
    ]
    cached = cached_ids(spark)
    judged = judge("things", batches, expectations, aggregates=("many",))
    assert cached_ids(spark) <= cached, "a batch stayed cached"
    return judged


def by_name(result):
    return {judgement.expectation.name: judgement for judgement in result.judgements}


def test_outcomes(result):
    assert {name: judgement.outcome for name, judgement in by_name(result).items()} == {
        "id_not_null": "passed",
        "letter_not_null": "failed",
        "id_unique": "failed",
        "pair_unique": "passed",
        "compound_not_unique": "failed",
        "share_finite": "failed",
        "left_small": "passed",
        "letter_known": "failed",
        "sides_equal": "failed",
        "left_at_most_right": "passed",
        "right_at_most_left": "failed",
        "rows_many": "failed",
        "crashes": "crashed",
        "first_cycle": "not_applicable",
        "many_differ": "failed",
    }


def test_failing_rows_are_named(result):
    judgements = by_name(result)
    assert judgements["letter_not_null"].keys == ({"id": "b", "letter": None},)
    assert judgements["id_unique"].keys == ({"id": "b"}, {"id": "b"})
    assert judgements["compound_not_unique"].keys == ({"id": "b", "left": 2}, {"id": "b", "left": 2})
    assert judgements["letter_known"].keys == ({"id": "b", "letter": "y"},)
    assert judgements["sides_equal"].keys == ({"id": "b", "left": 2, "right": 3},)
    assert judgements["right_at_most_left"].failing_count == 1
    assert judgements["share_finite"].observed == "nan"
    assert judgements["rows_many"].observed == "3"


def test_many_failing_rows_are_counted_and_some_named(result):
    many = by_name(result)["many_differ"]
    assert many.failing_count == 50
    assert len(many.keys) == FAILING_KEYS_SHOWN


def test_a_crash_stops_the_run_and_counts_no_rows(result):
    crashed = by_name(result)["crashes"]
    assert crashed.is_red
    assert crashed.failing_count is None
    assert "no_such_column" in crashed.message


def test_counts_and_red(result):
    assert (result.count("passed"), result.count("failed"), result.count("crashed")) == (4, 9, 1)
    assert len(result.red) == 10
    assert by_name(result)["first_cycle"].message == "no earlier cycle"


def test_names_must_be_unique_and_batches_known(spark):
    twice = [one("same", "row_count", minimum=1)] * 2
    with pytest.raises(ValueError, match="given twice: same"):
        judge("things", {"rows": spark.range(1)}, twice)
    with pytest.raises(ValueError, match=r"unknown batches \['rows'\]"):
        judge("things", {}, twice[:1])


def test_every_judgement_says_what_was_measured_or_why_nothing_was(result):
    judgements = by_name(result)
    assert all(judgement.observed or judgement.message for judgement in judgements.values())
    passed = {name: one.observed for name, one in judgements.items() if one.outcome == "passed"}
    assert passed["id_not_null"] == "3 rows" and passed["left_at_most_right"] == "3 rows"
    assert passed["left_small"] == "1 to 2 in 3 rows"
