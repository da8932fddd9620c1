"""Serving: histories given as plain records → top-K items and user vectors.

In: a serving folder (weights, frozen item features, item names, the meaning of actions), written by
`write_serving_folder`, and histories as lists of dictionaries. Out: recommendations. It is what
MLflow's pyfunc calls; it opens no table and knows no registry. Nothing in the folder is unpickled.

Shape legend
    U  histories     N  items     M  candidates
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from model.config import ModelConfig
from model.data.candidates import UNKNOWN_LAUNCH
from model.data.context import column_value, context_code
from model.evaluation.examples import Histories
from model.evaluation.ranking import candidate_vectors, encode_histories
from model.network.batch import Catalogue
from model.network.recommender import Recommender, score

WEIGHTS, CATALOGUE, ITEMS, MEANING = (
    "model.safetensors",
    "catalogue.safetensors",
    "items.parquet",
    "serving.json",
)


class HistoryError(ValueError):
    """A record that cannot be read; the message says which, and what is allowed."""


class Recommendation(NamedTuple):
    """What one history is answered with."""

    items: list[str]
    """Best first."""
    scores: list[float]
    titles: list[str | None]
    user_vector: list[float]
    """g(h_u), d_out numbers: reusable downstream."""
    unknown_items: int
    """Events left out because their item is not in the catalogue."""


@dataclass(frozen=True)
class Meaning:
    """How plain records become tokens."""

    source: str
    cycle: str
    actions: tuple[str, ...]
    rewards: tuple[float, ...]
    """Reward weight that an event of each action has where a record does not say: the median of
    training."""
    context_length: int
    """Context that a window of a long history repeats."""


def write_serving_folder(
    folder: Path,
    weights: Path,
    config: ModelConfig,
    catalogue: Catalogue,
    items: pa.Table,
    meaning: Meaning,
) -> None:
    """Writes everything that scoring needs. `items`: item_id, title, launched_at_us (int64, null when
    unknown) and retired (bool), in order of item_index."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / WEIGHTS)
    tensors = {f"features.{name}": values.contiguous() for name, values in catalogue.features.items()}
    save_file({"item_token": catalogue.item_token.contiguous(), **tensors}, folder / CATALOGUE)
    pq.write_table(items.select(["item_id", "title", "launched_at_us", "retired"]), folder / ITEMS)
    content = {"model": config.model_dump(mode="json"), "meaning": meaning.__dict__}
    (folder / MEANING).write_text(json.dumps(content, indent=1))


class Scorer:
    """A loaded model with its catalogue, on the CPU."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / MEANING).read_text())
        self.config = ModelConfig.model_validate(content["model"])
        meaning = content["meaning"]
        self.meaning = Meaning(
            **{**meaning, "actions": tuple(meaning["actions"]), "rewards": tuple(meaning["rewards"])}
        )
        tensors = load_file(folder / CATALOGUE)
        features = {name: tensors[f"features.{name}"] for name, _ in self.config.features}
        self.catalogue = Catalogue(tensors["item_token"], features)
        state = load_file(folder / WEIGHTS)
        self.recommender = Recommender(self.config, self.catalogue.vocabulary_size)
        self.recommender.load_state_dict(state)
        self.recommender.eval()
        items = pq.read_table(folder / ITEMS)
        self.item_id = items["item_id"].to_pylist()
        self.title = items["title"].to_pylist()
        self.index = {item: number for number, item in enumerate(self.item_id)}
        launched = items["launched_at_us"].fill_null(UNKNOWN_LAUNCH).to_numpy().astype(np.int64)
        self.launched_at_us = np.where(items["retired"].to_numpy(), np.iinfo(np.int64).max, launched)
        with torch.inference_mode():
            self.vectors = candidate_vectors(self.recommender, self.catalogue, np.arange(len(self.item_id)))

    def recommend(
        self, histories: list[list[dict[str, Any]]], k: int = 10, as_of: str | float | None = None
    ) -> list[Recommendation]:
        """Top-K of every history; an empty one is scored from the start token.

        A record has `item_id`, `event_at` (ISO text or seconds since 1970, UTC) and, where the
        source has them, `action`, `reward` and context fields; any order. `position` is a whole
        number, or one as text. Items launched after `as_of` (None: candidates throughout) are left
        out, items already consumed are not; it is also the time at which a user without a history asks.
        Raises HistoryError for a record that cannot be read.
        """
        if k < 1:
            raise HistoryError(f"k must be at least 1, given {k}")
        tokens, unknown = self._tokens(histories)
        now = np.iinfo(np.int64).max - 1 if as_of is None else _micros(as_of, "as_of")
        candidates = np.flatnonzero(self.launched_at_us <= now)
        count = min(k, candidates.size)
        user = np.arange(len(histories), dtype=np.int64)
        answers = []
        with torch.inference_mode():
            users = encode_histories(
                self.recommender, self.catalogue, tokens, user, tokens.offset[1:], self.meaning.context_length,
                None if as_of is None else np.full(user.size, now),
            )  # fmt: skip
            items = self.vectors[torch.from_numpy(candidates)]
            for number, vector in enumerate(users):
                best = score(vector.unsqueeze(0), items)[0].topk(count)
                chosen = candidates[best.indices.numpy()]
                answers.append(
                    Recommendation(
                        items=[self.item_id[item] for item in chosen],
                        scores=best.values.tolist(),
                        titles=[self.title[item] for item in chosen],
                        user_vector=vector.tolist(),
                        unknown_items=unknown[number],
                    )
                )
        return answers

    def _tokens(self, histories: list[list[dict[str, Any]]]) -> tuple[Histories, list[int]]:
        """The histories as parallel arrays, the last `max_length` known events of each."""
        rows: list[tuple] = []
        offset, cut, unknown = [0], [], []
        for number, history in enumerate(histories):
            events = [
                self._token(record, f"history {number}, record {place}")
                for place, record in enumerate(history)
            ]
            known = sorted((event for event in events if event is not None), key=lambda event: event[1])
            cut.append(max(len(known) - self.config.max_length, 0))
            rows += known[cut[-1] :]
            offset.append(len(rows))
            unknown.append(len(events) - len(known))
        # One event that belongs to nobody, so that the arrays have a place 0 when all are empty.
        rows.append((0,) * (4 + len(self.config.context_fields)))
        first, at_us, action, reward, *context = zip(*rows, strict=True)

        def ints(values: tuple) -> NDArray[np.int64]:
            return np.array(values, dtype=np.int64)

        tokens = Histories(
            user_id=np.arange(len(histories)).astype(object),
            offset=np.array(offset, dtype=np.int64),
            first_position=np.array(cut, dtype=np.int64),
            item_index=ints(first),
            action=ints(action),
            event_at_us=ints(at_us),
            reward=np.array(reward, dtype=np.float32),
            context={
                name: ints(codes) for name, codes in zip(self.config.context_fields, context, strict=True)
            },
            label=np.empty(0, dtype=np.int64),
        )
        return tokens, unknown

    def _token(self, record: dict[str, Any], place: str) -> tuple | None:
        """Item, time, action, reward and context codes of a record; None for an unknown item."""
        missing = [name for name in ("item_id", "event_at") if record.get(name) is None]
        if missing:
            raise HistoryError(f"{place} has no {' and no '.join(missing)}")
        at_us = _micros(record["event_at"], place)
        name = record.get("action") or self.meaning.actions[0]
        if name not in self.meaning.actions:
            raise HistoryError(f"{place} has action {name!r}; allowed are {', '.join(self.meaning.actions)}")
        item = self.index.get(str(record["item_id"]))
        if item is None:
            return None
        action = self.meaning.actions.index(name)
        reward = record.get("reward")
        reward = self.meaning.rewards[action] if reward is None else float(reward)
        try:
            context = [column_value(field, record.get(field)) for field in self.config.context_fields]
        except ValueError as error:
            raise HistoryError(f"{place}: {error}") from None
        codes = (context_code(value, self.config.context_buckets) for value in context)
        return item, at_us, action, reward, *codes


def _micros(value: str | float, place: str) -> int:
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            raise HistoryError(f"{place} has the time {value!r}, which is not ISO 8601") from None
        instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return round(instant.timestamp() * 1e6)
    return round(float(value) * 1e6)
