"""How numbers, counts and lists read."""

from __future__ import annotations

import pytest

from expectations.wording import by_frequency, listing, megabytes, number, percent, seconds, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "+12.3\u00a0%"), (-0.02, "−2.0\u00a0%"), (0.0, "0.0\u00a0%"), (float("nan"), "not a number")],
)
def test_differences_have_a_sign_and_a_true_minus(value, text):
    assert percent(value) == text


def test_a_share_has_no_sign():
    assert percent(0.062, sign=False) == "6.2\u00a0%"


def test_counts_and_measures():
    assert (number(9422), number(0.05789), number(-0.5, 1), number(None)) == ("9,422", "0.0579", "−0.5", "–")
    assert number(12345.67, 1) == "12,345.7"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (3.21, "3.2 s"),
        (59.0, "59 s"),
        (250.4, "4 min 10 s"),
        (119.7, "2 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7505.0, "2 h 5 min"),
    ],
)
def test_durations_have_two_units(value, text):
    assert seconds(value) == text


def test_sizes_are_in_megabytes():
    assert megabytes(2048.4) == "2,048 MB"


def test_lists_end_in_and():
    assert [listing(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


def test_the_most_frequent_comes_first_and_equal_counts_go_by_name():
    assert by_frequency({"b": 1, "c": 3, "a": 1}) == [("c", 3), ("a", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (999_600, "1.0 MB"),
        (1_234_567_890, "1.2 GB"),
        (5 * 10**18, "5,000 PB"),
    ],
)
def test_sizes_have_the_largest_unit_of_which_there_is_one(value, text):
    assert size(value) == text
