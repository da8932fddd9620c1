"""Derived figures of the window and of new lines, and that reading them loads no engine."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

from expectations.figures import NewLines, Window


def test_a_window_adds_up_its_actions():
    window = Window(days=2.0, action_counts={"view": 90, "like": 10})
    assert (window.events, window.events_per_day) == (100, 50.0)
    assert Window(days=2.0, action_counts={}).events_per_day == 0


def test_the_faulty_fraction_is_over_new_lines_and_0_without_one():
    assert NewLines(lines=8, faulty=1).faulty_fraction == Fraction(1, 8)
    assert NewLines(lines=0, faulty=0).faulty_fraction == 0


def test_reading_figures_loads_neither_spark_nor_great_expectations():
    script = "import sys, expectations.figures; sys.exit(bool({'pyspark', 'great_expectations'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True)
