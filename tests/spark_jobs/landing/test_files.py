"""Landed files: which match, what identifies them, and what is damaged."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from spark_jobs.landing.files import LandedFile, LandingError, find, first_line, metadata_key, path_key
from tests.spark_jobs.landed import jsonl


def names(files):
    return [file.name for file in files]


def test_files_come_once_each_sorted_by_name_without_unfinished_ones(spark, landing):
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl", "_unfinished.jsonl", ".hidden.jsonl", "notes.txt"):
        jsonl(landing / name, {"name": name})
    files = find(spark, str(landing), ("*.jsonl", "**/*.jsonl"))
    assert names(files) == ["a.jsonl", "b.jsonl", "deep/c.jsonl"]
    assert names(find(spark, f"file:{landing}", ("*.jsonl",))) == ["a.jsonl", "b.jsonl"]
    assert find(spark, str(landing), ("*.csv",)) == []


def test_a_file_is_identified_by_its_bytes(spark, landing):
    path = jsonl(landing / "a.jsonl", {"u": 1})
    jsonl(landing / "copy.jsonl", {"u": 1})
    first, second = find(spark, str(landing), ("*.jsonl",))
    assert first.file_id == second.file_id == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (first.path, first.size_bytes, first.unreadable) == (str(path), len(path.read_bytes()), None)


def test_an_absolute_pattern_outside_the_landing_folder_keeps_its_path_as_name(spark, landing, tmp_path):
    elsewhere = jsonl(tmp_path / "elsewhere" / "a.jsonl", {"u": 1})
    assert names(find(spark, str(landing), (str(elsewhere),))) == [str(elsewhere)]


def test_a_landing_folder_with_glob_characters_is_taken_literally(spark, tmp_path):
    jsonl(tmp_path / "logs [old]" / "a.jsonl", {"u": 1})
    assert names(find(spark, str(tmp_path / "logs [old]"), ("*.jsonl",))) == ["a.jsonl"]


def test_a_damaged_gzip_file_is_unreadable_and_a_whole_one_is_not(spark, landing):
    packed = gzip.compress(b'{"u": 1}\n' * 1000)
    (landing / "whole.jsonl.gz").write_bytes(packed)
    (landing / "cut.jsonl.gz").write_bytes(packed[:-20])
    (landing / "other.jsonl.gz").write_bytes(b"not gzip at all")
    problems = {file.name: file.unreadable for file in find(spark, str(landing), ("*.gz",))}
    assert problems.pop("whole.jsonl.gz") is None
    assert len(problems) == 2
    assert all(problem.startswith("damaged gzip file: ") for problem in problems.values())


def test_a_file_that_cannot_be_opened_stops_the_listing(spark, landing, monkeypatch):
    jsonl(landing / "a.jsonl", {"u": 1})

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(LandingError, match=r"a\.jsonl cannot be read: Permission denied"):
        find(spark, str(landing), ("*.jsonl",))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"u,i\na,b\n", "u,i"),
        (b"u,i\r\n", "u,i"),
        (b"\xef\xbb\xbfu,i", "u,i"),
        (b"\n", ""),
        (b"", None),
    ],
)
def test_the_first_line_has_no_line_end_and_no_byte_order_mark(spark, landing, content, expected):
    (landing / "plain.csv").write_bytes(content)
    (landing / "packed.csv.gz").write_bytes(gzip.compress(content))
    for file in find(spark, str(landing), ("*",)):
        assert first_line(spark, file) == expected


def test_one_key_for_a_path_and_its_uri():
    assert path_key("/a b/c") == path_key("file:///a b/c") == path_key("file:/a b/c") == "/a b/c"
    assert metadata_key("file:///a%20b/50%2525") == "/a b/50%25"
    odd = LandedFile("/a [1]/{x}*.csv", "x", 1, "0", None)
    assert odd.glob_safe_path == r"/a \[1\]/\{x\}\*.csv"
    assert odd.key == "/a [1]/{x}*.csv"


def test_files_of_another_file_system_are_read_through_hadoop(spark, landing):
    log = jsonl(landing / "a.csv", "u,i", "x,1")
    packed = gzip.compress(b"u,i\n" * 1000)
    (landing / "b.csv.gz").write_bytes(packed[:-20])
    (landing / "c.csv").write_bytes(b"")
    settings = spark._jsc.hadoopConfiguration()
    settings.set("fs.viewfs.mounttable.tests.link./landed", landing.as_uri())
    try:
        a, b, c = find(spark, "viewfs://tests/landed", ("*.csv*",))
        assert [file.name for file in (a, b, c)] == ["a.csv", "b.csv.gz", "c.csv"]
        assert (a.path, a.size_bytes) == ("viewfs://tests/landed/a.csv", 8)
        assert a.file_id == hashlib.sha256(log.read_bytes()).hexdigest()
        assert (a.unreadable, c.unreadable) == (None, None)
        assert b.unreadable.startswith("damaged gzip file: ")
        assert (first_line(spark, a), first_line(spark, c)) == ("u,i", None)
    finally:
        settings.unset("fs.viewfs.mounttable.tests.link./landed")
