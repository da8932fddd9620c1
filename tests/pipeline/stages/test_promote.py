"""The stage moves the live alias only forward, and never for a backfill."""

from __future__ import annotations

import pytest

from pipeline.registry import tracking
from pipeline.registry.promotion import PromotionError, promote_version, rollback
from pipeline.stages.promote import promote
from tests.factories import CUTOFFS
from tests.pipeline.registered import live, promoting, put, registry, state


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return registry(tmp_path_factory.mktemp("home"))


def moved(settings, number, **options) -> bool:
    return promote(promoting(settings, CUTOFFS[number - 1], number, **options)).figures.moved


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


def test_a_version_whose_champion_could_not_be_ranked_waits_for_a_person(settings):
    put(settings, [2], 2)
    why = "the champion could not be ranked: reward changed since cycle 2024-02-10"
    result = promote(promoting(settings, CUTOFFS[2], 3, by_hand=why))
    assert (result.figures.moved, live(settings)) == (False, 2)
    assert result.figures.why == (
        f"version 3 stays challenger: {why}; promote it by hand (python -m pipeline promote 3 --source tiny)"
    )


def test_an_equal_cutoff_does_not_move_the_alias(settings):
    put(settings, [3], 3)
    rival = promote(promoting(settings, CUTOFFS[2], version=2))
    assert rival.figures.moved is False and state(settings) == ([3], 3)
    assert rival.figures.why == "version 2 stays as it is: champion 3 has the same cutoff 2024-03-01"
    assert "has the later cutoff 2024-03-01" in promote(promoting(settings, CUTOFFS[0], 1)).figures.why


def test_a_champion_that_no_cycle_registered_is_told_with_what_to_do(settings):
    stranger = tracking.client(settings).create_model_version(tracking.model_name("tiny"), "runs:/0/model")
    put(settings, [2], int(stranger.version))
    with pytest.raises(PromotionError, match=r"at version 4, .* among \[1, 2, 3\] by hand .*promote 3"):
        moved(settings, 3)
    promote_version(settings, "tiny", 3)
    assert state(settings) == ([2, 4, 3], 3)
