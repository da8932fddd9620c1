"""Serving: histories as plain records → the best items and user vectors.

A serving folder holds all that scoring needs: weights, frozen item features, item names and the meaning of
actions. `write_serving_folder` writes it; `Scorer` loads it without unpickling anything and without
opening a table. MLflow's pyfunc calls `Scorer`.

Shape legend
    U  histories     N  items
"""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from expectations.instants import SECOND_US
from model.arrays import Ints
from model.config import ModelConfig
from model.data.context import field_code
from model.data.cycle_items import CycleItems
from model.data.histories import Histories
from model.data.items import UNKNOWN_LAUNCH
from model.data.pair_signals import HISTORY_EVENTS
from model.data.signals import Signals
from model.data.successors import SuccessorLog
from model.network.catalogue import Catalogue
from model.network.item_signals import ItemSignals
from model.network.recommender import Recommender
from model.serving.encoding import UNKNOWN_TIME
from model.serving.new_items import NewItems
from model.serving.records import HistoryError, instant
from model.serving.request_scores import RequestScores

WEIGHTS, CATALOGUE, SIGNALS, ITEMS, MEANING = (
    "model.safetensors",
    "catalogue.safetensors",
    "signals.safetensors",
    "items.parquet",
    "serving.json",
)


class Recommendation(NamedTuple):
    """The answer to one history."""

    items: list[str]
    """Best first."""
    scores: list[float]
    titles: list[str | None]
    user_vector: list[float]
    """g(h_u), d_out numbers, for reuse downstream; with signals their weights q and r follow."""
    unknown_items: int
    """Events that were ignored because their item is not in the catalogue."""


@dataclass(frozen=True)
class Meaning:
    """How plain records become tokens."""

    source: str
    cycle: str
    actions: tuple[str, ...]
    rewards: tuple[float, ...]
    """Reward weight of an event of each action whose record gives none: the median in training."""
    context_length: int
    """Events of the previous window that a window of a long history repeats."""
    known_until_us: int
    """Cutoff of the cycle: signals count events up to it. Microseconds since 1970-01-01 UTC."""
    half_lives_days: tuple[float, ...] = ()
    bucket_us: int = 0
    """Of the signals, where the model reads any."""


def write_serving_folder(
    folder: Path,
    weights: Path,
    config: ModelConfig,
    cycle: CycleItems,
    meaning: Meaning,
    signals: Signals | None = None,
) -> None:
    """Writes everything that scoring needs; `weights` is a `model.safetensors` of this `config`, `signals` are
    those up to the cutoff, for a model that reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, folder / WEIGHTS)
    catalogue, items = cycle.catalogue, cycle.items
    tensors = {f"features.{name}": values.contiguous() for name, values in catalogue.features.items()}
    save_file({"item_token": catalogue.item_token.contiguous(), **tensors}, folder / CATALOGUE)
    if signals is not None:
        save_file(_signal_tensors(signals), folder / SIGNALS)
    unknown = items.launched_at_us == UNKNOWN_LAUNCH
    rows = {
        "item_id": items.item_id,
        "title": items.title,
        "launched_at_us": pa.array(items.launched_at_us, mask=unknown),
        "retired": pa.array(cycle.vocabulary.retired),
    }
    pq.write_table(pa.table(rows), folder / ITEMS)
    content = {"model": config.model_dump(mode="json"), "meaning": meaning.__dict__}
    (folder / MEANING).write_text(json.dumps(content, indent=1))


def _signal_tensors(signals: Signals) -> dict[str, torch.Tensor]:
    items, successors = signals.items, signals.successors
    return {
        "items.offset": items.offset,
        "items.end_seconds": items.end_seconds,
        "items.state": items.state,
        "items.first_seconds": items.first_seconds,
        "successors.item_index": torch.from_numpy(successors.item_index),
        "successors.event_at_us": torch.from_numpy(successors.event_at_us),
        "successors.previous": torch.from_numpy(successors.previous),
    }


def _read_signals(path: Path, meaning: Meaning) -> Signals:
    tensors = load_file(path)
    items = ItemSignals(
        **{name: tensors[f"items.{name}"] for name in ("offset", "end_seconds", "state", "first_seconds")},
        half_lives_days=meaning.half_lives_days,
        bucket_seconds=meaning.bucket_us / SECOND_US,
    )
    names = ("item_index", "event_at_us", "previous")
    log = SuccessorLog(**{name: tensors[f"successors.{name}"].numpy() for name in names})
    return Signals(items, log)


class Scorer:
    """A loaded model with its catalogue, on the CPU."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / MEANING).read_text())
        self.config = ModelConfig.model_validate(content["model"])
        meaning = content["meaning"]
        tuples = ("actions", "rewards", "half_lives_days")
        self.meaning = Meaning(**{**meaning, **{name: tuple(meaning[name]) for name in tuples}})
        tensors = load_file(folder / CATALOGUE)
        features = {name: tensors[f"features.{name}"] for name, _ in self.config.features}
        items = pq.read_table(folder / ITEMS)
        launched = items["launched_at_us"].fill_null(UNKNOWN_LAUNCH).to_numpy().astype(np.int64)
        self.catalogue = Catalogue(
            tensors["item_token"],
            features,
            torch.from_numpy(np.where(launched == UNKNOWN_LAUNCH, np.nan, launched / SECOND_US)),
        )
        self.signals: Signals | None = None
        if self.config.reads_signals:
            self.signals = _read_signals(folder / SIGNALS, self.meaning)
        state = load_file(folder / WEIGHTS)
        self.recommender = Recommender(self.config, self.catalogue.vocabulary_size)
        self.recommender.load_state_dict(state)
        self.recommender.eval()
        self.item_id = items["item_id"].to_pylist()
        self.title = items["title"].to_pylist()
        self.index = {item: number for number, item in enumerate(self.item_id)}
        self.launched_at_us = np.where(items["retired"].to_numpy(), np.iinfo(np.int64).max, launched)
        self._requests = RequestScores(
            self.recommender, self.catalogue, self.meaning.context_length, self.signals
        )

    def recommend(
        self,
        histories: list[list[dict[str, Any]]],
        k: int = 10,
        as_of: str | float | None = None,
        exclude_seen: bool = False,
        new_items: list[dict[str, Any]] | None = None,
    ) -> list[Recommendation]:
        """The `k` best items for each history; an empty history is scored from the start token.

        Records may be in any order. Each has `item_id`, `event_at` (ISO text or seconds since 1970, UTC)
        and, where the source has them, `action`, `reward` and context fields; `position` is a whole
        number or its text. `as_of` is the time of the request: items launched later are excluded. None excludes
        no item; a request is then made at the cycle's cutoff, or at its history's last event if that is later.
        Items in the history may be recommended again unless `exclude_seen`. `new_items`, records as in
        `model.serving.new_items`, are items that this version does not know: in this call alone they are
        candidates, and may be in histories. Raises HistoryError for a record that cannot be read.
        """
        if new_items:
            return self._with(new_items).recommend(histories, k, as_of, exclude_seen)
        if k < 1:
            raise HistoryError(f"k must be at least 1, given {k}")
        tokens, unknown, seen = self._tokens(histories)
        now = np.iinfo(np.int64).max - 1 if as_of is None else instant(as_of, "as_of")
        eligible = np.flatnonzero(self.launched_at_us <= now)
        count = min(k, eligible.size)
        user, end = np.arange(len(histories), dtype=np.int64), tokens.offset[1:]
        at_us = np.full(user.size, now)
        if as_of is None:
            last = np.where(
                end > tokens.offset[:-1], tokens.event_at_us[np.maximum(end - 1, 0)], UNKNOWN_TIME
            )
            at_us = np.maximum(last, self.meaning.known_until_us)
        with torch.inference_mode():
            users, scores = self._requests.scores(
                tokens, user, end, at_us, eligible, is_timed=as_of is not None or self.config.request_time
            )
            if exclude_seen:
                column = np.full(len(self.item_id), -1)
                column[eligible] = np.arange(eligible.size)
                for row, items in enumerate(seen):
                    scores[row, torch.from_numpy(column[items][column[items] >= 0])] = -torch.inf
            best = scores.topk(count)
        answers = []
        for row in range(len(histories)):
            kept = best.values[row].isfinite()
            chosen = eligible[best.indices[row][kept].numpy()]
            answers.append(
                Recommendation(
                    items=[self.item_id[item] for item in chosen],
                    scores=best.values[row][kept].tolist(),
                    titles=[self.title[item] for item in chosen],
                    user_vector=users[row].tolist(),
                    unknown_items=unknown[row],
                )
            )
        return answers

    def _with(self, new_items: list[dict[str, Any]]) -> Scorer:
        """The same model with more items; this one stays as it is."""
        new = NewItems.of(new_items, self.index, self.config)
        scorer = copy.copy(self)
        scorer.catalogue = new.added_to(self.catalogue)
        scorer.item_id, scorer.title = self.item_id + new.item_id, self.title + new.title
        scorer.index = self.index | {item: len(self.item_id) + i for i, item in enumerate(new.item_id)}
        scorer.launched_at_us = np.concatenate([self.launched_at_us, new.launched_at_us])
        scorer._requests = self._requests.extended(scorer.catalogue)
        return scorer

    def _tokens(self, histories: list[list[dict[str, Any]]]) -> tuple[Histories, list[int], list[Ints]]:
        """The last events of each history that are known, at most as many as any part of the model reads; how
        many records name unknown items; and the items of the whole history."""
        rows: list[tuple] = []
        offset, cut, unknown, seen = [0], [], [], []
        most = max(self.config.max_length, HISTORY_EVENTS if self.config.pair_signals else 0)
        for number, history in enumerate(histories):
            events = [
                self._token(record, f"history {number}, record {index}")
                for index, record in enumerate(history)
            ]
            known = sorted((event for event in events if event is not None), key=lambda event: event[1])
            seen.append(np.array([event[0] for event in known], dtype=np.int64))
            cut.append(max(len(known) - most, 0))
            rows += known[cut[-1] :]
            offset.append(len(rows))
            unknown.append(len(events) - len(known))
        # One event of no user, so that index 0 exists even when all histories are empty.
        rows.append((0,) * (4 + len(self.config.context_fields)))
        item, at_us, action, reward, *context = zip(*rows, strict=True)

        def ints(values: tuple) -> Ints:
            return np.array(values, dtype=np.int64)

        tokens = Histories(
            user_id=np.arange(len(histories)).astype(object),
            offset=np.array(offset, dtype=np.int64),
            first_position=np.array(cut, dtype=np.int64),
            item_index=ints(item),
            action=ints(action),
            event_at_us=ints(at_us),
            reward=np.array(reward, dtype=np.float32),
            context={
                name: ints(codes) for name, codes in zip(self.config.context_fields, context, strict=True)
            },
            label=np.empty(0, dtype=np.int64),
        )
        return tokens, unknown, seen

    def _token(self, record: dict[str, Any], where: str) -> tuple | None:
        """Item, time, action, reward and context codes of a record; None for an unknown item."""
        missing = [name for name in ("item_id", "event_at") if record.get(name) is None]
        if missing:
            raise HistoryError(f"{where} has no {' and no '.join(missing)}")
        at_us = instant(record["event_at"], where)
        name = record.get("action") or self.meaning.actions[0]
        if name not in self.meaning.actions:
            raise HistoryError(f"{where} has action {name!r}; allowed are {', '.join(self.meaning.actions)}")
        item = self.index.get(str(record["item_id"]))
        if item is None:
            return None
        action = self.meaning.actions.index(name)
        reward = record.get("reward")
        reward = self.meaning.rewards[action] if reward is None else float(reward)
        try:
            buckets = self.config.context_buckets
            codes = [field_code(field, record.get(field), buckets) for field in self.config.context_fields]
        except ValueError as error:
            raise HistoryError(f"{where}: {error}") from None
        return item, at_us, action, reward, *codes
