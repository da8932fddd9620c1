"""IFDB: the mapping of its files."""

from __future__ import annotations

from datetime import datetime

from pipeline.sources import ifdb
from tests.pipeline.sources.landed import mapped, parquet

AT = datetime(2026, 1, 1, 13)


def test_the_mapping_reads_plays_games_dated_tags_and_edges(spark, home):
    config, landing = ifdb.CONFIG, home.landing("ifdb")
    parquet(
        landing / "events.parquet",
        {"user_id": 1, "item_id": "a", "action": "wishlist", "ts": AT},
        {"user_id": 2, "item_id": "b", "action": "reviewed", "ts": AT},
    )
    game = {"item_id": "a", "title": "Up", "description": "A prison.", "published": "2004-01-01 00:00:00"}
    parquet(landing / "items.parquet", game)
    parquet(landing / "item_tags_timed.parquet", {"item_id": "b", "tag": "horror", "ts": AT})
    parquet(landing / "kg_names.parquet", {"item_id": "a", "relation": "author", "entity": "Eric Eve"})
    assert mapped(spark, config, config.events, landing, "user_id", "item_id", "event_at", "action") == [
        (None, "1", "a", AT, "wishlist"),
        ("unknown action", "2", "b", None, "reviewed"),
    ]
    (games,), (tags,), (edges,) = config.items, config.tags, config.edges
    assert mapped(spark, config, games, landing, "item_id", "title", "description", "launched_at") == [
        (None, "a", "Up", "A prison.", datetime(2004, 1, 1))
    ]
    assert mapped(spark, config, tags, landing, "item_id", "tag", "tagged_at") == [
        (None, "b", ["horror"], AT)
    ]
    assert mapped(spark, config, edges, landing, "item_id", "relation", "entity") == [
        (None, "a", "author", ["Eric Eve"])
    ]
