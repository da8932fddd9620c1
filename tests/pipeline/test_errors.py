"""How an error becomes the one line that a person reads."""

from __future__ import annotations

import errno

from pipeline.cycle.definition import CycleError
from pipeline.errors import Exit, explanation, one_line
from pipeline.settings import Settings


def test_an_error_of_the_project_explains_itself(tmp_path):
    assert explanation(CycleError("pass --cutoff"), Settings.at(tmp_path)) == "pass --cutoff"


def test_an_unexpected_error_does_not(tmp_path):
    assert explanation(KeyError("events"), Settings.at(tmp_path)) is None


def test_a_full_disk_is_explained_whoever_raises_it(tmp_path):
    error = RuntimeError("cannot write")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "is full" in explanation(error, Settings.at(tmp_path))


def test_a_message_of_several_lines_is_one_line_and_a_crash_its_first():
    error = ValueError("first\n  second")
    assert one_line(error, str(error)) == "first second"
    assert one_line(error, None) == "first"
    assert one_line(ValueError(), None) == "ValueError"


def test_exit_codes_are_the_ones_that_schedulers_rely_on():
    assert (Exit.DONE, Exit.FAILED, Exit.TRY_LATER, Exit.REFUSED) == (0, 1, 75, 99)
