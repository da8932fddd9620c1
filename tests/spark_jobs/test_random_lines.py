"""Random lines: whatever a file holds, each of its lines is an event or a refused line with its reason."""

from __future__ import annotations

import os
import secrets

import pytest

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from tests.spark_jobs.landed import content, job
from tests.spark_jobs.random_lines import mapping, random_files, starts_of

FORMS = ("jsonl", "csv")


def check(spark, landing, form: str, lines: int, seed: int) -> None:
    """Ingests random files of a format and accounts for each of their lines."""
    files = {file.name: file for file in random_files(form, lines, seed)}
    for file in files.values():
        file.write(landing)
    job_ = job(landing, mapping(form))
    figures = events.main(spark, job_).figures
    ingested = {row["file_id"]: row for row in content(spark, job_, INGESTED_FILES)}
    accepted: dict[str, dict[int, str]] = {name: {} for name in files}
    refused: dict[str, list[int]] = {name: [] for name in files}
    for row in content(spark, job_, EVENTS):
        name = ingested[row["file_id"]]["file_path"]
        assert row["line_number"] not in accepted[name], (seed, name, row)
        accepted[name][row["line_number"]] = row["user_id"]
    for row in content(spark, job_, REJECTED_EVENTS):
        assert row["reason"] and row["reason"].strip(), (seed, row)
        refused[row["file_path"]].append(row["line_number"])
    total = 0
    for row in ingested.values():
        name = row["file_path"]
        file, found = files[name], sorted([*accepted[name], *refused[name]])
        starts = starts_of(file, form)
        total += len(starts)
        assert found == sorted(starts), (seed, name, set(found) ^ set(starts))
        assert row["line_count"] == row["accepted_count"] + row["rejected_count"] == len(starts), (seed, name)
        for number, line in starts.items():
            if line in file.users:
                assert accepted[name].get(number) == file.users[line], (seed, name, number, line)
    assert set(files) == {row["file_path"] for row in ingested.values()}
    assert figures.lines == figures.accepted + figures.rejected == total
    assert figures.accepted > lines // 4 and figures.rejected > lines // 10, (seed, figures)


@pytest.mark.parametrize("form", FORMS)
def test_a_thousand_random_lines_are_each_an_event_or_refused(spark, landing, form):
    check(spark, landing, form, lines=500, seed=1)


@pytest.mark.proof
@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_thousand_random_lines_are_each_an_event_or_refused(spark, landing, form):
    seed = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(2**32))
    print(f"FUZZ_SEED={seed}")
    check(spark, landing, form, lines=50_000, seed=seed)
