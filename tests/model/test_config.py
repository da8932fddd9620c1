"""The sections that the model reads: what a person sets, what the network is built from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.config import (
    DEFAULT_TASKS,
    EvaluationConfig,
    ModelConfig,
    ModelSection,
    ObjectiveConfig,
    TaskConfig,
    TrainingConfig,
)
from model.sizes import SIZES


def test_freshness_adds_its_columns_to_the_semantic_width():
    section = ModelSection(semantic_output_width=64, freshness=True)
    assert section.output_width == 97
    network = ModelConfig(output_width=section.output_width, freshness=True)
    assert network.semantic_output_width == 64
    assert ModelSection(semantic_output_width=64).output_width == 64


def test_the_semantic_part_has_at_least_32_columns():
    with pytest.raises(ValidationError, match="output_width is 64; with freshness allowed is 65 or more"):
        ModelConfig(output_width=64, freshness=True)
    with pytest.raises(ValidationError, match="greater than or equal to 32"):
        ModelSection(semantic_output_width=31)


def test_the_catalogue_has_launch_phases_only_with_freshness():
    graph = (("graph", 16),)
    assert ModelConfig(modalities=graph).features == graph
    assert ModelConfig(modalities=graph, output_width=97, freshness=True).features == (*graph, ("launch", 33))


@pytest.mark.parametrize("kind", [ModelSection, ModelConfig])
def test_a_size_names_a_backbone(kind):
    assert kind(size="50k").backbone == SIZES["50k"]
    with pytest.raises(ValidationError, match="size '3k' is unknown; allowed are 25k, 50k"):
        kind(size="3k")


def test_a_modality_is_named_once_and_is_a_column_of_item_features():
    with pytest.raises(ValidationError, match="modalities must be distinct, given graph, graph"):
        ModelSection(modalities=("graph", "graph"))
    with pytest.raises(ValidationError, match="'language', 'graph' or 'annotation'"):
        ModelSection(modalities=("vision",))


def test_the_networks_configuration_survives_json():
    network = ModelConfig(size="50k", context_fields=("page",), modalities=(("graph", 16),))
    assert ModelConfig.model_validate(network.model_dump(mode="json")) == network


def test_the_default_tasks_are_bounded_as_their_titles_say():
    assert [task.name for task in EvaluationConfig().tasks] == ["A", "B", "C"]
    taste, engagement, availability = DEFAULT_TASKS
    assert (taste.min_gap_hours, taste.max_gap_hours) == (24.0, None)
    assert (engagement.min_gap_hours, engagement.max_gap_hours) == (None, 1.0)
    assert availability.max_item_age_days == 28.0


@pytest.mark.parametrize(
    "kind", [ModelSection, ModelConfig, ObjectiveConfig, TrainingConfig, TaskConfig, EvaluationConfig]
)
def test_every_key_is_described(kind):
    assert [name for name, field in kind.model_fields.items() if not field.description] == []
