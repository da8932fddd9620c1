"""New lines: which files count, which refusals are faults, and the reasons shown."""

from __future__ import annotations

import pytest

from expectations.figures import NewLines
from expectations.new_lines import EXAMPLES, new_lines
from expectations.tables import INGESTED_FILES, REJECTED_EVENTS
from tests.expectations.suites.frames import frame

PASSED = 7
"""Version of `ingested_files` that another cycle has passed."""


@pytest.fixture
def counted(spark):
    """A function (rows of ingested_files, rows of rejected_events) → the new lines of cycle 2024-01-05."""

    def count(files, rejected):
        ingested = frame(spark, INGESTED_FILES, files)
        return new_lines(
            ingested,
            frame(spark, REJECTED_EVENTS, rejected),
            "2024-01-05",
            PASSED,
            ("repeated",),
            ("no user",),
        )

    return count


def test_what_a_failed_cycle_ingested_counts_again_and_repeated_lines_dilute_nothing(counted):
    file = {"mapping_digest": "m", "accepted_count": 0}
    files = [
        file | {"file_id": "f", "line_count": 90, "cycle": "2023-12-20", "ingestion": 8},
        file | {"file_id": "g", "line_count": 10, "cycle": "2024-01-05"},
        file | {"file_id": "h", "line_count": 50, "cycle": "2023-12-05", "ingestion": 7},
    ]
    rejected = [{"file_id": "f", "reason": "repeated"}] * 80
    rejected += [
        {"file_id": "f", "file_path": "a.csv", "line_number": line, "reason": "no user"}
        for line in range(9, 13)
    ]
    rejected += [{"file_id": "f", "file_path": "a.csv", "line_number": 3, "reason": "no time"}]
    rejected += [{"file_id": "h", "reason": "no user"}] * 50
    new = counted(files, rejected)
    assert (new.lines, new.faulty, new.faulty_fraction) == (20, 5, 1 / 4)
    assert (new.conflicts, new.conflict_fraction) == (4, 1 / 5)
    assert new.examples == ("4 × no user (first: a.csv, line 9)", "1 × no time (first: a.csv, line 3)")


def test_the_most_frequent_reasons_are_shown(counted):
    files = [{"file_id": "f", "line_count": 100, "cycle": "2024-01-05"}]
    rejected = [
        {"file_id": "f", "file_path": "a.csv", "line_number": 10 * kind + copy, "reason": f"reason {kind}"}
        for kind in range(EXAMPLES + 2)
        for copy in range(kind + 1)
    ]
    new = counted(files, rejected)
    assert new.faulty == sum(range(1, EXAMPLES + 3))
    assert [example.split(" (")[0] for example in new.examples] == [
        f"{kind + 1} × reason {kind}" for kind in range(EXAMPLES + 1, 1, -1)
    ]


def test_without_a_new_file_there_are_no_new_lines(counted):
    passed = [{"file_id": "f", "line_count": 100, "cycle": "2023-12-05", "ingestion": 7}]
    assert counted(passed, [{"file_id": "f", "reason": "no user"}]) == NewLines(lines=0, faulty=0)
