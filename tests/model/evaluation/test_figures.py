"""What a reader of measures may ask of them."""

from __future__ import annotations

import sys
from subprocess import run

import pytest

from model.evaluation.figures import Estimate, MetricRow


@pytest.mark.parametrize(
    ("low", "high", "is_significant"),
    [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.3, False), (0.0, 0.3, False), (None, None, False)],
)
def test_a_difference_is_significant_when_its_interval_excludes_zero(low, high, is_significant):
    assert Estimate(0.2, low, high).is_significant == is_significant


def test_a_row_names_its_condition():
    row = MetricRow("candidate", "replay", 48.0, "all", "all", 4, 2, {"mrr": Estimate(1 / 2)})
    assert row.condition == ("replay", 48.0)


def test_reading_measures_loads_neither_numpy_nor_torch():
    program = "import model.evaluation.figures, sys; print(sorted({'numpy', 'torch'} & set(sys.modules)))"
    assert run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
