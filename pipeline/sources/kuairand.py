"""KuaiRand-Pure: exposures of short videos with watch time and feedback, two weeks of 2022 (CC BY-SA 4.0).

An event is one exposure; its action is the strongest signal that the user gave. Likes and long views
rank first, because they make an exposure high-value; the other signals follow by what they cost the user.
Exact repeats of a line are separate events. Every video was uploaded just before the log starts, so
there are no real cold-start items. `kuairand_history` adds what users had watched before the log.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.settings import Settings
from pipeline.sources.definition import SourceDefinition, land_folder
from spark_jobs.config import EdgeMapping, EventMapping, ItemMapping, SourceConfig, TagMapping

FOLDER = "kuairand-pure-2w"
_VIDEOS = "video_features_basic_pure.parquet"
FILES = ("events.parquet", _VIDEOS)

_STRONGEST_SIGNAL = (
    "CASE WHEN is_like = 1 THEN 'like' WHEN long_view = 1 THEN 'long_view' WHEN is_follow = 1 THEN 'follow' "
    "WHEN is_forward = 1 THEN 'forward' WHEN is_comment = 1 THEN 'comment' WHEN is_hate = 1 THEN 'hate' "
    "WHEN is_profile_enter = 1 THEN 'profile' WHEN is_click = 1 THEN 'click' ELSE 'exposure' END"
)


def _edges(relation: str, entity: str, where: str | None = None) -> EdgeMapping:
    return EdgeMapping(
        files=(_VIDEOS,),
        format="parquet",
        item="video_id",
        relation=f"'{relation}'",
        entity=entity,
        where=where,
    )


CONFIG = SourceConfig(
    name="kuairand",
    title="KuaiRand-Pure: short-video exposures with watch time, 2022-04-25 to 2022-05-08",
    events=EventMapping(
        files=("events.parquet",),
        format="parquet",
        user="user_id",
        item="video_id",
        time="time_ms",
        time_unit="milliseconds",
        action=_STRONGEST_SIGNAL,
        watch_seconds="play_time_ms / 1000",
        completion_fraction="play_time_ms / duration_ms",
        page="tab",
    ),
    items=(ItemMapping(files=(_VIDEOS,), format="parquet", item="video_id", launched_at="upload_dt"),),
    tags=(TagMapping(files=(_VIDEOS,), format="parquet", item="video_id", tag="split(tag, ',')"),),
    edges=(
        _edges("author", "author_id"),
        _edges("music", "music_id"),
        _edges("tag", "split(tag, ',')"),
        _edges("upload_type", "upload_type"),
    ),
    actions=("exposure", "click", "long_view", "like", "profile", "comment", "forward", "follow", "hate"),
    high_value="action IN ('long_view', 'like')",
)

OVERLAY = {
    "schedule": {
        "window_days": 2.0,
        "start_date": "2022-05-01",
        "end_date": "2022-05-09",
        "demo_cutoffs": ["2022-05-07", "2022-05-09"],
    },
    "vocabulary": {"min_events": 1},
    "features": {"language_encoder": "none"},  # videos without text
    "sequences": {"max_length": 128, "context_length": 64},
    "signals": {"half_lives_days": [1 / 24, 1 / 4, 1.0, 3.0], "bucket_minutes": 10.0},
    "model": {
        "size": "100k",
        "item_width": 64,
        "semantic_output_width": 64,
        "modalities": ["graph", "annotation"],
        "dropout": 0.2,
    },
    "objective": {
        "label_window": 1,
        "horizon_hours": None,
        "half_life_hours": None,
        "keep_own_item": True,
        "positions": "requests",
        "negatives_minimum": 128,
    },
    "training": {
        "batch_tokens": 1024,
        "epochs": 2.0,
        "finetune_epochs": 2.0,
        "weight_decay": 0.02,
        "learning_rate": 2e-3,
        "finetune_learning_rate": 2e-4,
        "embedding_learning_rate": 2e-3,
        "warmup_fraction": 0.1,
        "validation_days": 0.25,
    },
    "funnel": {"rungs": ["25k", "50k"], "strictness": "lenient"},
    "evaluation": {"slices": ["cold_start", "weak_id", "new_user", "page"]},
}


def land(settings: Settings, say: Callable[[str], None]) -> None:
    """Puts the data set's files into the landing zone. Raises SourceError."""
    land_folder(settings, CONFIG.name, FOLDER, FILES)


SOURCE = SourceDefinition(CONFIG, OVERLAY, land)
