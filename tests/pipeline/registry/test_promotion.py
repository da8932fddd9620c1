"""The live alias: moved only forward, never by a backfill, walked back by rollback."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.config import RegistryConfig
from pipeline.cycle.definition import Cycle
from pipeline.cycle.records import StageContext, StageRecord
from pipeline.registry import tracking
from pipeline.registry.promotion import PromotionError, promote, promote_version, rollback
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


class Killed(BaseException):
    """Stands for a kill: nothing in the program may catch it."""


def die(*args) -> None:
    raise Killed


def put(settings, history: list[int], version: int) -> None:
    """The champions on record, and where the alias points."""
    tracking.set_champion_history(settings, "tiny", history)
    tracking.set_alias(settings, "tiny", tracking.CHAMPION_ALIAS, version)


def state(settings) -> tuple[list[int], int | None]:
    return tracking.champion_history(settings, "tiny"), live(settings)


def test_an_equal_cutoff_does_not_move_the_alias(settings):
    put(settings, [3], 3)
    rival = promote(make_context(settings, CUTOFFS[2], version=2))
    assert rival.figures["moved"] is False and state(settings) == ([3], 3)
    assert rival.figures["why"] == "version 2 stays as it is: champion 3 has the same cutoff 2024-03-01"
    assert "has the later cutoff 2024-03-01" in promote(make_context(settings, CUTOFFS[0], 1)).figures["why"]


def test_a_champion_that_no_cycle_registered_is_told_with_what_to_do(settings):
    stranger = tracking.client(settings).create_model_version(tracking.model_name("tiny"), "runs:/0/model")
    put(settings, [2], int(stranger.version))
    with pytest.raises(PromotionError, match=r"at version 4, .* among \[1, 2, 3\] by hand .*promote 3"):
        moved(settings, 3)
    promote_version(settings, "tiny", 3)
    assert state(settings) == ([2, 4, 3], 3)


@pytest.mark.parametrize(
    ("history", "version", "after"),
    [
        ([1, 2, 3], 3, ([1, 2], 2)),
        ([1, 2, 3], 2, ([1], 1)),  # the alias was set back by hand
        ([1, 2, 1, 3], 1, ([2], 2)),  # the earlier turn of a version that is left is none to go back to
        ([3, 2, 3], 3, ([2], 2)),
    ],
)
def test_rollback_goes_to_the_champion_before_the_live_one(settings, history, version, after):
    put(settings, history, version)
    rollback(settings, "tiny")
    assert state(settings) == after


def test_rollback_from_a_version_outside_the_history_says_so(settings):
    put(settings, [1, 2], 3)
    assert "version 3 was not in the history of champions [1, 2]" in rollback(settings, "tiny")
    assert state(settings) == ([1, 2], 2)
    put(settings, [], 3)
    with pytest.raises(PromotionError, match=r"no champion before version 3 \(its history is \[\]\)"):
        rollback(settings, "tiny")


@pytest.mark.parametrize("write", ["set_alias", "set_champion_history"])
@pytest.mark.parametrize("history", [[1, 2, 3], [3, 2, 3]])
def test_a_rollback_that_is_killed_ends_the_same_when_called_again(settings, monkeypatch, history, write):
    put(settings, history, 3)
    with monkeypatch.context() as patch:
        patch.setattr(tracking, write, die)
        with pytest.raises(Killed):
            rollback(settings, "tiny")
    rollback(settings, "tiny")
    assert live(settings) == 2 and 3 not in tracking.champion_history(settings, "tiny")


@pytest.mark.parametrize("write", ["set_alias", "set_champion_history"])
def test_a_promotion_that_is_killed_ends_the_same_when_called_again(settings, monkeypatch, write):
    put(settings, [1, 2], 2)
    with monkeypatch.context() as patch:
        patch.setattr(tracking, write, die)
        with pytest.raises(Killed):
            promote_version(settings, "tiny", 3)
    promote_version(settings, "tiny", 3)
    assert state(settings) == ([1, 2, 3], 3)


def test_rollback_after_a_promotion_that_was_killed_leaves_the_live_version(settings, monkeypatch):
    put(settings, [1, 2], 2)
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "set_alias", die)
        with pytest.raises(Killed):
            promote_version(settings, "tiny", 3)
    rollback(settings, "tiny")
    assert state(settings) == ([1], 1)


def test_a_first_promotion_that_is_killed_leaves_one_champion_when_called_again(settings, monkeypatch):
    name = tracking.model_name("tiny")
    put(settings, [], 1)
    tracking.client(settings).delete_registered_model_alias(name, tracking.CHAMPION_ALIAS)
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "set_alias", die)
        with pytest.raises(Killed):
            promote_version(settings, "tiny", 1)
    promote_version(settings, "tiny", 1)
    assert state(settings) == ([1], 1)


def test_a_promotion_after_the_alias_was_set_back_forgets_the_version_that_was_left(settings):
    put(settings, [1, 3], 1)
    promote_version(settings, "tiny", 2)
    assert state(settings) == ([1, 2], 2)
