"""A candidate whose label sets are shuffled is refused by a small rung, before the full model is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.data import batches
from pipeline.__main__ import main
from pipeline.cycle.records import read_records
from pipeline.errors import Exit
from pipeline.registry import tracking
from pipeline.settings import Settings

SOURCE, CUTOFF = "ml-100k", "1998-02-26"


@pytest.fixture
def home_of_source(tmp_path, monkeypatch) -> Settings:
    """An empty home with the checkout's landing folder and jars."""
    default, settings = Settings.from_environment(), Settings.at(tmp_path)
    settings.jars.symlink_to(default.jars)
    if default.landing(SOURCE).exists():
        settings.landing(SOURCE).parent.mkdir(parents=True)
        settings.landing(SOURCE).symlink_to(default.landing(SOURCE))
    monkeypatch.setenv("REPRISE_HOME", str(tmp_path))
    return settings


def test_shuffled_labels_are_refused_by_a_small_rung(home_of_source, monkeypatch):
    unshuffled = batches.label_sets

    def shuffled(*arguments):
        """Every position gets another position's labels, with their weights."""
        labels = unshuffled(*arguments)
        order = np.random.default_rng(len(labels.position)).permutation(len(labels.position))
        return replace(labels, item_index=labels.item_index[order], weight=labels.weight[order])

    monkeypatch.setattr(batches, "label_sets", shuffled)
    assert main(["cycle", "--source", SOURCE, "--cutoff", CUTOFF]) == Exit.REFUSED

    records = read_records(home_of_source.cycle_folder(SOURCE, CUTOFF))
    refused = next(record for record in records.values() if record.refused)
    assert refused.stage in ("rung_1", "rung_2")
    assert not {"train", "evaluate", "register"} & set(records)
    assert "full model" in refused.refused
    assert tracking.accepted_versions(home_of_source, SOURCE) == []

    store = tracking.client(home_of_source)
    experiment = tracking.experiment_id(home_of_source, SOURCE)
    runs = {run.data.tags["reprise.model"]: run.data.tags for run in store.search_runs([experiment])}
    assert {tags["reprise.outcome"] for tags in runs.values()} == {"refused"}
    assert runs[f"rung-{refused.figures.size}"]["reprise.reason"] == refused.refused[:4900]
    assert runs["candidate"]["reprise.reason"].startswith(
        f"Refused by rung {refused.figures.size}: nothing was registered."
    )
