"""Expectations as data: what they allow in words, and which judgements stop a run."""

from __future__ import annotations

import pytest

from expectations.expectation import (
    LARGEST_DOUBLE,
    Expectation,
    Judgement,
    SuiteResult,
    unique,
)


def expectation(kind, columns=(), **values):
    return Expectation("name", "words", "rows", kind, columns, **values)


@pytest.mark.parametrize(
    ("kind", "columns", "values", "allowed"),
    [
        ("not_null", ("a",), {}, "a is not null"),
        ("unique", ("a",), {}, "a occurs once"),
        ("unique", ("a", "b"), {}, "(a, b) occurs once"),
        ("in_set", ("a",), {"allowed_values": (1, True)}, "a is one of 1, True"),
        ("in_set", ("a",), {"allowed_values": (True,)}, "a is true"),
        ("equal", ("a", "b"), {}, "a = b"),
        ("at_most", ("a", "b"), {}, "a ≤ b"),
        ("between", ("a",), {"minimum": 1, "maximum": 10_000}, "1 ≤ a ≤ 10,000"),
        ("between", ("a",), {"minimum": 0, "maximum": LARGEST_DOUBLE}, "a ≥ 0 and finite"),
        ("between", ("a",), {"minimum": -LARGEST_DOUBLE, "maximum": LARGEST_DOUBLE}, "a is finite"),
        ("between", ("a",), {"maximum": 0.5}, "a ≤ 0.5"),
        ("between", ("a",), {}, "any a"),
        ("row_count", (), {"minimum": 1}, "rows ≥ 1"),
        ("between", ("a",), {"minimum": 1, "allowed_words": "after the war"}, "after the war"),
    ],
)
def test_what_is_allowed_is_said_in_words(kind, columns, values, allowed):
    assert expectation(kind, columns, **values).allowed == allowed


def test_failed_and_crashed_judgements_stop_the_run_and_the_others_do_not():
    outcomes = ("passed", "failed", "crashed", "not_applicable")
    judgements = tuple(Judgement(expectation("row_count"), outcome) for outcome in outcomes)
    result = SuiteResult("events", judgements, seconds=1.0)
    assert [judgement.outcome for judgement in result.red] == ["failed", "crashed"]
    assert [result.count(outcome) for outcome in outcomes] == [1, 1, 1, 1]


def test_a_grain_is_named_by_its_columns_unless_others_are_given():
    assert unique("rows", ("a", "b"), "words").keys == ("a", "b")
    named = unique("rows", ("a", "b"), "words", keys=("c",))
    assert (named.name, named.kind, named.keys) == ("a_b_unique", "unique", ("c",))
