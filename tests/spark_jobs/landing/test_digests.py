"""A landed file is read for its digest once, and again when it may have changed."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest

from spark_jobs.landing import digests
from spark_jobs.landing.digests import Digest, by_executors, digests_of
from spark_jobs.landing.files import find
from spark_jobs.landing.folders import Entry, LocalFiles, matching
from tests.spark_jobs.landed import jsonl


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "home" / "landed" / "tiny.json"


@pytest.fixture
def read(monkeypatch):
    """The names of the files whose bytes were read, in order."""
    names, by_driver = [], digests._by_driver

    def counted(spark, path):
        names.append(os.path.basename(path))
        return by_driver(spark, path)

    monkeypatch.setattr(digests, "_by_driver", counted)
    return names


@pytest.fixture
def at_once(monkeypatch):
    """Digests of files that have just changed are kept too."""
    monkeypatch.setattr(digests, "TRUSTED_AFTER_SECONDS", -60.0)


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def look(landing, kept) -> dict[str, str]:
    found = matching(LocalFiles(), str(landing), "**/*.jsonl")
    return {
        os.path.basename(path): digest.value
        for path, digest in digests_of(None, found, "all", kept).items()  # local files need no session
    }


def test_only_new_and_changed_files_are_read(landing, kept, read, at_once):
    a, b = jsonl(landing / "a.jsonl", {"u": 1}), jsonl(landing / "b.jsonl", {"u": 2})
    assert look(landing, kept) == {"a.jsonl": sha256(a), "b.jsonl": sha256(b)}
    assert sorted(read) == ["a.jsonl", "b.jsonl"]
    read.clear()
    times = a.stat()
    time.sleep(0.05)  # more than a tick of any kernel's clock
    jsonl(a, {"u": 3})  # as long as before …
    os.utime(a, ns=(times.st_atime_ns, times.st_mtime_ns))  # … and with its time of change put back
    c = jsonl(landing / "deep" / "c.jsonl", {"u": 4})
    assert look(landing, kept) == {"a.jsonl": sha256(a), "b.jsonl": sha256(b), "c.jsonl": sha256(c)}
    assert sorted(read) == ["a.jsonl", "c.jsonl"]
    read.clear()
    assert len(look(landing, kept)) == 3 and read == []


def test_a_file_that_has_just_changed_is_read_again(landing, kept, read):
    jsonl(landing / "a.jsonl", {"u": 1})
    for _ in range(2):
        look(landing, kept)
    assert read == ["a.jsonl", "a.jsonl"] and not kept.exists()


def test_looks_for_other_files_keep_what_this_one_knows_and_a_file_that_left_is_forgotten(
    spark, landing, kept, read, at_once
):
    for name in ("a.jsonl", "b.jsonl", "items.jsonl"):
        jsonl(landing / name, {"name": name})
    find(spark, str(landing), ("*.jsonl",), str(kept))
    find(spark, str(landing), ("items.jsonl",), str(kept))
    assert sorted(read) == ["a.jsonl", "b.jsonl", "items.jsonl"]
    (landing / "a.jsonl").unlink()
    find(spark, str(landing), ("*.jsonl",), str(kept))
    sections = json.loads(kept.read_text())["sections"]
    names = sorted(sorted(os.path.basename(path) for path in files) for files in sections.values())
    assert names == [["b.jsonl", "items.jsonl"], ["items.jsonl"]] and len(read) == 3


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 0, "sections": {}}',
        '{"format": 1, "sections": []}',
        '{"format": 1, "sections": {"all": {"a.jsonl": 5}}}',
        '{"format": 1, "sections": {"all": {"a.jsonl": [0, ""]}}}',
    ],
)
def test_kept_digests_that_cannot_be_read_save_no_work_and_do_no_harm(landing, kept, read, at_once, content):
    a = jsonl(landing / "a.jsonl", {"u": 1})
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    assert look(landing, kept) == {"a.jsonl": sha256(a)}
    assert look(landing, kept) == {"a.jsonl": sha256(a)} and read == ["a.jsonl"]


def test_what_cannot_be_read_is_said_and_never_kept(landing, kept, at_once):
    (landing / "gone.jsonl").symlink_to(landing / "nowhere.jsonl")
    found = matching(LocalFiles(), str(landing), "*.jsonl")
    (digest,) = digests_of(None, found, "all", kept).values()
    assert "No such file" in digest.problem and not kept.exists()


def test_a_file_that_could_not_be_asked_for_its_times_is_never_kept(landing, kept, at_once):
    path = str(jsonl(landing / "a.jsonl", {"u": 1}))
    for _ in range(2):  # it could be opened, though
        digests_of(None, {path: Entry("a.jsonl", False, 0)}, "all", kept)
    assert "a.jsonl" not in (kept.read_text() if kept.exists() else "")


def test_digests_that_cannot_be_kept_are_computed_all_the_same(landing, tmp_path, at_once, caplog):
    a = jsonl(landing / "a.jsonl", {"u": 1})
    (tmp_path / "landed").write_text("a file in place of the folder")
    assert look(landing, tmp_path / "landed" / "tiny.json") == {"a.jsonl": sha256(a)}
    assert "read again" in caplog.text


def test_executors_read_small_files_of_a_store_and_the_driver_the_rest(monkeypatch, kept, at_once):
    asked = []

    def executors(spark, paths):
        asked.append(sorted(paths))
        return {path: Digest("by executors", None) for path in paths if "lost" not in path}

    monkeypatch.setattr(digests, "by_executors", executors)
    monkeypatch.setattr(digests, "_by_driver", lambda spark, path: Digest("by driver", None))
    small, lost, large = "s3a://b/small", "s3a://b/lost", "s3a://b/large"
    sizes = {small: 5, lost: 5, large: digests._LARGEST_PIECE_BYTES + 1, "/local": 5}
    found = {path: Entry(path, False, size, "t", 1.0) for path, size in sizes.items()}
    made = digests_of(None, found, "all", kept)
    assert asked == [[lost, small]] and made[small].value == "by executors"
    assert {made[path].value for path in (lost, large, "/local")} == {"by driver"}
    assert digests_of(None, found, "all", kept) == made and asked[1:] == [[]]


def test_executors_compute_what_the_driver_would(spark, landing):
    paths = []
    for name in ("a b.jsonl", "c%20d.jsonl", "e*.jsonl", "é.jsonl", "dt=2026-01-01/f.jsonl"):
        paths.append(f"file:{jsonl(landing / name, {'name': name})}")
    found = by_executors(spark, paths)
    assert {path: digest.value for path, digest in found.items()} == {
        path: digests._by_driver(spark, path.removeprefix("file:")).value for path in paths
    }
    assert by_executors(spark, [*paths, f"file:{landing}/absent"]) == {}
    without_slashes = [path.replace("file:", "file://") for path in paths]
    assert list(by_executors(spark, without_slashes)) == without_slashes
