"""The packaged sources: their mappings are whole, and landing puts files there once."""

from __future__ import annotations

import pytest

from pipeline.sources import SOURCES, SourceError, kuairand, land, movielens_100k, packaged
from pipeline.sources.definition import put_bytes


def test_every_source_is_found_by_its_name():
    assert list(SOURCES) == ["ml-100k", "ifdb", "kuairand", "movietweetings"]
    assert all(packaged(name).config.name == name for name in SOURCES)
    with pytest.raises(
        SourceError, match="no packaged source 'netflix'; the packaged ones are ml-100k, ifdb"
    ):
        packaged("netflix")


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_says_when_its_cycles_are(name):
    schedule = packaged(name).overlay["schedule"]
    first, second = schedule["demo_cutoffs"]
    assert schedule["start_date"] <= first < second <= schedule["end_date"]
    assert schedule["window_days"] > 0


def test_the_strongest_signal_of_an_exposure_keeps_long_views_and_likes_apart(spark):
    values = {"is_like": 0, "long_view": 0, "is_follow": 0, "is_forward": 0, "is_comment": 0, "is_hate": 0}
    values |= {"is_profile_enter": 0, "is_click": 0}
    signals = [
        {},
        {"is_click": 1},
        {"is_follow": 1, "long_view": 1},
        {"is_follow": 1, "is_click": 1},
        {"is_like": 1, "is_hate": 1},
    ]
    rows = spark.createDataFrame([values | given for given in signals])
    actions = [row[0] for row in rows.selectExpr(kuairand.CONFIG.events.action).collect()]
    assert actions == ["exposure", "click", "long_view", "follow", "like"]
    assert set(actions) <= set(kuairand.CONFIG.actions)


def test_edges_of_films_are_the_triples_whose_head_is_a_film():
    link = b"item_id:token\tentity_id:token\n7\tm.up\n"
    triples = (
        b"head_id:token\trelation_id:token\ttail_id:token\nm.up\tfilm.actor\tm.ed\nm.ed\tactor.film\tm.up\n"
    )
    assert movielens_100k.film_edges(link, triples) == b"item_id\trelation\tentity\n7\tfilm.actor\tm.ed\n"


def test_landing_links_the_files_and_says_what_is_absent(home, tmp_path):
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
    assert len(list(home.landing("ifdb").iterdir())) == 4


def test_a_source_of_ones_own_is_landed_already(home):
    land("mine", home, print)
    assert not home.landing("mine").exists()


def test_movielens_is_not_fetched_again_when_its_files_are_there(home, monkeypatch):
    for name in ("ml-100k.inter", "ml-100k.item", "ml-100k.edges.tsv"):
        put_bytes(home.landing("ml-100k") / name, b"x")
    monkeypatch.setattr(movielens_100k, "_pip", lambda: pytest.fail("the network was used"))
    land("ml-100k", home, print)


def test_movielens_without_a_network_says_so(home, monkeypatch):
    monkeypatch.setattr(movielens_100k, "_pip", lambda: ["false"])
    with pytest.raises(SourceError, match="the first run needs the network"):
        land("ml-100k", home, lambda line: None)
    assert not home.landing("ml-100k").exists()
