"""What the reasons of refused event lines mean: the one list by which they are counted, judged and shown."""

from __future__ import annotations

from expectations.new_lines import Reasons
from spark_jobs.landing.erased import ERASED
from spark_jobs.landing.event_lines import CONFLICTS, DUPLICATE, REPEATED, REPLACED
from spark_jobs.landing.reading import EXCLUDED

REASONS = Reasons(
    excluded=EXCLUDED,
    duplicate=DUPLICATE,
    harmless=(REPEATED, REPLACED, ERASED),
    conflicts=CONFLICTS,
)
