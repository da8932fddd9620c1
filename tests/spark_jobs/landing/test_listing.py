"""What the listing of landed files tells apart."""

from __future__ import annotations

import os

from spark_jobs.landing.listing import addresses, listing, vanished_folders


def names(landing, *patterns):
    return [os.path.relpath(path, landing) for path, *_ in listing(str(landing), patterns, no_session)]


def no_session():
    raise AssertionError("local files need no Spark")


def test_every_file_of_a_pattern_and_below_a_folder_is_listed_once(tmp_path):
    for name in ("a.jsonl", "b.csv", "day/c.jsonl", "table.parquet/part-0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert names(tmp_path, "*.jsonl", "**/*.jsonl") == ["a.jsonl", "day/c.jsonl"]
    assert names(tmp_path, "*.parquet", "file:" + str(tmp_path / "b.csv")) == [
        "b.csv",
        "table.parquet/part-0",
    ]
    assert names(tmp_path / "nothing", "*") == []


def test_other_bytes_of_the_same_size_and_time_are_another_listing(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("one")
    os.utime(file, (1, 1))
    before = listing(str(tmp_path), ["*"], no_session)
    assert listing(str(tmp_path), ["*"], no_session) == before
    file.write_text("two")
    os.utime(file, (1, 1))
    assert listing(str(tmp_path), ["*"], no_session) != before


def test_patterns_become_absolute(tmp_path):
    assert addresses(f"file://{tmp_path}/", ["x/*.csv", "/y/../z.csv", "s3://b/k"]) == sorted(
        [f"{tmp_path}/x/*.csv", "/z.csv", "s3://b/k"]
    )


def test_a_folder_that_files_came_from_must_be_there(tmp_path):
    (tmp_path / "here").mkdir()
    patterns = ["here/*.csv", "gone/*/x.csv", "never/*.csv", "s3://bucket/*"]
    ingested = ["here/1.csv", "gone/day/x.csv"]
    assert vanished_folders(str(tmp_path), patterns, ingested) == [f"{tmp_path}/gone"]
    assert vanished_folders(f"{tmp_path}/none", ["*.csv"], ["1.csv"]) == [f"{tmp_path}/none"]
    assert vanished_folders(str(tmp_path), ["*.csv"], ["1.csv"]) == []
