"""MovieTweetings: film ratings tweeted from IMDb, February to November 2013 (MIT; Dooms et al., CrowdRec 2013).

A rating from 0 to 10 is the action; seven or more is high-value. Texts and cast are from Wikipedia, for the
titles that could be matched. Only release years are known, so launch dates are unknown.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.settings import Settings
from pipeline.sources.definition import SourceDefinition, land_folder
from spark_jobs.config import EdgeMapping, EventMapping, ItemMapping, SourceConfig, TagMapping

_FOLDER = "movietweetings"
_FILES = ("ratings.parquet", "items.parquet", "kg_names.parquet")

CONFIG = SourceConfig(
    name="movietweetings",
    title="MovieTweetings: film ratings from tweets, 2013-02 to 2013-11",
    events=EventMapping(
        files=("ratings.parquet",),
        format="parquet",
        user="user_id",
        item="imdb_id",
        time="timestamp",
        time_unit="seconds",
        action="concat('rated_', rating)",
        rating="rating",
    ),
    items=(
        ItemMapping(
            files=("items.parquet",), format="parquet", item="imdb_id", title="title", description="extract"
        ),
    ),
    tags=(
        TagMapping(files=("items.parquet",), format="parquet", item="imdb_id", tag="split(genres, '[|]')"),
    ),
    edges=(
        EdgeMapping(
            files=("kg_names.parquet",),
            format="parquet",
            item="imdb_id",
            relation="relation",
            entity="entity",
        ),
    ),
    actions=tuple(f"rated_{value}" for value in range(11)),
    high_value="rating >= 7",
)

OVERLAY = {
    "schedule": {
        "window_days": 28.0,
        "start_date": "2013-06-20",
        "end_date": "2013-11-07",
        "demo_cutoffs": ["2013-10-10", "2013-11-07"],
    },
    "vocabulary": {"min_events": 2},
    "sequences": {"max_length": 128, "context_length": 64},
    "signals": {"half_lives_days": [1 / 24, 1 / 4, 1.0, 3.0, 7.0, 30.0], "bucket_minutes": 30.0},
    "model": {"size": "100k", "item_width": 64, "semantic_output_width": 64, "dropout": 0.2},
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
        "epochs": 3.0,
        "finetune_epochs": 2.0,
        "weight_decay": 0.02,
        "learning_rate": 2e-3,
        "finetune_learning_rate": 2e-4,
        "embedding_learning_rate": 3e-3,
        "warmup_fraction": 0.1,
        "validation_days": 2.0,
    },
    # On 12 June 2013 some 50 ratings were tweeted, between days of hundreds.
    "expectations": {"losses": {"events": {"floor": 0}}},
    "funnel": {"rungs": ["25k", "50k"], "strictness": "lenient"},
    "evaluation": {"slices": ["cold_start", "weak_id", "new_user"]},
}


def land(settings: Settings, say: Callable[[str], None]) -> None:
    """Puts the data set's files into the landing zone. Raises SourceError."""
    land_folder(settings, CONFIG.name, _FOLDER, _FILES)


SOURCE = SourceDefinition(CONFIG, OVERLAY, land)
