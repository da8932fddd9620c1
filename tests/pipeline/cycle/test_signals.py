"""What a cycle's item signals hold, and the network that follows from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.data.signals import SignalsShape
from pipeline.cycle.signals import days, network, signals_shape, version_half_lives
from pipeline.settings import Settings
from tests.model.signal_rows import BUCKET_US, HALF_LIVES
from tests.pipeline import small_lake


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return small_lake.write_cycle(Settings.at(tmp_path_factory.mktemp("home")))


def reading(context, **signals):
    """The context of a model that reads item signals."""
    return small_lake.with_config(
        context,
        model=context.config.model.model_copy(update={"item_signals": True}),
        signals=context.config.signals.model_copy(update=signals),
    )


def test_the_shape_is_that_of_the_stages_record(context):
    assert signals_shape(context) == SignalsShape(HALF_LIVES, BUCKET_US)
    with pytest.raises(KeyError, match="item_signals"):
        signals_shape(replace(context, finished={}))


def test_a_model_has_as_many_half_lives_as_the_cycle_chose(context):
    reads = reading(context)
    assert reads.config.network().half_lives == 5  # those of a log that is long enough
    assert network(reads).half_lives == len(HALF_LIVES) == 2
    assert network(reads, "50k") == reads.config.network("50k", half_lives=2)


def test_a_model_without_item_signals_needs_no_record_of_them(context):
    assert network(replace(context, finished={})) == context.config.network()


def test_the_half_lives_of_a_version_are_those_of_its_cycle(context):
    version = small_lake.accept(context)
    assert version_half_lives(context, version) == HALF_LIVES
    assert days(HALF_LIVES) == "0.5 and 4 days"


def test_a_version_from_before_signals_has_no_half_lives(context, tmp_path):
    older = replace(
        context,
        settings=Settings.at(tmp_path, lake=context.settings.lake),
        finished={"vocabulary": context.finished["vocabulary"]},
    )
    assert version_half_lives(older, small_lake.accept(older)) is None
