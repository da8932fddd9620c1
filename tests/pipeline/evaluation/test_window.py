"""What a stage opens to rank a window: examples, candidates, and models with their catalogues."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from model.evaluation.examples import ExamplesError
from model.evaluation.ranks import Condition
from model.network.batch import OUT_OF_VOCABULARY
from model.training.checkpoint import CheckpointError
from pipeline.cycle import accepted
from pipeline.cycle.definition import AcceptedVersion
from pipeline.cycle.records import write_record
from pipeline.evaluation import window
from pipeline.settings import Settings
from pipeline.training.fit import fit
from spark_jobs.config import TagMapping
from tests.factories import CUTOFFS
from tests.pipeline import small_lake


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A first cycle with a quickly trained candidate; two of its fourteen items are cold."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")), items=14)
    quick = context.config.training.model_copy(update={"epochs": 1.0})
    context = small_lake.with_config(context, training=quick)
    fit(context, "candidate", "25k")
    folder = context.settings.cycle_folder("tiny", context.cycle.name)
    for record in context.records.values():
        write_record(folder, record)
    (folder / "cycle.json").write_text(json.dumps({"configuration": context.config.model_dump(mode="json")}))
    return context


@pytest.fixture(scope="module")
def second(first):
    """A later cycle whose champion is the first; thirteen items are in its vocabulary."""
    later = small_lake.write_cycle(first.settings, CUTOFFS[1], items=14, in_vocabulary=13)
    champion = AcceptedVersion(1, first.cycle.name, first.cycle.split, "kept")
    accepted.keep(first.settings, first.cycle, champion.checkpoint_digest)
    return replace(
        later, config=first.config, cycle=replace(later.cycle, parent=champion, reference=champion)
    )


def test_a_window_holds_every_condition_and_the_gates_read_the_first(first):
    found = window.open_window(first)
    assert list(found.ends) == [Condition("replay", 0.0), Condition("replay", 48.0), Condition("cutoff", 0.0)]
    assert found.judged == Condition("replay", 0.0)
    assert found.examples.size == small_lake.USERS * small_lake.IN_WINDOW
    assert found.candidates.item_index.tolist() == list(range(14))
    assert window.window_figures(found)["labels_outside_catalogue"] == 0


def test_a_window_without_a_label_says_so(first):
    later = replace(first, cycle=replace(first.cycle, cutoff=CUTOFFS[2]))
    with pytest.raises(ExamplesError, match="no user with a label event"):
        window.open_window(later)


def test_a_model_of_this_cycle_comes_with_todays_vocabulary(first):
    recommender, catalogue = window.open_model(first, "candidate")
    assert not recommender.training
    assert recommender.vocabulary_size == 12
    assert catalogue.item_token.tolist() == [*range(12), OUT_OF_VOCABULARY, OUT_OF_VOCABULARY]
    assert window.megabytes_of(first, "candidate") == pytest.approx(0.134, abs=0.01)


def test_a_model_that_is_missing_or_altered_is_refused(first, tmp_path):
    with pytest.raises(CheckpointError, match="no finished model"):
        window.open_model(first, "rung-25k")
    folder = first.settings.checkpoint_folder("tiny", first.cycle.name, "candidate")
    copy = Settings.at(tmp_path).checkpoint_folder("tiny", first.cycle.name, "candidate")
    copy.mkdir(parents=True)
    for file in ("state.json", "model.safetensors"):
        (copy / file).write_bytes((folder / file).read_bytes())
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="altered"):
        window.open_model(
            replace(first, settings=Settings.at(tmp_path, lake=first.settings.lake)), "candidate"
        )


def test_the_champion_keeps_its_own_vocabulary_over_todays_items(second):
    recommender, catalogue = window.open_champion_model(second, second.cycle.reference, "candidate")
    assert recommender.vocabulary_size == 12
    assert catalogue.items == 14
    assert catalogue.item_token.tolist() == [*range(12), OUT_OF_VOCABULARY, OUT_OF_VOCABULARY]
    champion = second.cycle.reference
    assert window.digest_of(second, "candidate", champion) == window.digest_of(
        replace(second, cycle=replace(second.cycle, cutoff=CUTOFFS[0])), "candidate"
    )
    assert window.champion_has(second, champion, "candidate")
    assert not window.champion_has(second, champion, "rung-25k")


def test_a_champion_is_comparable_while_the_model_reads_the_same_inputs(second):
    champion = second.cycle.reference
    assert window.incomparable(second, champion) is None
    grown = second.config.source.model_copy(update={"actions": (*second.config.source.actions, "shared")})
    changed = replace(second, config=second.config.model_copy(update={"source": grown}))
    assert window.incomparable(changed, champion) == "actions changed since cycle 2024-02-10"
    rounds = second.config.features.model_copy(update={"graph_rounds": 3})
    tags = (TagMapping(files=("x.csv",), format="csv", item="id", tag="tag"),)
    source = second.config.source.model_copy(update={"tags": tags})
    other = second.config.model_copy(update={"features": rounds, "source": source})
    told = window.incomparable(replace(second, config=other), champion)
    assert told == "features, tags changed since cycle 2024-02-10"
    with pytest.raises(FileNotFoundError, match="another"):
        window.champion_config(second, replace(champion, checkpoint_digest="another"))
