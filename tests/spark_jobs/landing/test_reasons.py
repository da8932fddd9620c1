"""What reasons of refused lines mean."""

from __future__ import annotations

from spark_jobs.landing.erased import ERASED
from spark_jobs.landing.event_lines import BESIDE_ANOTHER, RULES
from spark_jobs.landing.reading import EXCLUDED
from spark_jobs.landing.reasons import REASONS


def test_every_reason_for_a_line_that_would_be_an_event_alone_is_harmless_or_a_conflict():
    assert {*REASONS.not_faulty, *REASONS.conflicts} == {*BESIDE_ANOTHER, EXCLUDED, ERASED}
    assert not {*REASONS.not_faulty} & {*REASONS.conflicts, *RULES}
