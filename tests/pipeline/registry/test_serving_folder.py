"""A serving folder says what the tables said."""

from __future__ import annotations

import json

import pytest

from model.evaluation.names import CANDIDATE
from model.serving.scoring import CATALOGUE, WEIGHTS, Scorer
from pipeline.registry import serving_folder
from pipeline.settings import Settings
from pipeline.training.fit import fit
from tests.model.signal_rows import HALF_LIVES
from tests.pipeline.small_lake import RING, at, with_config, write_cycle


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    context = at(write_cycle(Settings.at(tmp_path_factory.mktemp("home"))), "train")
    fit(context, CANDIDATE, context.config.model.size)
    return context


@pytest.fixture(scope="module")
def folder(context, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "weights"
    serving_folder.write(at(context, "register"), folder)
    return folder


def test_nothing_in_it_is_a_pickle(folder):
    assert {path.suffix for path in folder.iterdir()} <= {".safetensors", ".json", ".parquet", ".arrow"}


def test_the_scorer_knows_every_item_by_its_name(folder):
    scorer = Scorer(folder)
    (answer,) = scorer.recommend([[{"item_id": "i05", "event_at": "2024-01-30", "action": "played"}]], k=RING)
    assert set(answer.items) == {f"i{item:02d}" for item in range(RING)}
    assert dict(zip(answer.items, answer.titles, strict=True))["i05"] == "item 5"
    assert answer.unknown_items == 0


def test_an_action_weighs_what_it_weighed_in_training(folder):
    # Every event of the lake is a play with reward 1; the other actions were never seen.
    assert Scorer(folder).meaning.rewards == (0.0, 1.0, 0.0)


def test_its_meaning_names_source_and_cycle(folder):
    texts = [path.read_text() for path in folder.glob("*.json")]
    meaning = next(content["meaning"] for content in map(json.loads, texts) if "meaning" in content)
    assert (meaning["source"], meaning["cycle"]) == ("tiny", "2024-02-10")


def test_its_size_is_that_of_all_that_is_served_and_leaves_nothing_behind(context, folder):
    size = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
    measured = serving_folder.megabytes(at(context, "evaluate"))
    assert measured == pytest.approx(sum(size.values()), abs=0.001)
    assert measured > size[WEIGHTS] + size[CATALOGUE] > size[WEIGHTS]
    assert not list(context.settings.home.glob(".serving-*"))


def test_a_version_with_signals_carries_them_with_the_half_lives_that_were_chosen(tmp_path):
    context = write_cycle(Settings.at(tmp_path))
    signals = {"item_signals": True, "pair_signals": True}
    context = with_config(
        context,
        model=context.config.model.model_copy(update=signals),
        training=context.config.training.model_copy(update={"epochs": 1.0}),
    )
    fit(context, CANDIDATE, context.config.model.size)
    serving_folder.write(at(context, "register"), tmp_path / "weights")
    scorer = Scorer(tmp_path / "weights")
    assert scorer.meaning.half_lives_days == HALF_LIVES
    assert scorer.recommender.config.half_lives == len(HALF_LIVES)
    (answer,) = scorer.recommend([[{"item_id": "i05", "event_at": "2024-01-30", "action": "played"}]], k=3)
    assert len(answer.items) == 3
