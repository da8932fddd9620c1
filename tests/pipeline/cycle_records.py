"""Records of made-up cycles with every figure that stages leave, for tests of the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.records import StageRecord, write_atomically, write_record
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import STAGES

MODELS = {
    "candidate": 1.0,
    "champion": 0.9,
    "popularity_frozen": 0.4,
    "popularity_moving": 0.5,
    "markov": 1.1,
}
GROUPS = (
    ("all", "all", 900, 120),
    ("task", "A", 200, 70),
    ("task", "B", 640, 115),
    ("slice", "cold_start", 60, 30),
)
CONDITIONS = (("replay", 0.0), ("replay", 48.0), ("cutoff", 0.0))


def cycle(parent: bool = True) -> Cycle:
    """The second cycle of the tiny source."""
    known = AcceptedVersion(1, "2024-02-10", datetime(2024, 1, 31, tzinfo=UTC), "ab" * 32) if parent else None
    return Cycle("tiny", datetime(2024, 2, 20, tzinfo=UTC), timedelta(days=10), known, known)


def metrics(models: dict[str, float]) -> list[dict[str, Any]]:
    """Rows as `pipeline.evaluation.measures.tables` makes them; MRR of all labels is 0.05 times the model's number."""
    return [
        {
            "model": model,
            "protocol": protocol,
            "delay_hours": delay,
            "kind": kind,
            "group": group,
            "examples": examples,
            "users": users,
            "mrr": [value, value * 0.9, value * 1.12],
            "mrr_by_user": [value * 1.1, value, value * 1.3],
            "hit_rate@10": [2 * value, 1.8 * value, 2.2 * value],
            "test_loss": [7.1, 7.0, 7.2] if model in ("candidate", "champion") else [None, None, None],
        }
        for protocol, delay in CONDITIONS
        for number, (kind, group, examples, users) in enumerate(GROUPS)
        for model, strength in models.items()
        for value in [0.05 * strength * (1 - 0.2 * number) * (0.7 if delay else 1.0)]
    ]


def differences(first: str, others: dict[str, float], own: float = 1.0) -> list[dict[str, Any]]:
    return [
        {
            "model": first,
            "against": other,
            "protocol": "replay",
            "delay_hours": 0.0,
            "kind": "all",
            "group": "all",
            "absolute": [0.05 * (own - strength)] * 3,
            "relative": [own / strength - 1, own / strength - 1.08, own / strength - 0.93],
        }
        for other, strength in others.items()
    ]


def delay_curves(models: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "kind": kind,
            "group": group,
            "examples": examples - 10,
            "share": 1 - 10 / examples,
            "points": [
                {
                    "delay_hours": 0.0,
                    "mrr": [0.05 * strength, 0.045 * strength, 0.056 * strength],
                    "relative": [0.0] * 3,
                },
                {
                    "delay_hours": 48.0,
                    "mrr": [0.03 * strength, 0.02 * strength, 0.04 * strength],
                    "relative": [-0.4] * 3,
                },
            ],
        }
        for kind, group, examples, _ in GROUPS
        if kind != "slice"
        for model, strength in models.items()
    ]


def verdict(check: str, outcome: str, explanation: str, **values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("value", "margin", "low", "high", "detectable", "users"))
    return {
        "check": check,
        "outcome": outcome,
        "explanation": explanation,
        "binding": True,
        **empty,
        **values,
    }


def trained(name: str) -> dict[str, Any]:
    losses = [[step, 5.0 + 3.0 / step] for step in range(1, 41)]
    return {
        "steps": 40, "epochs": 5.0, "tokens": 50_000, "seconds": 12.5, "tokens_per_second": 4000.4, "final_loss": 5.1,
        "validation_mrr": [[10, 0.02], [20, 0.031], [30, 0.034], [40, 0.033]], "validation_examples": 80,
        "training_curve": losses, "sequences": 300, "loss_positions": 7000, "labels": 9000,
        "negligible_label_fraction": 0.25, "packing_efficiency": 0.97, "candidates": 800, "vocabulary": 700,
        "masking_rate": 0.11, "backbone_parameters": 98_304, "parameters": 180_000,
        "parent": "version 1, cycle 2024-02-10", "parent_digest": "cd" * 32, "checkpoint_digest": "ef" * 32,
    } | {"name_of_model": name}  # fmt: skip


def figures_by_stage() -> dict[str, dict[str, Any]]:
    """Figures of an accepted cycle, by stage."""
    others = {name: strength for name, strength in MODELS.items() if name != "candidate"}
    rung = {"rung-25k": 1.0, "rung-25k-older": 0.95, "popularity_frozen": 0.4, "markov": 1.1}
    passed = [verdict("scores", "pass", "every score was a finite number")]
    paired = {"value": 0.111, "margin": -0.02, "low": 0.05, "high": 0.2, "users": 120}
    judgement = {
        "name": "event_id_unique",
        "words": "no event twice",
        "observed": "",
        "allowed": "",
        "message": "",
    }
    return {
        "events": {
            "files_new": 2, "files_read_again": 1, "files_skipped": 1, "files_landed_again": 1, "bytes": 120_000, "lines": 703, "accepted": 700,
            "rejected": 3, "rejected_by_reason": {"missing user": 1, "not JSON": 2}, "absent_columns": ["device"],
        },
        "items": {"items": 31},
        "validate_events": {
            "window": {"days": 10.0, "events": 120, "action_counts": {"viewed": 90, "played": 30}},
            "new_lines": {"lines": 703, "faulty": 3},
            "drift": {"volume_ratio": 1.25, "action_mix_distance": 0.0421},
            "compared_with": ["2024-02-10"],
            "judgements": [{**judgement, "table": "events", "outcome": "passed"}],
            "page": "validate_events.html",
        },
        "vocabulary": {"cold_start_rate": 0.11, "masking_rate": 0.11, "labels": 450, "cold_labels": 50},
        "item_features": {"known_items": 30, "items": 31, "texts_encoded": 30,
            "vectors_by_modality": {"language": 30, "graph": 29, "annotation": 7}},
        "sequences": {
            "events": 640, "rows": 45, "users": 40, "stored_tokens": 700, "loss_positions": 640, "targets": 300,
            "tail_targets": 20, "bytes_on_disk": 6300, "bytes_per_token": 9.0, "overlap_fraction": 0.0857,
        },
        "evaluation_sequences": {"users": 30, "stored_tokens": 900, "labels": 900, "labels_dropped": 0},
        "validate_sequences": {
            "judgements": [{**judgement, "table": "sequences", "outcome": "not_applicable"}],
            "page": "validate_sequences.html",
        },
        "rung_1": {
            "size": "25k", "model": "rung-25k", "training": trained("rung"), "outcome": "passed",
            "compared_with": "the same rung of cycle 2024-02-10", "verdicts": passed, "labels": 900, "label_users": 120,
            "metrics": metrics(rung)[: 4 * len(rung)], "differences": differences("rung-25k", {"markov": 1.1}),
            "delay_curves": [],
        },
        "rung_2": {"outcome": "not applicable", "verdicts": []},
        "train": trained("candidate"),
        "evaluate": {
            "labels": 900, "label_users": 120, "catalogue_items": 31, "labels_outside_catalogue": 2,
            "tasks_not_applicable": ["C"], "size_megabytes": 3.4, "latency_milliseconds": 4.2,
            "mrr": {"candidate": 0.05}, "metrics": metrics(MODELS), "differences": differences("candidate", others),
            "delay_curves": delay_curves(MODELS),
        },
        "funnel": {
            "outcome": "passed", "loses_to": ["markov"], "relative_difference": 0.111,
            "agreement": [{"rung": "25k", "cycles": 2, "agreed": 1, "pairs": []}],
            "verdicts": [
                *passed,
                verdict("all labels against the champion", "pass", "+11.1%, surely above −2.0%", **paired),
                verdict("latency", "pass", "4.2 ms of 200 ms", value=4.2, margin=200.0),
                verdict("all labels against the Markov chain", "fail", "−9.1%: it does not beat it", binding=False, **paired),
            ],
        },
        "register": {"version": 2, "model": "reprise-tiny", "checkpoint_digest": "ef" * 32},
        "promote": {"version": 2, "champion": 2, "moved": True, "why": ""},
    }  # fmt: skip


def record(stage: str, figures: dict[str, Any], refused: str | None = None) -> StageRecord:
    seconds = 10.0 + len(stage)
    return StageRecord(
        stage, "0" * 16, {}, {stage: 3}, figures, refused, seconds, "2024-02-20T00:00:00", 812.4
    )


def accepted() -> dict[str, StageRecord]:
    """Every stage ran and the version is champion."""
    found = figures_by_stage()
    return {stage.name: record(stage.name, found[stage.name]) for stage in STAGES if stage.name in found}


def refused_by_first_rung() -> dict[str, StageRecord]:
    """The first rung refused; nothing after it ran."""
    records = {}
    for name, one in accepted().items():
        records[name] = one
        if name == "rung_1":
            break
    failing = verdict(
        "own histories against other users'", "fail", "−1.0%, surely below +5.0%", value=-0.01, margin=0.05,
        low=-0.03, high=0.02, users=120,
    )  # fmt: skip
    saved = "Saved: the rung 50k and the full model 100k were not trained (4 times this rung's backbone)"
    figures = records["rung_1"].figures | {"outcome": "refused", "verdicts": [failing], "saved": saved}
    records["rung_1"] = record("rung_1", figures, refused=f"{failing['check']}: fail. {saved}")
    return records


def write(settings: Settings, of: Cycle, records: dict[str, StageRecord]) -> None:
    """Puts a cycle and its records into a home, as `resolve` and the stages do."""
    folder = settings.cycle_folder(of.source, of.name)
    earlier = of.parent and {**asdict(of.parent), "split": of.parent.split.isoformat()}
    content = {
        "source": of.source,
        "cutoff": of.cutoff.isoformat(),
        "split": of.split.isoformat(),
        "window_seconds": of.window.total_seconds(),
        "parent": earlier,
        "champion": earlier,
        "run_type": of.run_type,
        "cold_start": of.parent is None,
    }
    write_atomically(folder / "cycle.json", json.dumps(content))
    for one in records.values():
        write_record(folder, one)
