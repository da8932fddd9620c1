"""Items that appeared after a version was registered, given with a call as plain records.

    {"item_id": "x1", "title": "…", "launched_at": "2026-01-01", "features": {"language": [0.1, …]}}

Such an item is outside the vocabulary, and no signal has an event of it.

Shape legend
    N  items of the version    M  new items
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expectations.instants import SECOND_US
from model.arrays import Ints
from model.config import FRESHNESS, ModelConfig
from model.data.items import UNKNOWN_LAUNCH
from model.network.catalogue import OUT_OF_VOCABULARY, Catalogue
from model.network.freshness import launch_features
from model.serving.records import HistoryError, instant


@dataclass(frozen=True)
class NewItems:
    """The items of a call that the version does not know."""

    item_id: list[str]
    title: list[str | None]
    launched_at_us: Ints
    """int64 [M]; microseconds since 1970-01-01 UTC, UNKNOWN_LAUNCH where the launch is unknown."""
    features: dict[str, Tensor]
    """float32 [M, width] for every feature of the model; zeros where none is given."""

    @classmethod
    def of(cls, records: list[dict[str, Any]], known: Container[str], config: ModelConfig) -> NewItems:
        """Reads records with `item_id` and, optionally, `title`, `launched_at` and `features`, a vector for
        some of the model's modalities. Raises HistoryError for one that cannot be read or is `known`."""
        names: dict[str, int] = {}
        widths = dict(config.modalities)
        features = {name: np.zeros((len(records), width), dtype=np.float32) for name, width in widths.items()}
        launched = np.full(len(records), UNKNOWN_LAUNCH, dtype=np.int64)
        for number, record in enumerate(records):
            where = f"new item {number}"
            if record.get("item_id") is None:
                raise HistoryError(f"{where} has no item_id")
            name = str(record["item_id"])
            if name in known:
                raise HistoryError(
                    f"{where} is {name!r}, which this version knows; allowed are items that it does not know"
                )
            if name in names:
                raise HistoryError(f"{where} is {name!r}, as is new item {names[name]}; allowed is each once")
            names[name] = number
            if record.get("launched_at") is not None:
                launched[number] = instant(record["launched_at"], where)
            for modality, vector in (record.get("features") or {}).items():
                if modality not in widths:
                    allowed = ", ".join(widths) or "none, since this version reads no features"
                    raise HistoryError(f"{where} has the feature {modality!r}; allowed are {allowed}")
                features[modality][number] = _vector(vector, widths[modality], f"{where} has {modality}")
        tensors = {name: torch.from_numpy(matrix) for name, matrix in features.items()}
        if config.freshness:
            tensors[FRESHNESS] = launch_features(_seconds(launched))
        titles = [record.get("title") for record in records]
        return cls(list(names), titles, launched, tensors)

    def added_to(self, catalogue: Catalogue) -> Catalogue:
        """The items of a catalogue that has launches, then these: N + M items. The given one stays as it is."""
        token = torch.full((len(self.item_id),), OUT_OF_VOCABULARY, dtype=catalogue.item_token.dtype)
        return replace(
            catalogue,
            item_token=torch.cat([catalogue.item_token, token]),
            features={
                name: torch.cat([values, self.features[name]]) for name, values in catalogue.features.items()
            },
            launched_at_seconds=torch.cat([catalogue.launched_at_seconds, _seconds(self.launched_at_us)]),
        )


def _seconds(at_us: Ints) -> Tensor:
    return torch.from_numpy(np.where(at_us == UNKNOWN_LAUNCH, np.nan, at_us / SECOND_US))


def _vector(values: Any, width: int, where: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # a number too large for float32 is infinite, and refused
            vector = np.asarray(values, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError):
        raise HistoryError(
            f"{where} that is no list of numbers; allowed are {width} finite numbers"
        ) from None
    if vector.shape != (width,):
        given = f"{vector.size} numbers" if vector.ndim == 1 else f"the shape {vector.shape}"
        raise HistoryError(f"{where} of {given}; allowed are {width} finite numbers")
    if not np.isfinite(vector).all():
        raise HistoryError(f"{where} with a number that is not finite; allowed are {width} finite numbers")
    return vector
