"""A serving folder says what the tables said."""

from __future__ import annotations

import json

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from model.evaluation.names import CANDIDATE
from model.serving.scoring import CATALOGUE, WEIGHTS, Scorer
from pipeline.registry import served_code, serving_folder, tracking
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


@pytest.fixture(scope="module")
def loaded(context, folder, tmp_path_factory):
    """The folder as MLflow loads it."""
    path, config = tmp_path_factory.mktemp("pyfunc") / "model", context.config
    mlflow.pyfunc.save_model(
        path,
        python_model=str(served_code.ENTRY),
        artifacts={"weights": str(folder)},
        signature=tracking._signature(config.source.context_fields, config.model.modalities),
        pip_requirements=["mlflow"],
    )
    return mlflow.pyfunc.load_model(str(path))


def test_a_loaded_version_scores_items_that_appeared_since(loaded, folder):
    history = [
        {"item_id": "i05", "event_at": "2024-01-30", "action": "played"},
        {"item_id": "new", "event_at": "2024-01-31", "action": "played"},
    ]
    catalogue = Scorer(folder).catalogue
    vectors = {name: catalogue.features[name][3].tolist() for name in ("graph", "annotation")}
    new = {"item_id": "new", "title": "A new item", "launched_at": "2024-01-29"}
    row = {"history": history, "k": RING + 2}
    rows = [
        row | {"new_items": [new | vectors, {"item_id": "bare"}]},
        row | {"new_items": [{"item_id": "bare"}]},
    ]
    answers = loaded.predict(rows)
    assert answers["unknown_items"].tolist() == [0, 1]
    both, bare = (set(items) for items in answers["items"])
    assert {"new", "bare"} <= both and "bare" in bare and "new" not in bare
    (direct,) = Scorer(folder).recommend(
        [history], RING + 2, new_items=[new | {"features": vectors}, {"item_id": "bare"}]
    )
    assert answers["items"][0] == direct.items and answers["scores"][0] == direct.scores
    (without,) = loaded.predict([row])["items"]
    assert len(without) == RING


def test_rows_with_and_without_new_items_go_together(loaded):
    history = [{"item_id": "i05", "event_at": "2024-01-30"}]
    rows = [
        {"history": history, "k": 20, "new_items": []},
        {"history": history, "k": 20, "new_items": [{"item_id": "x"}]},
    ]
    assert [len(items) for items in loaded.predict(rows)["items"]] == [RING, RING + 1]


def test_a_loaded_version_refuses_vectors_of_another_width_or_name(loaded):
    row = {"history": [{"item_id": "i05", "event_at": "2024-01-30"}]}
    with pytest.raises(ValueError, match="new item 0 has graph of 2 numbers; allowed are 16 finite numbers"):
        loaded.predict([row | {"new_items": [{"item_id": "x", "graph": [1.0, 2.0]}]}])
    with pytest.raises(MlflowException, match="colour"):
        loaded.predict([row | {"new_items": [{"item_id": "x", "colour": [1.0, 2.0]}]}])
