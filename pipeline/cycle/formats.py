"""Formats of a cycle's records: the number that every record carries, and readers of the one before.

Format 1 (before the number was written): `champion` for what a candidate is compared with, and figures as
one flat mapping whose keys carried words. Its configurations are read by `pipeline.config.parse_stored`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FORMAT = 2


class RecordFormatError(ValueError):
    """A record that this revision cannot read; the message says what to do."""


def upgrade_cycle(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a `cycle.json` in today's format. Raises RecordFormatError for a later one."""
    if _format(content, "cycle.json") == FORMAT:
        return content
    renamed = {"champion": "reference"}
    return {renamed.get(key, key): value for key, value in content.items()}


def upgrade_record(content: dict[str, Any]) -> dict[str, Any] | None:
    """The content of a stage record in today's format. Raises RecordFormatError for a later one.

    None for what is no stage today: format 1 also recorded rungs that the configuration did not have.
    """
    if _format(content, f"the record of {content.get('stage')}") == FORMAT:
        return content
    stage, found = content["stage"], content["figures"]
    if found.get("outcome") == "not applicable":
        return None
    kind, convert = _STAGES[stage]
    return {"code_revision": "unknown", **content, "figures_type": kind, "figures": convert(found)}


def _format(content: dict[str, Any], what: str) -> int:
    number = content.get("format", 1)
    if number > FORMAT:
        raise RecordFormatError(
            f"{what} has format {number}, and this revision reads up to {FORMAT}; update the code"
        )
    return number


def _events(found: dict[str, Any]) -> dict[str, Any]:
    return _scalars(found) | {
        "rejected_by_reason": _by_prefix(found, "rejected: "),
        "absent_columns": list(_by_prefix(found, "absent column: ")),
    }


def _item_features(found: dict[str, Any]) -> dict[str, Any]:
    return _scalars(found) | {"vectors_by_modality": _by_prefix(found, "with_")}


def _scalars(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if ": " not in key and not key.startswith("with_")}


def _by_prefix(found: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}


def _training(found: dict[str, Any]) -> dict[str, Any]:
    renamed = {"candidates": "eligible_items", "parent": "start"}
    return {renamed.get(key, key): value for key, value in found.items()}


def _train(found: dict[str, Any]) -> dict[str, Any]:
    problem = found.get("not_finite")
    return {"training": None if problem else _training(found), "not_finite": problem}


def _window(found: dict[str, Any]) -> dict[str, Any]:
    names = ("labels", "label_users", "catalogue_items", "labels_outside_catalogue", "tasks_not_applicable")
    return {name: found[name] for name in names}


def _measures(found: dict[str, Any]) -> dict[str, Any]:
    head = ("model", "protocol", "delay_hours", "kind", "group", "examples", "users")
    rows = [
        {name: row[name] for name in head}
        | {"values": {name: value for name, value in row.items() if name not in head}}
        for row in found["metrics"]
    ]
    return {name: found[name] for name in ("mrr", "differences", "delay_curves")} | {"metrics": rows}


def _rung(found: dict[str, Any]) -> dict[str, Any]:
    kept = ("size", "verdicts", "outcome", "relative_difference", "saved")
    # Where the rung was compared with nothing, `compared_with` held the reason, which a verdict holds too.
    was_compared = found.get("relative_difference") is not None
    return {name: found[name] for name in kept if name in found} | {
        "compared_with": found.get("compared_with") if was_compared else None,
        "window": _window(found),
        "training": _training(found["training"]) if "training" in found else None,
        "measures": _measures(found) if "metrics" in found else None,
    }


def _evaluate(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "window": _window(found),
        "checkpoint_digest": found["checkpoint_digest"],
        "size_megabytes": found["size_megabytes"],
        "latency_milliseconds": found.get("latency_milliseconds"),
        "not_finite": found.get("not_finite"),
        "reference_not_comparable": found.get("champion_not_comparable"),
        "measures": _measures(found),
    }


_STAGES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "events": ("EventsFigures", _events),
    "items": ("ItemsFigures", _events),
    "validate_events": ("ValidateEventsFigures", dict),
    "vocabulary": ("VocabularyFigures", dict),
    "item_features": ("ItemFeaturesFigures", _item_features),
    "sequences": ("SequencesFigures", dict),
    "evaluation_sequences": ("EvaluationSequencesFigures", dict),
    "validate_sequences": ("ValidateSequencesFigures", dict),
    "rung_1": ("RungFigures", _rung),
    "rung_2": ("RungFigures", _rung),
    "train": ("TrainFigures", _train),
    "evaluate": ("EvaluateFigures", _evaluate),
    "funnel": ("FunnelFigures", dict),
    "register": ("RegisterFigures", dict),
    "promote": ("PromoteFigures", dict),
    "report": ("ReportFigures", dict),
}
"""By stage of format 1: the class of its figures today, and their conversion."""
