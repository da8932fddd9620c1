"""A person leaves every table, every version that can be read, and the tables' logs."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from expectations.tables import EVENTS, INGESTED_FILES, REJECTED_EVENTS
from spark_jobs import events
from spark_jobs.erasure import OF_USERS, erase
from spark_jobs.lake import delta
from spark_jobs.landing.erased import ERASED, NO_TEXT
from tests.expectations.suites.frames import frame
from tests.spark_jobs import test_table_contracts as contracts
from tests.spark_jobs.landed import content, job, jsonl, source

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC
ANN = "ann@example.org"


def test_every_table_with_rows_of_users_is_cleared():
    assert {table.name for table in OF_USERS} == {"sequences", "evaluation_sequences", "successors", "ranks"}


def test_nothing_in_the_lake_holds_an_erased_user(spark, landing):
    jsonl(
        landing / "1.jsonl",
        *({"u": user, "i": "1", "t": T} for user in (ANN, "bob")),
        f'{{"u": "{ANN}"',
    )
    this = job(landing, source())
    events.main(spark, this)
    successors = contracts.TestSuccessors.table
    rows = frame(
        spark, successors, [contracts.TestSuccessors.row | {"user_id": user} for user in (ANN, "bob")]
    )
    delta.replace_cycle(
        spark, rows, successors, this.model_copy(update={"cycle": contracts.TestSuccessors.row["cycle"]})
    )
    erased = erase(spark, this.lake, "films", ANN)
    assert (erased.events, erased.texts, erased.rows) == (1, 1, {"successors": 1}) and erased.old_files >= 3
    assert [row["user_id"] for row in content(spark, this, EVENTS)] == ["bob"]
    refused = [(row["raw"], row["reason"]) for row in content(spark, this, REJECTED_EVENTS)]
    assert refused == [(NO_TEXT, ERASED), (NO_TEXT, "not valid JSON")]
    assert [tuple(row)[3:6] for row in content(spark, this, INGESTED_FILES)] == [(3, 1, 2)]
    for path in Path(this.lake).rglob("*.*"):
        if path.suffix == ".parquet":
            assert ANN not in str(pq.ParquetFile(path).read().to_pylist()), path
        elif path.is_file():
            assert ANN.encode() not in path.read_bytes(), path
    assert erase(spark, this.lake, "films", ANN).old_files == 0
    # The next ingestion finds the tables whole.
    again = events.main(spark, this)
    assert again.figures.files_new == 0 and again.figures.outdated_by_reason == {}
