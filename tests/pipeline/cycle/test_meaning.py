"""Which changes of a configuration give a model's inputs another meaning, and which leave them readable."""

from __future__ import annotations

import pytest

from pipeline.config import Config
from pipeline.cycle.meaning import action_codes, changed, unreadable
from spark_jobs.config import FeaturesConfig, TagMapping
from tests.factories import tiny_config

OLDER = tiny_config()
TAGS = (TagMapping(files=("x.csv",), format="csv", item="id", tag="tag"),)


def with_source(**keys) -> Config:
    return tiny_config(source=OLDER.source.model_copy(update=keys))


def with_events(**keys) -> Config:
    return with_source(events=OLDER.source.events.model_copy(update=keys))


@pytest.mark.parametrize(
    ("newer", "names", "lost"),
    [
        (tiny_config(), (), ()),
        (with_source(actions=OLDER.source.actions[::-1]), ("actions",), ()),
        (with_source(actions=(*OLDER.source.actions, "shared")), ("actions",), ()),
        (with_source(reward="2.0"), ("reward",), ("reward",)),
        (with_source(high_value="false"), ("high_value",), ("high_value",)),
        (with_source(tags=TAGS), ("tags",), ("tags",)),
        (with_events(country=None), ("context_fields",), ("context_fields",)),
        (with_events(country="upper(country)"), ("context_fields",), ("context_fields",)),
        (with_events(device="device"), ("context_fields",), ()),
        (tiny_config(model=OLDER.model.model_copy(update={"modalities": ("graph",)})), ("modalities",), ()),
        (
            tiny_config(features=FeaturesConfig(language_encoder="none", graph_width=16, annotation_width=16, graph_rounds=1)),
            ("features",),
            ("features",),
        ),
        (tiny_config(training=OLDER.training.model_copy(update={"seed": 2})), (), ()),
    ],
)  # fmt: skip
def test_a_change_of_meaning_is_named_and_told_from_what_can_still_be_read(newer, names, lost):
    assert changed(OLDER, newer) == names
    assert unreadable(OLDER, newer) == lost


DAYS = (0.5, 7.0)


@pytest.mark.parametrize(
    ("older", "newer", "names"),
    [
        ({"half_lives_days": DAYS}, {"half_lives_days": DAYS}, ()),
        ({"half_lives_days": DAYS}, {"half_lives_days": (0.5, 8.0)}, ("half_lives_days",)),
        ({"half_lives_days": None}, {"half_lives_days": DAYS}, ()),  # the gaps may have chosen these
        ({"bucket_minutes": 10.0}, {"bucket_minutes": 30.0}, ("bucket_minutes",)),
    ],
)
def test_other_half_lives_or_buckets_give_signals_another_meaning(older, newer, names):
    def config(signals: dict, reads: bool = True) -> Config:
        plain = tiny_config()
        switches = dict.fromkeys(("item_signals", "pair_signals", "request_time"), reads)
        return plain.model_copy(
            update={
                "signals": plain.signals.model_copy(update=signals),
                "model": plain.model.model_copy(update=switches),
            }
        )

    assert changed(config(older), config(newer)) == unreadable(config(older), config(newer)) == names
    assert changed(config(older, reads=False), config(newer)) == ()
    assert unreadable(config(older, reads=False), config(newer)) == ()


def test_renamed_files_mean_the_same():
    (items,) = OLDER.source.items
    moved = with_source(items=(items.model_copy(update={"files": ("moved.jsonl",)}),))
    assert changed(OLDER, moved) == ()


def test_todays_codes_of_actions_are_translated_by_name():
    older, newer = with_source(actions=("a", "b")), with_source(actions=("b", "c", "a"))
    assert action_codes(older, newer) == (1, -1, 0)
    assert action_codes(older, older) is None
