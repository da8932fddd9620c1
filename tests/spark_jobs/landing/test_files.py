"""Landed files: which match, what identifies them, and what is damaged."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spark_jobs.landing.delimited import delimited_groups
from spark_jobs.landing.files import LandedFile, LandingError, find, metadata_key, open_head, path_key
from spark_jobs.landing.records import Dialect
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


def test_the_same_bytes_are_two_contents_where_folders_give_values(spark, landing):
    for name in ("hour=00/a.jsonl", "hour=01/a.jsonl", "x/a.jsonl", "y/a.jsonl"):
        jsonl(landing / name, {"u": "a"})
    ids = {file.name: file.file_id for file in find(spark, str(landing), ("**",))}
    assert len(set(ids.values())) == 3 and ids["x/a.jsonl"] == ids["y/a.jsonl"]


def test_an_absolute_pattern_outside_the_landing_folder_keeps_its_path_as_name(spark, landing, tmp_path):
    elsewhere = jsonl(tmp_path / "elsewhere" / "a.jsonl", {"u": 1})
    assert names(find(spark, str(landing), (str(elsewhere),))) == [str(elsewhere)]


def test_a_landing_folder_with_glob_characters_is_taken_literally(spark, tmp_path):
    jsonl(tmp_path / "logs [old]" / "a.jsonl", {"u": 1})
    assert names(find(spark, str(tmp_path / "logs [old]"), ("*.jsonl",))) == ["a.jsonl"]


def test_a_file_that_cannot_be_opened_is_listed_as_unreadable_beside_the_others(spark, landing):
    jsonl(landing / "a.jsonl", {"u": 1})
    (landing / "gone.jsonl").symlink_to(landing / "nowhere")
    good, gone = find(spark, str(landing), ("*.jsonl",))
    assert (good.name, good.unreadable) == ("a.jsonl", None)
    assert (gone.name, gone.unreadable) == (
        "gone.jsonl",
        "the file cannot be read: No such file or directory",
    )
    assert len(gone.file_id) == 64


def test_a_file_is_counted_once_whatever_links_and_patterns_lead_to_it(spark, landing):
    log = jsonl(landing / "2026" / "a.jsonl", {"u": 1})
    (landing / "again.jsonl").symlink_to(log)
    (landing / "year").symlink_to(log.parent)
    (log.parent / "up").symlink_to(landing)
    assert names(find(spark, str(landing), ("**/*.jsonl", "again.jsonl", str(log)))) == ["2026/a.jsonl"]
    assert names(find(spark, str(landing), ("again.jsonl",))) == ["again.jsonl"]


def test_a_vanished_landing_folder_is_an_error(spark, landing):
    with pytest.raises(LandingError, match=r"the landing folder .*/gone does not exist"):
        find(spark, str(landing / "gone"), ("*.jsonl",))
    with pytest.raises(LandingError, match=r"folder .*/logs does not exist"):
        find(spark, str(landing), ("logs/*.jsonl",))
    with pytest.raises(LandingError, match=r"folder .*/elsewhere does not exist"):
        find(spark, str(landing), (str(landing.parent / "elsewhere" / "*.jsonl"),))


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        ("a.jsonl", {}),
        ("dt=2026-03-01/country=NL/a=b.jsonl", {"dt": "2026-03-01", "country": "NL"}),
        ("city=New%20York/x=__HIVE_DEFAULT_PARTITION__/=y/a.jsonl", {"city": "New York", "x": None}),
        ("k=a=b/a.jsonl", {"k": "a=b"}),
    ],
)
def test_folders_give_values_by_their_names(name, partition):
    assert LandedFile(f"/landing/{name}", name, 1, "0", None).partition == partition


def test_one_key_for_a_path_and_its_uri():
    assert path_key("/a b/c") == path_key("file:///a b/c") == path_key("file:/a b/c") == "/a b/c"
    assert metadata_key("file:///a%20b/50%2525") == "/a b/50%25"
    assert LandedFile("file:/a [1]/{x}*.csv", "x", 1, "0", None).key == "/a [1]/{x}*.csv"


def test_files_of_another_file_system_are_read_through_hadoop(spark, landing):
    log = jsonl(landing / "a.csv", "u,i", "x,1")
    packed = gzip.compress(b"u,i\n" * 1000)
    (landing / "b.csv.gz").write_bytes(packed[:-20])
    jsonl(landing / "deep" / "d.jsonl", {"u": 1})
    (landing / "c.csv").write_bytes(b"")
    settings = spark._jsc.hadoopConfiguration()
    settings.set("fs.viewfs.mounttable.tests.link./landed", landing.as_uri())
    try:
        a, b, c = find(spark, "viewfs://tests/landed", ("*.csv*",))
        assert names(find(spark, "viewfs://tests/landed", ("**/*.jsonl",))) == ["deep/d.jsonl"]
        assert [file.name for file in (a, b, c)] == ["a.csv", "b.csv.gz", "c.csv"]
        assert (a.path, a.size_bytes) == ("viewfs://tests/landed/a.csv", 8)
        assert a.file_id == hashlib.sha256(log.read_bytes()).hexdigest()
        assert (a.unreadable, b.unreadable, c.unreadable) == (None, None, None)
        assert [open_head(spark, file, 4).read() for file in (a, c)] == [b"u,i\n", b""]
        unreadable = {}
        (group,) = delimited_groups(spark, [a, b, c], Dialect(",", '"', None), unreadable)
        assert group.counts == {a.file_id: 1}
        assert list(unreadable) == [b.file_id] and unreadable[b.file_id].startswith("damaged gzip file: ")
    finally:
        settings.unset("fs.viewfs.mounttable.tests.link./landed")


@contextmanager
def another_user() -> Iterator[None]:
    """Files are opened without the rights of root, who may read everything."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_what_this_user_may_not_read_is_told_and_the_others_are_found(spark):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        for file in ("good.jsonl", "locked.jsonl", "closed/c.jsonl"):
            jsonl(root / file, {"u": file})
        locked, closed = root / "locked.jsonl", root / "closed"
        locked.chmod(0)
        closed.chmod(0)
        try:
            with another_user():
                found = find(spark, name, ("*.jsonl",))
                with pytest.raises(
                    LandingError, match=r"folder .*closed cannot be listed: Permission denied"
                ):
                    find(spark, name, ("**/*.jsonl",))
        finally:
            closed.chmod(0o755)
    why = {file.name: file.unreadable for file in found}
    assert why == {"good.jsonl": None, "locked.jsonl": "the file cannot be read: Permission denied"}
