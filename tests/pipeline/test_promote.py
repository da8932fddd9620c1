"""The live alias: moved only forward, never by a backfill, walked back by rollback."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline import tracking
from pipeline.config import RegistryConfig
from pipeline.cycle import Cycle
from pipeline.promote import PromotionError, promote, promote_version, rollback
from pipeline.records import StageContext, StageRecord
from pipeline.settings import Settings
from tests.factories import CUTOFFS, tiny_config


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A registry with one version a cycle of `CUTOFFS`, numbered from 1."""
    settings = Settings.at(tmp_path_factory.mktemp("home"))
    for cutoff in CUTOFFS:
        context = make_context(settings, cutoff, version=0)
        lineage = {
            "cycle": context.cycle.name,
            "split": context.cycle.split.isoformat(),
            "checkpoint_digest": "d",
        }
        tracking.create_version(context, f"runs:/{tracking.run_id(context)}/model", lineage, "note")
    return settings


def make_context(settings, cutoff, version, run_type="manual", promotion="automatic") -> StageContext:
    config = tiny_config(registry=RegistryConfig(promotion=promotion))
    cycle = Cycle("tiny", cutoff, timedelta(days=10), None, run_type=run_type)
    registered = StageRecord("register", "", {}, {}, {"version": version}, None, 0.0, "", 0.0)
    return StageContext(config, cycle, settings, {"register": registered}, say=lambda text: None)


def moved(settings, number, **options) -> bool:
    return promote(make_context(settings, CUTOFFS[number - 1], number, **options)).figures["moved"]


def live(settings) -> int | None:
    return tracking.champion_version(settings, "tiny")


def test_aliases_move_forward_and_roll_back(settings):
    assert live(settings) is None
    assert moved(settings, 2, run_type="backfill") is False and live(settings) is None
    assert moved(settings, 1, promotion="manual") is False and live(settings) is None
    assert moved(settings, 2) is True and live(settings) == 2
    assert moved(settings, 1) is False and live(settings) == 2
    assert moved(settings, 3) is True and live(settings) == 3
    assert moved(settings, 3) is True and live(settings) == 3

    assert "version 2" in rollback(settings, "tiny") and live(settings) == 2
    with pytest.raises(PromotionError, match="nothing to roll back to"):
        rollback(settings, "tiny")
    assert live(settings) == 2
    assert "champion now, after version 2" in promote_version(settings, "tiny", 1)
    assert "version 2" in rollback(settings, "tiny")


def test_a_version_that_does_not_exist_is_told_with_those_that_do(settings):
    with pytest.raises(PromotionError, match=r"no version 9; its versions are \[1, 2, 3\]"):
        promote_version(settings, "tiny", 9)


def test_an_unknown_model_has_no_champion(settings):
    assert tracking.champion_version(settings, "nobody") is None
    with pytest.raises(PromotionError, match="no champion"):
        rollback(settings, "nobody")
