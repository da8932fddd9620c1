"""KuaiRand-Pure's undated histories: what events they become, and that none is a label."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.settings import Settings
from pipeline.sources import SourceError, kuairand_history
from tests.pipeline.sources.landed import mapped, parquet
from tests.pipeline.sources.test_kuairand import SIGNALS

LAST_MS = 1_650_812_741_436
EXPOSURE = {"user_id": 1, "video_id": 7, "time_ms": LAST_MS + 9, "tab": 1, "date": 20220424, **SIGNALS}
EXPOSURE |= {"play_time_ms": 15_000, "duration_ms": 10_000}
LISTS = [
    {"user_id": 1, "last_time_ms": LAST_MS, "watch_seq": [7, 7, 9], "like_seq": [9], "long_watch_seq": [7]},
    {"user_id": 2, "last_time_ms": LAST_MS, "watch_seq": [], "like_seq": [], "long_watch_seq": []},
    {"user_id": 3, "last_time_ms": LAST_MS, "watch_seq": [9], "like_seq": [], "long_watch_seq": [7]},
]


@pytest.fixture()
def home(tmp_path) -> Settings:
    """An empty home, and an empty folder of raw data."""
    return Settings.at(tmp_path / "home", data=str(tmp_path / "data"))


@pytest.fixture()
def landed(home):
    folder = home.data / "kuairand-pure-2w"
    assert folder.is_relative_to(home.home.parent)  # never the real data: the files are written here
    parquet(folder / "events.parquet", EXPOSURE | {"long_view": 1})
    parquet(folder / "video_features_basic_pure.parquet", {"video_id": 7})
    schema = pa.schema([(name, pa.int64()) for name in ("user_id", "last_time_ms")])
    for name in ("watch_seq", "like_seq", "long_watch_seq"):
        schema = schema.append(pa.field(name, pa.list_(pa.int64())))
    pq.write_table(pa.Table.from_pylist(LISTS, schema), folder / "user_history_before_0425.parquet")
    kuairand_history.land(home, lambda line: None)
    return home.landing("kuairand-history")


def test_a_history_becomes_events_an_hour_apart_that_are_context_only(spark, landed):
    config = kuairand_history.CONFIG
    columns = ("user_id", "item_id", "event_at", "action", "watch_seconds", "page")
    rows = sorted(mapped(spark, config, config.events, landed, *columns), key=str)
    at = datetime(2022, 4, 24, 15, 5, 41, 436_000)
    assert rows == sorted(
        [
            (None, "1", "7", at.replace(hour=13), "long_view", None, "-1"),
            (None, "1", "7", at.replace(hour=14), "long_view", None, "-1"),
            (None, "1", "9", at, "like", None, "-1"),
            (None, "3", "9", at, "click", None, "-1"),
            (None, "1", "7", at.replace(microsecond=445_000), "long_view", 15.0, "1"),
        ],
        key=str,
    )
    events = spark.createDataFrame(
        rows,
        "reason string, user_id string, item_id string, event_at timestamp, "
        "action string, watch_seconds double, page string",
    )
    labels = [tuple(row) for row in events.where(config.high_value).select("user_id", "page").collect()]
    assert labels == [("1", "1")]


def test_landing_again_leaves_the_file_as_it_is(landed, home):
    before = (landed / kuairand_history.HISTORY).stat().st_mtime_ns
    kuairand_history.land(home, lambda line: None)
    assert (landed / kuairand_history.HISTORY).stat().st_mtime_ns == before


def test_without_the_lists_nothing_is_landed(home):
    with pytest.raises(SourceError, match="source kuairand-history needs .*user_history_before_0425"):
        kuairand_history.land(home, lambda line: None)
