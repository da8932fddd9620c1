"""MovieTweetings: the mapping of its files."""

from __future__ import annotations

from datetime import datetime

from pipeline.sources import movietweetings
from tests.pipeline.sources.landed import mapped, parquet


def test_the_mapping_reads_ratings_films_genres_and_edges(spark, home):
    config, landing = movietweetings.CONFIG, home.landing("movietweetings")
    rating = {"user_id": 1, "imdb_id": "0000628", "rating": 0, "timestamp": 1_362_062_307}
    parquet(landing / "ratings.parquet", rating, rating | {"rating": 10}, rating | {"rating": 11})
    film = {"imdb_id": "0000628", "title": "Dollie (1908)", "genres": "Action|Short", "extract": "A girl."}
    parquet(landing / "items.parquet", film)
    parquet(landing / "kg_names.parquet", {"imdb_id": "0000628", "relation": "cast", "entity": "Linda"})
    at = datetime(2013, 2, 28, 14, 38, 27)
    assert mapped(
        spark, config, config.events, landing, "user_id", "item_id", "event_at", "action", "rating"
    ) == [
        (None, "1", "0000628", at, "rated_0", 0.0),
        (None, "1", "0000628", at, "rated_10", 10.0),
        ("unknown action", "1", "0000628", None, "rated_11", 11.0),
    ]
    (films,), (genres,), (edges,) = config.items, config.tags, config.edges
    assert mapped(spark, config, films, landing, "item_id", "title", "description", "launched_at") == [
        (None, "0000628", "Dollie (1908)", "A girl.", None)
    ]
    assert mapped(spark, config, genres, landing, "item_id", "tag") == [
        (None, "0000628", ["Action", "Short"])
    ]
    assert mapped(spark, config, edges, landing, "item_id", "relation", "entity") == [
        (None, "0000628", "cast", ["Linda"])
    ]
