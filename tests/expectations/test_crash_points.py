"""A process ends at the point that is wanted, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from expectations.crash_points import EXIT_CODE, VARIABLE, reach, wanted

SCRIPT = """
import atexit
from expectations.crash_points import inside, reach
atexit.register(print, "cleaned up")
reach("before-events")
with inside("items"):
    reach("before-events")
with inside("events"):
    reach("after-events")
    try:
        reach("before-events")
    finally:
        print("a way out")
print("the end")
"""


@pytest.mark.parametrize(
    ("point", "code", "said"),
    [
        ("events:before-events", EXIT_CODE, ""),
        ("events:elsewhere", 0, "a way out\nthe end\ncleaned up\n"),
        ("", 0, "a way out\nthe end\ncleaned up\n"),
    ],
)
def test_the_process_ends_at_once_at_the_point_of_the_stage(point, code, said):
    environment = os.environ | {VARIABLE: point}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout) == (code, said)
    assert (point in answer.stderr) if code else not answer.stderr


def test_without_the_variable_no_point_ends_anything():
    assert wanted() is None
    reach("before-events")
