"""The live alias by hand: to any registered version, and back by rollback."""

from __future__ import annotations

import pytest

from pipeline.registry import tracking
from pipeline.registry.promotion import PromotionError, promote_version, rollback
from tests.pipeline.registered import live, put, registry, state


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return registry(tmp_path_factory.mktemp("home"))


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
