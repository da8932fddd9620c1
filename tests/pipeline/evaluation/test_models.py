"""Models as they are opened to be ranked, each with its own catalogue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.evaluation.names import CANDIDATE, CHAMPION, ModelName
from model.network.catalogue import OUT_OF_VOCABULARY
from model.training.checkpoint import CheckpointError
from pipeline.cycle.records import StageResult
from pipeline.evaluation import models
from pipeline.evaluation.window import open_window
from pipeline.settings import Settings
from pipeline.training.fit import fit
from spark_jobs.config import TagMapping
from tests.factories import CUTOFFS
from tests.pipeline import small_lake

RUNG = ModelName.rung("25k")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A first cycle with a quickly trained candidate; two of its fourteen items are outside the vocabulary."""
    context = small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")), items=14)
    quick = context.config.training.model_copy(update={"epochs": 1.0})
    context = small_lake.with_config(context, training=quick)
    fit(context, CANDIDATE, "25k")
    return context


@pytest.fixture(scope="module")
def second(first):
    """The cycle after it, with thirteen items in its vocabulary."""
    return small_lake.next_cycle(first, items=14, in_vocabulary=13)


def test_a_model_of_this_cycle_comes_with_todays_vocabulary(first):
    contender = models.open_contender(first, CANDIDATE)
    assert contender.name == CANDIDATE and len(contender.digest) == 64
    assert not contender.recommender.training
    assert contender.recommender.vocabulary_size == 12
    tokens = [*range(12), OUT_OF_VOCABULARY, OUT_OF_VOCABULARY]
    assert contender.catalogue.item_token.tolist() == tokens


def test_a_model_that_is_missing_or_altered_is_refused(first, tmp_path):
    with pytest.raises(CheckpointError, match="no finished model"):
        models.open_contender(first, RUNG)
    folder = models.checkpoint_folder(first, CANDIDATE)
    elsewhere = replace(first, settings=Settings.at(tmp_path, lake=first.settings.lake))
    copy = models.checkpoint_folder(elsewhere, CANDIDATE)
    copy.mkdir(parents=True)
    for file in ("state.json", "model.safetensors"):
        (copy / file).write_bytes((folder / file).read_bytes())
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="altered"):
        models.open_contender(elsewhere, CANDIDATE)


def test_the_champion_keeps_its_own_vocabulary_over_todays_items(second):
    reference = second.cycle.reference
    champion = models.open_reference(second, reference, CANDIDATE, CHAMPION)
    assert champion.name == CHAMPION
    assert champion.recommender.vocabulary_size == 12
    assert champion.catalogue.items == 14
    tokens = [*range(12), OUT_OF_VOCABULARY, OUT_OF_VOCABULARY]
    assert champion.catalogue.item_token.tolist() == tokens
    earlier = replace(second, cycle=replace(second.cycle, cutoff=CUTOFFS[0]))
    assert champion.digest == models.open_contender(earlier, CANDIDATE).digest
    assert models.reference_has(second, reference, CANDIDATE)
    assert not models.reference_has(second, reference, RUNG)


def test_a_reference_is_comparable_while_its_inputs_can_be_made(second):
    reference, config = second.cycle.reference, second.config
    assert models.incomparable(second, reference) is None and models.new_lineage(second, reference) == ()
    rounds = config.features.model_copy(update={"graph_rounds": 3})
    tags = (TagMapping(files=("x.csv",), format="csv", item="id", tag="tag"),)
    other = small_lake.with_config(
        second, features=rounds, source=config.source.model_copy(update={"tags": tags})
    )
    assert models.incomparable(other, reference) == "features, tags changed since cycle 2024-02-10"
    assert models.new_lineage(other, reference) == ("features", "tags")
    with pytest.raises(FileNotFoundError, match="another"):
        models.reference_config(second, replace(reference, checkpoint_digest="another"))


def test_a_reference_reads_its_own_codes_of_actions(second):
    """Every event of the small lake has action 1: under today's order `started`, to the reference `played`."""
    reference, source = second.cycle.reference, second.config.source
    histories = open_window(second).examples.histories
    first, second_name, *others = source.actions
    swapped = source.model_copy(update={"actions": (second_name, first, *others)})
    today = small_lake.with_config(second, source=swapped)
    assert models.incomparable(today, reference, histories) is None
    assert models.new_lineage(today, reference) == ("actions",)
    champion = models.open_reference(today, reference, CANDIDATE, CHAMPION)
    assert champion.action_code.tolist() == [1, 0, *range(2, len(source.actions))]
    assert models.open_reference(second, reference, CANDIDATE, CHAMPION).action_code is None


def test_a_reference_cannot_read_histories_with_an_action_that_it_did_not_know(second):
    reference, source = second.cycle.reference, second.config.source
    histories = open_window(second).examples.histories
    renamed = source.model_copy(update={"actions": (source.actions[0], "shared", *source.actions[2:])})
    today = small_lake.with_config(second, source=renamed)
    expected = "cycle 2024-02-10 did not know the action shared"
    assert models.incomparable(today, reference, histories) == expected


def test_renamed_files_leave_a_reference_comparable(second):
    (items,) = second.config.source.items
    moved = second.config.source.model_copy(
        update={"items": (items.model_copy(update={"files": ("moved.jsonl",)}),)}
    )
    assert models.incomparable(small_lake.with_config(second, source=moved), second.cycle.reference) is None


def test_a_reference_that_read_signals_of_other_half_lives_is_not_comparable(first, tmp_path):
    """Its own half-lives are those of the lake, 0.5 and 4 days."""
    elsewhere = replace(first, settings=Settings.at(tmp_path, lake=first.settings.lake))
    signals = elsewhere.config.model.model_copy(update={"item_signals": True})
    reading = small_lake.with_config(elsewhere, model=signals)
    reference = small_lake.accept(reading)
    figures = replace(reading.finished["item_signals"].figures, half_lives_days=(1.0, 8.0))
    changed = small_lake.after(reading, "item_signals", StageResult(figures))
    assert models.incomparable(reading, reference) is None
    assert models.incomparable(changed, reference) == (
        "its item signals have half-lives of 0.5 and 4 days, those of this cycle have 1 and 8 days"
    )
    # A reference that reads no signals does not mind.
    plain = small_lake.accept(
        replace(elsewhere, settings=Settings.at(tmp_path / "plain", lake=first.settings.lake))
    )
    there = replace(changed, settings=Settings.at(tmp_path / "plain", lake=first.settings.lake))
    assert models.incomparable(there, plain) is None
