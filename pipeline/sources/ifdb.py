"""IFDB: interactive fiction played, wished for and tagged, 2007 to 2026 (CC BY 3.0 US, credit ifdb.org).

Has several actions, launch dates, descriptions, dated tags and a knowledge graph, and no context fields.
Playing a game and wishing for it are high-value events; tagging is not.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.settings import Settings
from pipeline.sources.definition import SourceDefinition, land_folder
from spark_jobs.config import EdgeMapping, EventMapping, ItemMapping, SourceConfig, TagMapping

_FOLDER = "ifdb"
_FILES = ("events.parquet", "items.parquet", "item_tags_timed.parquet", "kg_names.parquet")

CONFIG = SourceConfig(
    name="ifdb",
    title="IFDB: interactive fiction played, wished for and tagged, 2007 to 2026",
    events=EventMapping(
        files=("events.parquet",),
        format="parquet",
        user="user_id",
        item="item_id",
        time="ts",
        time_unit="iso",
        action="action",
    ),
    items=(
        ItemMapping(
            files=("items.parquet",),
            format="parquet",
            item="item_id",
            title="title",
            description="description",
            launched_at="published",
        ),
    ),
    tags=(
        TagMapping(
            files=("item_tags_timed.parquet",), format="parquet", item="item_id", tag="tag", tagged_at="ts"
        ),
    ),
    edges=(
        EdgeMapping(
            files=("kg_names.parquet",),
            format="parquet",
            item="item_id",
            relation="relation",
            entity="entity",
        ),
    ),
    actions=("played", "wishlist", "tag"),
    high_value="action IN ('played', 'wishlist')",
)

OVERLAY = {
    "schedule": {
        "window_days": 180.0,
        "start_date": "2021-09-23",
        "end_date": "2026-03-01",
        "demo_cutoffs": ["2025-09-02", "2026-03-01"],
    },
    "vocabulary": {"min_events": 1},
    "sequences": {"max_length": 128, "context_length": 64},
    "signals": {"half_lives_days": [1.0, 7.0, 30.0, 180.0, 720.0], "bucket_minutes": 360.0},
    # A third of the labels are games launched in the last weeks: freshness lets the model prefer them.
    "model": {
        "size": "100k",
        "item_width": 64,
        "semantic_output_width": 64,
        "freshness": True,
        "dropout": 0.2,
    },
    # Members enter lists one game after the other, so the next game says more than later ones.
    "objective": {
        "label_window": 1,
        "horizon_hours": None,
        "half_life_hours": None,
        "keep_own_item": True,  # wished for, then played
        "positions": "requests",
        "negatives_minimum": 128,
    },
    "training": {
        "batch_tokens": 1024,
        "epochs": 3.0,
        "finetune_epochs": 2.0,
        "weight_decay": 0.02,
        "learning_rate": 2e-3,
        "finetune_learning_rate": 2e-4,
        "embedding_learning_rate": 3e-3,
        "warmup_fraction": 0.1,
        "validation_days": 14.0,
        "features_as_of": "parent split",
    },
    "funnel": {"rungs": ["25k", "50k"], "strictness": "lenient"},
    "evaluation": {"slices": ["cold_start", "weak_id", "new_user"]},
    # A few members tag games in bulk, which moves the action mix by 0.31 between two windows of 2025.
    "expectations": {"max_action_mix_distance": 0.5},
}


def land(settings: Settings, say: Callable[[str], None]) -> None:
    """Puts the data set's files into the landing zone. Raises SourceError."""
    land_folder(settings, CONFIG.name, _FOLDER, _FILES)


SOURCE = SourceDefinition(CONFIG, OVERLAY, land)
