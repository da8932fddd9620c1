"""The sample of `check-source`: which files, and how many of their lines."""

from __future__ import annotations

import bz2
import gzip

import pytest

from pipeline.sources import sampling
from spark_jobs.config import EventMapping
from spark_jobs.landing.files import LandedFile

T = 1_767_225_600  # 2026-01-01 00:00:00 UTC


def test_many_files_are_sampled_from_the_first_to_the_last():
    files = [LandedFile(f"/{n:03d}", f"{n:03d}", 1, str(n), None) for n in range(100)]
    assert [file.name for file in sampling.spread(files, 4)] == ["000", "033", "066", "099"]
    assert sampling.spread(files[:3], 4) == files[:3]


@pytest.mark.parametrize("kind", ["plain", "gz", "bz2", "parquet"])
def test_of_each_file_the_first_lines_are_read(spark, landing_folder, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sampling, "SAMPLE_LINES", 3)
    lines = "".join(f'{{"u": "a", "i": "{n}", "t": {T}}}\n' for n in range(9)).encode()
    if kind == "parquet":
        rows = spark.range(9).selectExpr("'a' AS u", "id AS i", f"{T} AS t")
        rows.coalesce(1).write.parquet(str(landing_folder / "log"))
        name, form = "log/*.parquet", "parquet"
    else:
        name, form = {"plain": "a.jsonl", "gz": "a.jsonl.gz", "bz2": "a.jsonl.bz2"}[kind], "jsonl"
        packed = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress}[kind](lines)
        (landing_folder / name).write_bytes(packed)
    mapping = EventMapping(files=(name,), format=form, user="u", item="i", time="t")
    read = sampling.sample(spark, str(landing_folder), mapping, {"item": "i"}, "events", tmp_path)
    (part,) = read.mapped.parts
    assert sorted(str(row["item"]) for row in part.collect()) == ["0", "1", "2"]


@pytest.fixture
def landing_folder(tmp_path):
    folder = tmp_path / "landing"
    folder.mkdir()
    return folder
