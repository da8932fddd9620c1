"""Folders: which files a pattern matches, on a local disk and through Hadoop."""

from __future__ import annotations

import os

import pytest

from spark_jobs.landing import folders
from spark_jobs.landing.folders import HadoopFiles, LandingError, LocalFiles, fixed_root, matching

TREE = (
    "a.jsonl",
    "x.csv",
    "2026/b.jsonl",
    "2026/01/c.jsonl",
    "2026/02/d.jsonl",
    "events.parquet/_SUCCESS",
    "events.parquet/.part-0.crc",
    "events.parquet/part-0",
    "events.parquet/country=NL/part-1",
    "_temporary/0/e.jsonl",
    "2026/.hidden/f.jsonl",
    "2026/_tmp.jsonl",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for name in TREE:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


@pytest.mark.parametrize("kind", ["local", "hadoop"])
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl"]),
        ("**/*.jsonl", ["2026/01/c.jsonl", "2026/02/d.jsonl", "2026/b.jsonl", "a.jsonl"]),
        ("**/0?/*", ["2026/01/c.jsonl", "2026/02/d.jsonl"]),
        ("2026/**/*.jsonl", ["2026/01/c.jsonl", "2026/02/d.jsonl", "2026/b.jsonl"]),
        ("2026/**/[cd].jsonl", ["2026/01/c.jsonl", "2026/02/d.jsonl"]),
        ("2026/{01,02}/*.{jsonl,csv}", ["2026/01/c.jsonl", "2026/02/d.jsonl"]),
        ("*.parquet", ["events.parquet/country=NL/part-1", "events.parquet/part-0"]),
        ("events.parquet", ["events.parquet/country=NL/part-1", "events.parquet/part-0"]),
        ("events.parquet/country=*/*", ["events.parquet/country=NL/part-1"]),
        ("*", ["a.jsonl", "x.csv"]),
        (
            "",
            [
                name
                for name in sorted(TREE)
                if not any(part.startswith(("_", ".")) for part in name.split("/"))
            ],
        ),
        ("2026/01/**", ["2026/01/c.jsonl"]),
        ("none.csv", []),
    ],
)
def test_patterns(spark, tree, kind, pattern, expected):
    root = str(tree) if kind == "local" else tree.as_uri()
    system = LocalFiles() if kind == "local" else HadoopFiles(spark, root)
    found = matching(system, root, pattern)
    assert sorted(path.removeprefix(root + "/") for path in found) == expected
    assert all(entry.size_bytes == len(path.removeprefix(root + "/")) for path, entry in found.items())
    assert all(entry.changed and entry.changed_at > 0 for entry in found.values())


def test_the_folder_of_a_table_is_refused_and_another_folders_log_is_not_read(tmp_path):
    for name in ("delta/part-0.parquet", "delta/_delta_log/00000000000000000000.json", "delta/dt=1/part-1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for pattern in ("delta/*.parquet", "**/*.parquet", "delta", "delta/dt=1/*"):
        with pytest.raises(LandingError, match=r"/delta is the folder of a Delta table: .* table ="):
            matching(LocalFiles(), str(tmp_path), pattern)
    (tmp_path / "delta/_delta_log/00000000000000000000.json").rename(tmp_path / "delta/_delta_log/x.parq")
    assert len(matching(LocalFiles(), str(tmp_path), "**/*.parq*")) == 1


def test_links_that_lead_in_a_circle_are_followed_once(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_text("")
    (tmp_path / "logs" / "up").symlink_to(tmp_path)
    (tmp_path / "also").symlink_to(tmp_path / "logs")
    assert list(matching(LocalFiles(), str(tmp_path), "**/*.jsonl")) == [str(tmp_path / "logs" / "a.jsonl")]


def test_a_link_to_itself_is_a_file_that_cannot_be_opened(tmp_path):
    (tmp_path / "a.jsonl").write_text("x")
    os.symlink("self.jsonl", tmp_path / "self.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    root = str(tmp_path)
    found = {path: entry.size_bytes for path, entry in matching(LocalFiles(), root, "*.jsonl").items()}
    assert found == {f"{root}/a.jsonl": 1, f"{root}/self.jsonl": 0}


def test_an_unknown_file_system_is_an_error_with_the_remedy(spark):
    with pytest.raises(LandingError, match="^nosuch://bucket cannot be opened: .*needs the jars"):
        HadoopFiles(spark, "nosuch://bucket")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "open" / "closed").mkdir(parents=True)
    listed = os.scandir

    def refused(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(folders.os, "scandir", refused)
    with pytest.raises(LandingError, match=r"folder .*/closed cannot be listed: Permission denied"):
        matching(LocalFiles(), str(tmp_path), "**/*.jsonl")
    assert matching(LocalFiles(), str(tmp_path), "*/*.jsonl") == {}


@pytest.mark.parametrize(
    ("pattern", "root"),
    [
        ("/a/b/*.csv", "/a/b"),
        ("/a/*/b.csv", "/a"),
        ("/a.csv", "/"),
        ("s3a://bucket/logs/2026/*.csv", "s3a://bucket/logs/2026"),
        ("s3a://bucket/*.csv", "s3a://bucket"),
    ],
)
def test_the_fixed_part_of_a_pattern(pattern, root):
    assert fixed_root(pattern) == root
