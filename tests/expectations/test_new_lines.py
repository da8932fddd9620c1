"""New files: which count, what became of their lines, which refusals are faults, and the reasons shown."""

from __future__ import annotations

import pytest

from expectations.figures import NewLines
from expectations.new_lines import EXAMPLES, Reasons, counted, examples, new_files
from expectations.tables import INGESTED_FILES, REJECTED_EVENTS
from tests.expectations.suites.frames import frame

PASSED = 7
"""Version of `ingested_files` that another cycle has passed."""
REASONS = Reasons("excluded", "known", harmless=("erased",), conflicts=("no user",))


@pytest.fixture
def measured(spark):
    """A function (rows of ingested_files, rows of rejected_events) → files and examples of cycle 2024-01-05."""

    def measure(files, rejected):
        tables = frame(spark, INGESTED_FILES, files), frame(spark, REJECTED_EVENTS, rejected)
        of_new = (*tables, "2024-01-05", PASSED, REASONS)
        return new_files(*of_new), examples(*of_new)

    return measure


def test_what_a_failed_cycle_ingested_counts_again_and_known_lines_dilute_nothing(measured):
    file = {"mapping_digest": "m", "accepted_count": 0}
    files = [
        file | {"file_id": "f", "file_path": "a.csv", "line_count": 90, "cycle": "2023-12-20", "ingestion": 8}
        | {"size_bytes": 900, "accepted_count": 3, "repeat_count": 2, "null_counts": '{"country": 1}'},
        file | {"file_id": "g", "file_path": "b.csv", "line_count": 12, "cycle": "2024-01-05"}
        | {"excluded_count": 2, "duplicate_count": 0},
        file | {"file_id": "h", "file_path": "c.csv", "line_count": 50, "cycle": "2023-12-05", "ingestion": 7},
    ]  # fmt: skip
    rejected = [{"file_id": "f", "reason": "known"}] * 78
    rejected += [{"file_id": "f", "reason": "excluded"}, {"file_id": "f", "reason": "erased"}]
    rejected += [
        {"file_id": "f", "file_path": "a.csv", "line_number": line, "reason": "no user"}
        for line in range(9, 13)
    ]
    rejected += [{"file_id": "f", "file_path": "a.csv", "line_number": 3, "reason": "no time"}]
    rejected += [{"file_id": "h", "reason": "no user"}] * 50
    (first, second), shown = measured(files, rejected)
    assert (first.path, first.lines, first.accepted, first.size_bytes) == ("a.csv", 90, 3, 900)
    assert (first.duplicates, first.excluded, first.replaced, first.faulty) == (78, 1, 1, 5)
    assert (first.repeats, first.nulls, first.readable) == (2, {"country": 1}, True)
    # What was recorded when the file was ingested counts; a file of an earlier release has no repeats.
    assert (second.excluded, second.duplicates, second.repeats, second.nulls) == (2, 0, None, {})
    assert counted((first, second)) == NewLines(lines=20, faulty=5, conflicts=4)
    assert shown == ("4 × no user (first: a.csv, line 9)", "1 × no time (first: a.csv, line 3)")


def test_the_most_frequent_reasons_are_shown(measured):
    files = [{"file_id": "f", "line_count": 100, "cycle": "2024-01-05"}]
    rejected = [
        {"file_id": "f", "file_path": "a.csv", "line_number": 10 * kind + copy, "reason": f"reason {kind}"}
        for kind in range(EXAMPLES + 2)
        for copy in range(kind + 1)
    ]
    _, shown = measured(files, rejected)
    assert [example.split(" (")[0] for example in shown] == [
        f"{kind + 1} × reason {kind}" for kind in range(EXAMPLES + 1, 1, -1)
    ]


def test_without_a_new_file_there_are_no_new_lines(measured):
    passed = [{"file_id": "f", "line_count": 100, "cycle": "2023-12-05", "ingestion": 7}]
    files, shown = measured(passed, [{"file_id": "f", "reason": "no user"}])
    assert (files, shown, counted(files)) == ((), (), NewLines(lines=0, faulty=0))
