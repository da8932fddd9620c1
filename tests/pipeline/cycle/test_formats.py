"""Records of the format before are read as today's."""

from __future__ import annotations

import json
from typing import Any

from model.evaluation.figures import Estimate
from pipeline.cycle.figures import EvaluateFigures, FunnelFigures, RungFigures, TrainFigures
from pipeline.cycle.formats import upgrade_cycle, upgrade_record
from pipeline.cycle.records import read_records
from spark_jobs.figures import EventsFigures, ItemFeaturesFigures

METRICS = {
    "model": "candidate", "protocol": "replay", "delay_hours": 0.0, "kind": "all", "group": "all",
    "examples": 900, "users": 120, "mrr": [0.05, 0.04, 0.06], "test_loss": [None, None, None],
}  # fmt: skip
DIFFERENCE = {
    "model": "candidate", "against": "markov", "protocol": "replay", "delay_hours": 0.0, "kind": "all",
    "group": "all", "examples": 900, "users": 120, "absolute": [0.01, 0.0, 0.02], "relative": [0.1, 0.0, 0.2],
    "lower_bound": 0.01, "upper_bound": 0.19, "detectable": 0.1,
}  # fmt: skip
MEASURED = {
    "labels": 900, "label_users": 120, "catalogue_items": 31, "labels_outside_catalogue": 2,
    "tasks_not_applicable": ["C"], "mrr": {"candidate": 0.05}, "metrics": [METRICS], "differences": [DIFFERENCE],
    "delay_curves": [],
}  # fmt: skip
VERDICT = {
    "check": "scores", "outcome": "pass", "explanation": "every score was a finite number", "value": None,
    "margin": None, "low": None, "high": None, "detectable": None, "users": None, "binding": True,
}  # fmt: skip
TRAINED = {
    "steps": 40, "epochs": 5.0, "tokens": 50_000, "seconds": 12.5, "tokens_per_second": 4000.4, "final_loss": 5.1,
    "validation_mrr": [[10, 0.02]], "validation_examples": 80, "training_curve": [[1, 8.0], [40, 5.1]],
    "sequences": 300, "loss_positions": 7000, "labels": 9000, "negligible_label_fraction": 0.25,
    "packing_efficiency": 0.97, "candidates": 800, "vocabulary": 700, "masking_rate": 0.11,
    "backbone_parameters": 98_304, "parameters": 180_000, "parent": "version 1, cycle 2024-02-10",
    "parent_digest": "cd", "checkpoint_digest": "ef",
}  # fmt: skip
FIGURES: dict[str, dict[str, Any]] = {
    "events": {
        "files_new": 2, "files_read_again": 1, "files_skipped": 1, "files_landed_again": 1, "bytes": 120_000,
        "lines": 703, "accepted": 700, "rejected": 3, "rejected: not JSON": 2, "rejected: missing user": 1,
        "absent column: device": 1,
    },
    "item_features": {"known_items": 30, "items": 31, "with_language": 30, "with_graph": 29, "texts_encoded": 4},
    "train": TRAINED,
    "evaluate": MEASURED | {
        "checkpoint_digest": "ef", "size_megabytes": 3.4, "latency_milliseconds": 4.2, "champion_not_comparable": None,
    },
    "rung_1": MEASURED | {
        "size": "25k", "model": "rung-25k", "training": TRAINED, "outcome": "passed", "digest": "ab",
        "compared_with": "the same rung of cycle 2024-02-10", "relative_difference": 0.1, "verdicts": [VERDICT],
    },
    "rung_2": {"outcome": "not applicable", "verdicts": []},
    "funnel": {
        "outcome": "passed", "loses_to": ["markov"], "verdicts": [VERDICT],
        "agreement": [
            {"rung": "25k", "cycles": 1, "agreed": 1, "pairs": [{"cycle": "2024-02-20", "rung": 0.1, "full": 0.2}]}
        ],
    },
}  # fmt: skip


def format_1(stage: str) -> dict[str, Any]:
    return {
        "stage": stage, "inputs_digest": "0" * 16, "inputs": {}, "versions": {stage: 3}, "figures": FIGURES[stage],
        "refused": None, "seconds": 1.5, "started_at": "2024-02-20T00:00:00", "peak_megabytes": 812.4,
    }  # fmt: skip


def read(folder) -> dict[str, Any]:
    for stage in FIGURES:
        (folder / f"stage-{stage}.json").write_text(json.dumps(format_1(stage)))
    return {name: record.figures for name, record in read_records(folder).items()}


def test_words_in_keys_become_values(tmp_path):
    figures = read(tmp_path)
    events, features = figures["events"], figures["item_features"]
    assert isinstance(events, EventsFigures) and isinstance(features, ItemFeaturesFigures)
    assert events.rejected_by_reason == {"not JSON": 2, "missing user": 1}
    assert events.absent_columns == ("device",) and events.accepted == 700
    assert features.vectors_by_modality == {"language": 30, "graph": 29}


def test_measures_training_and_verdicts_are_typed(tmp_path):
    figures = read(tmp_path)
    evaluated, rung, train = (figures[name] for name in ("evaluate", "rung_1", "train"))
    assert isinstance(evaluated, EvaluateFigures) and isinstance(rung, RungFigures)
    assert evaluated.measures.metrics[0].values["mrr"] == Estimate(0.05, 0.04, 0.06)
    assert evaluated.window.labels == 900 and rung.window == evaluated.window
    assert rung.verdicts[0].check == "scores" and rung.measures == evaluated.measures
    assert isinstance(train, TrainFigures) and train.training == rung.training
    assert (train.training.eligible_items, train.training.start) == (800, "version 1, cycle 2024-02-10")
    assert isinstance(figures["funnel"], FunnelFigures)
    assert figures["funnel"].agreement[0].pairs[0].full == 0.2


def test_a_refused_training_keeps_its_reason():
    content = format_1("train") | {"figures": {"not_finite": "the loss is NaN at step 3"}}
    assert upgrade_record(content)["figures"] == {
        "training": None,
        "not_finite": "the loss is NaN at step 3",
    }


def test_a_rung_that_the_configuration_did_not_have_left_no_record(tmp_path):
    assert "rung_2" not in read(tmp_path)


def test_the_champion_of_a_cycle_is_its_reference():
    content = {"source": "tiny", "champion": {"version": 1}, "parent": None}
    assert upgrade_cycle(content) == {"source": "tiny", "reference": {"version": 1}, "parent": None}
