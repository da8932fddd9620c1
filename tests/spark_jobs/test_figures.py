"""Figures are a record: plain JSON, in field order, without Spark."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

from spark_jobs.figures import EventsFigures, ItemFeaturesFigures, JobResult


def test_a_result_is_a_record_as_it_is():
    figures = EventsFigures(
        files_new=1,
        files_read_again=0,
        files_skipped=2,
        files_landed_again=0,
        bytes=512,
        lines=3,
        accepted=2,
        rejected=1,
        rejected_by_reason={"not JSON": 1},
        absent_columns=("device",),
        new_columns=("watch_ms",),
        retyped=("ts is text",),
        files_withdrawn=4,
        outdated_by_reason={"mapping": 5},
        events_left=6,
        repeated=7,
        replaced=8,
        empty_files=("a.csv",),
    )
    record = json.loads(json.dumps(asdict(JobResult({"events": 4}, figures))))
    assert record["versions"] == {"events": 4}
    assert record["figures"] == {
        "files_new": 1,
        "files_read_again": 0,
        "files_skipped": 2,
        "files_landed_again": 0,
        "bytes": 512,
        "lines": 3,
        "accepted": 2,
        "rejected": 1,
        "rejected_by_reason": {"not JSON": 1},
        "absent_columns": ["device"],
        "new_columns": ["watch_ms"],
        "retyped": ["ts is text"],
        "files_withdrawn": 4,
        "outdated_by_reason": {"mapping": 5},
        "events_left": 6,
        "repeated": 7,
        "replaced": 8,
        "empty_files": ["a.csv"],
    }


def test_a_record_reads_back_as_the_same_figures():
    figures = ItemFeaturesFigures(
        known_items=3, texts_encoded=0, items=4, vectors_by_modality={"language": 0, "graph": 4}
    )
    assert ItemFeaturesFigures(**json.loads(json.dumps(asdict(figures)))) == figures


def test_reading_figures_loads_no_spark():
    script = "import sys, spark_jobs.figures; sys.exit('pyspark' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
