"""A packaged source's configuration, and how files are landed."""

from __future__ import annotations

import pytest

from pipeline.sources import SourceError, land, packaged
from pipeline.sources.definition import put_bytes


def test_the_configuration_has_the_source_and_its_tuned_values_as_plain_values():
    definition = packaged("ifdb")
    content = definition.configuration()
    assert content["source"]["events"]["user"] == "user_id"
    assert content["source"]["actions"] == ["played", "wishlist", "tag"]
    assert {key: content[key] for key in definition.overlay} == definition.overlay


def test_landing_links_the_files_and_names_missing_ones(home, tmp_path):
    object.__setattr__(home, "data", tmp_path / "data")
    with pytest.raises(
        SourceError, match="source ifdb needs events.parquet, .* in .*data/ifdb; .*REPRISE_DATA"
    ):
        land("ifdb", home, print)
    folder = tmp_path / "data" / "ifdb"
    folder.mkdir(parents=True)
    for name in ("events.parquet", "items.parquet", "item_tags_timed.parquet", "kg_names.parquet"):
        (folder / name).write_text(name)
    land("ifdb", home, print)
    land("ifdb", home, print)
    assert (home.landing("ifdb") / "events.parquet").read_text() == "events.parquet"
    assert (home.landing("ifdb") / "events.parquet").stat().st_nlink == 2
    assert len(list(home.landing("ifdb").iterdir())) == 4


def test_a_file_with_the_same_content_is_not_written_again(tmp_path):
    path = tmp_path / "landing" / "a.tsv"
    put_bytes(path, b"x")
    inode = path.stat().st_ino
    put_bytes(path, b"x")
    assert path.stat().st_ino == inode
    put_bytes(path, b"y")
    assert path.read_bytes() == b"y" and list(path.parent.iterdir()) == [path]
