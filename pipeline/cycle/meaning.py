"""What a model's inputs mean, as the configuration defines it, and what a change of it leaves readable.

A model reads numbers: codes of actions and context fields, rewards, vectors of items. Where a change of the
configuration gives the same numbers another meaning, weights that were trained before misread them: the
cycle starts a new lineage, from scratch. Whether the older model can still be ranked beside it is another
question: its own inputs may still be made from today's tables.
"""

from __future__ import annotations

from typing import Any

from pipeline.config import Config

NOT_MEANING = ("files", "table", "retired")
"""Keys of a mapping of items that change no vector."""
SIGNALS = ("half_lives_days", "bucket_minutes")
"""What defines the signals; None where a model reads none, and for half-lives that the log's gaps choose, which a cycle
takes over from its parent."""
FROM_ITEMS = ("features", "items", "tags", "edges")
"""What the vectors of items are made from."""


def changed(older: Config, newer: Config) -> tuple[str, ...]:
    """Names of the inputs whose meaning is another one in `newer`."""
    before, now = _meaning(older), _meaning(newer)
    return tuple(name for name in now if before[name] != now[name] and not _began(name, before, now))


def unreadable(older: Config, newer: Config) -> tuple[str, ...]:
    """Names of the changed inputs that today's tables do not hold as the older model reads them.

    Codes of actions are translated (`action_codes`), and `item_features` has the vectors that a model read,
    whatever modalities today's reads. Rewards are stored under today's rule alone.
    """
    before, now = _meaning(older), _meaning(newer)
    own_fields = {name: now["context_fields"].get(name) for name in before["context_fields"]}
    lost = {
        "high_value": before["high_value"] != now["high_value"],
        "reward": before["reward"] != now["reward"],
        "context_fields": before["context_fields"] != own_fields,
        "context_buckets": bool(own_fields) and before["context_buckets"] != now["context_buckets"],
    }
    lost |= {name: bool(before["modalities"]) and before[name] != now[name] for name in FROM_ITEMS}
    lost |= {name: before[name] != now[name] and not _began(name, before, now) for name in SIGNALS}
    return tuple(name for name in now if lost.get(name, False))


def _began(name: str, before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether it is signals that only one of the two reads: a term that begins or ends changes no other input."""
    return name in SIGNALS and (before[name] is None or now[name] is None)


def action_codes(older: Config, newer: Config) -> tuple[int, ...] | None:
    """The older model's code of each of today's actions, −1 for one that it does not know; None where every
    code is the same. Today's (b, c, a), older (a, b) → 1, −1, 0."""
    own = {name: code for code, name in enumerate(older.source.actions)}
    codes = tuple(own.get(name, -1) for name in newer.source.actions)
    return None if codes == tuple(range(len(codes))) else codes


def _meaning(config: Config) -> dict[str, Any]:
    """What defines each input of a model, by name. The names of the files do not matter."""
    source, network = config.source, config.network()
    mappings = source.model_dump(mode="json", include={"items", "tags", "edges"})
    described = {
        name: [
            {key: value for key, value in mapping.items() if key not in NOT_MEANING} for mapping in several
        ]
        for name, several in mappings.items()
    }
    return {
        "actions": source.actions,
        "high_value": source.high_value,
        "reward": source.reward,
        "modalities": network.modalities,
        "context_fields": {name: getattr(source.events, name) for name in network.context_fields},
        "context_buckets": network.context_buckets,
        "half_lives_days": config.signals.half_lives_days if config.model.item_signals else None,
        "bucket_minutes": config.signals.bucket_minutes if network.reads_signals else None,
        "features": config.features,
        **described,
    }
