"""KuaiRand-Pure: the action of an exposure, and the mapping of its files."""

from __future__ import annotations

from datetime import date, datetime

from pipeline.sources import kuairand
from tests.pipeline.sources.landed import mapped, parquet

SIGNALS = dict.fromkeys(
    ("is_like", "long_view", "is_follow", "is_forward", "is_comment", "is_hate", "is_profile_enter", "is_click"), 0
)  # fmt: skip


def test_the_strongest_signal_of_an_exposure_keeps_long_views_and_likes_apart(spark):
    signals = [
        {},
        {"is_click": 1},
        {"is_follow": 1, "long_view": 1},
        {"is_follow": 1, "is_click": 1},
        {"is_like": 1, "is_hate": 1},
    ]
    rows = spark.createDataFrame([SIGNALS | given for given in signals])
    actions = [row[0] for row in rows.selectExpr(kuairand.CONFIG.events.action).collect()]
    assert actions == ["exposure", "click", "long_view", "follow", "like"]
    assert set(actions) <= set(kuairand.CONFIG.actions)


def test_the_mapping_reads_exposures_and_videos(spark, home):
    exposure = {"user_id": 1, "video_id": 7, "time_ms": 1_650_812_741_436, "tab": 1}
    exposure |= SIGNALS | {"play_time_ms": 15_000, "duration_ms": 10_000}
    video = {"video_id": 7, "author_id": 3, "upload_dt": date(2022, 4, 10), "upload_type": "LongImport"}
    video |= {"music_id": 9, "tag": "39,5"}
    config, landing = kuairand.CONFIG, home.landing("kuairand")
    parquet(landing / "events.parquet", exposure, exposure | {"video_id": 8, "is_like": 1})
    parquet(landing / "video_features_basic_pure.parquet", video)
    columns = ("user_id", "item_id", "event_at", "action", "watch_seconds", "completion_fraction", "page")
    at = datetime(2022, 4, 24, 15, 5, 41, 436_000)
    assert mapped(spark, config, config.events, landing, *columns) == [
        (None, "1", "7", at, "exposure", 15.0, 1.5, "1"),
        (None, "1", "8", at, "like", 15.0, 1.5, "1"),
    ]
    (videos,), (tags,) = config.items, config.tags
    assert mapped(spark, config, videos, landing, "item_id", "launched_at") == [
        (None, "7", datetime(2022, 4, 10))
    ]
    assert mapped(spark, config, tags, landing, "item_id", "tag") == [(None, "7", ["39", "5"])]
    edges = [mapped(spark, config, edge, landing, "relation", "entity") for edge in config.edges]
    assert edges == [
        [(None, "author", ["3"])],
        [(None, "music", ["9"])],
        [(None, "tag", ["39", "5"])],
        [(None, "upload_type", ["LongImport"])],
    ]
