"""Numbered lines of text: the same however a file is cut into blocks."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from spark_jobs.landing.files import find
from spark_jobs.landing.text_lines import escaped, files_with, numbered_lines, text_problem
from tests.spark_jobs.landed import jsonl


def test_line_numbers_do_not_depend_on_how_a_file_is_cut_nor_on_what_changes_between_queries(
    spark, landing, monkeypatch
):
    jsonl(landing / "a.jsonl", *[f"line {number}" for number in range(1, 3001)])
    files = find(spark, str(landing), ("*.jsonl",))
    monkeypatch.setattr("spark_jobs.landing.scanning._SMALLEST_BLOCK", 7000)
    lines, counts = numbered_lines(spark, files)
    assert counts == {files[0].file_id: 3000}
    # Cores that join, or settings that change, before the second query.
    for key, value in (
        ("spark.sql.files.maxPartitionBytes", "900"),
        ("spark.sql.files.minPartitionNum", "50"),
        ("spark.sql.leafNodeDefaultParallelism", "9"),
    ):
        spark.conf.set(key, value)
    try:
        assert lines.rdd.getNumPartitions() > 2
        rows = lines.collect()
    finally:
        for key in ("maxPartitionBytes", "minPartitionNum"):
            spark.conf.unset(f"spark.sql.files.{key}")
        spark.conf.unset("spark.sql.leafNodeDefaultParallelism")
    assert sorted(row["__line_number"] for row in rows) == list(range(1, 3001))
    assert all(row["__raw"] == f"line {row['__line_number']}" for row in rows)


def test_carriage_returns_are_dropped_and_files_keep_their_own_numbers(spark, landing):
    (landing / "a.txt").write_bytes(b"one\r\ntwo")
    (landing / "b.txt").write_bytes(b"\xef\xbb\xbfthree\n\nfour\n")
    files = find(spark, str(landing), ("*",))
    lines, counts = numbered_lines(spark, files)
    by_file = {file.file_id: file.name for file in files}
    rows = sorted((by_file[row["__file_id"]], row["__line_number"], row["__raw"]) for row in lines.collect())
    assert rows == [
        ("a.txt", 1, "one"),
        ("a.txt", 2, "two"),
        ("b.txt", 1, "three"),
        ("b.txt", 2, ""),
        ("b.txt", 3, "four"),
    ]
    assert {by_file[file_id]: count for file_id, count in counts.items()} == {"a.txt": 2, "b.txt": 3}


def test_odd_file_names_are_read_and_folders_make_no_columns(spark, landing):
    name = "date=2026-01-01/a [1] 50%25 é{x} 12:30.jsonl"
    jsonl(landing / name, {"u": "a"})
    (landing / name.replace("/", "/.")).with_suffix(".jsonl.crc").write_bytes(b"crc\0 of another file")
    files = find(spark, str(landing), ("**/*.jsonl",))
    assert [file.name for file in files] == [name]
    lines, counts = numbered_lines(spark, files)
    assert lines.columns == ["__file_id", "__line_number", "__raw"]
    assert counts == {files[0].file_id: 1}
    assert [row["__raw"] for row in lines.collect()] == ['{"u": "a"}']


def test_files_without_a_line_give_no_rows(spark, landing):
    (landing / "empty.txt").write_bytes(b"")
    files = find(spark, str(landing), ("*.txt",))
    lines, counts = numbered_lines(spark, files)
    assert (lines.columns, lines.count()) == (["__file_id", "__line_number", "__raw"], 0)
    assert counts == {files[0].file_id: 0}


def test_files_in_which_a_mark_occurs(spark, landing):
    (landing / "a.txt").write_text("plain\n")
    (landing / "b.txt").write_text('one\n"two"\n')
    (landing / "c.txt").write_text("back\\slash\n")
    files = find(spark, str(landing), ("*.txt",))
    found = files_with(spark, files, ('"', "\\"))
    assert [file.name for file in files if file.file_id in found] == ["b.txt", "c.txt"]
    assert files_with(spark, [], ('"',)) == set()


@pytest.mark.parametrize(
    ("raw", "problem"),
    [("'fine'", None), ("'  '", "empty line"), ("cast(X'fffe' AS string)", "not valid UTF-8")],
)
def test_a_line_of_text_is_refused_when_blank_or_not_utf8(spark, raw, problem):
    assert spark.sql(f"SELECT {raw} AS __raw").select(text_problem()).first()[0] == problem


@pytest.mark.parametrize("text", ['`a"b` string', "`a\\b` string"])
def test_escaped_text_is_an_sql_string(spark, text):
    assert spark.range(1).select(F.expr(f'"{escaped(text)}"')).first()[0] == text
