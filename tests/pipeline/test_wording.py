"""How numbers read."""

from __future__ import annotations

import pytest

from pipeline.wording import megabytes, number, percent, seconds


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.1234, "+12.3\u00a0%"), (-0.02, "−2.0\u00a0%"), (0.0, "0.0\u00a0%"), (float("nan"), "not a number")],
)
def test_shares_have_a_sign_and_a_true_minus(value, told):
    assert percent(value) == told


def test_a_share_alone_has_no_sign():
    assert percent(0.062, sign=False) == "6.2\u00a0%"


def test_counts_measures_durations_and_sizes():
    assert (number(9422), number(0.05789), number(-0.5, 1), number(None)) == ("9,422", "0.0579", "−0.5", "–")
    assert (seconds(3.21), seconds(250.4)) == ("3.2 s", "4 min 10 s")
    assert megabytes(2048.4) == "2,048 MB"
