"""Named runs: each is a function that returns a whole configuration.

A run is laid out in three layers, the later ones winning: the numbers tuned for a packaged source,
the named run, and a person's TOML file. What the source implies (its number of actions, its
context fields, its sequence length) is filled in last, so that no file says it twice.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expectations.tables import CONTEXT_FIELDS
from pipeline.config import Config, ConfigError, merge, parse, read_toml
from pipeline.sources import SOURCES, packaged

DEFAULT = "laptop"


def laptop(tuned: dict[str, Any]) -> dict[str, Any]:
    """Two cores and a few minutes a cycle; a source's own tuned numbers stand."""
    return merge({"preset": "laptop"}, tuned)


def workstation(tuned: dict[str, Any]) -> dict[str, Any]:
    """One GPU: a backbone of 10M parameters in bf16, rungs of 0.2M and 2M."""
    larger = {
        "preset": "workstation",
        "model": {"size": "10m", "item_width": 256, "output_width": 64},
        "training": {"precision": "bf16-mixed", "batch_tokens": 32768, "threads": 8},
        "sequences": {"max_length": 512, "context_length": 256},
        "funnel": {"rungs": ["200k", "2m"]},
    }
    return merge(tuned, larger)


def quick(tuned: dict[str, Any]) -> dict[str, Any]:
    """Seconds a cycle: for trying a mapping and for tests, not for quality."""
    smaller = {
        "preset": "quick",
        "model": {"size": "100k", "item_width": 32, "output_width": 32},
        "training": {"epochs": 2.0, "finetune_epochs": 1.0, "threads": 1},
        "funnel": {"rungs": ["25k", "50k"], "strictness": "lenient"},
        "evaluation": {"bootstrap_samples": 200},
    }
    return merge(tuned, smaller)


PRESETS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    function.__name__: function for function in (laptop, workstation, quick)
}


def load(source: str, preset: str = DEFAULT) -> Config:
    """The configuration of a packaged source by name, or of a TOML file by path; a file that says
    `extends = "ml-100k"` is laid over that packaged source.

    Raises ConfigError when neither exists, or when a value is refused.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset {preset!r} is unknown; allowed are {', '.join(PRESETS)}")
    if source in SOURCES:
        tuned = packaged(source).configuration()
        return _complete(PRESETS[preset](tuned), f"source {source}").loaded_by(_words(source, preset))
    if not source.endswith(".toml"):
        raise ConfigError(
            f"source {source!r} is unknown; pass {', '.join(SOURCES)}, or the path of a TOML file"
        )
    file = read_toml(Path(source))
    base = file.pop("extends", None)
    if base is not None and base not in SOURCES:
        raise ConfigError(f"{source} extends {base!r}; allowed are {', '.join(SOURCES)}")
    tuned = packaged(base).configuration() if base else {}
    if base is None:
        file = merge({"source": {"landing": str(Path(source).absolute().parent)}}, file)
    words = _words(str(Path(source).absolute()), preset)
    return _complete(merge(PRESETS[preset](tuned), file), source).loaded_by(words)


def _words(source: str, preset: str) -> str:
    chosen = [] if preset == DEFAULT else ["--preset", preset]
    return shlex.join(["--source", source, *chosen])


def _complete(content: dict[str, Any], origin: str) -> Config:
    """Fills in what the source implies for the model."""
    source = content.get("source") or {}
    events = source.get("events") or {}
    sequences = content.get("sequences") or {}
    implied: dict[str, Any] = {
        "actions": len(source.get("actions") or ("interaction",)),
        "context_fields": [name for name in CONTEXT_FIELDS if events.get(name)],
    }
    implied |= {key: sequences[key] for key in ("max_length", "context_buckets") if key in sequences}
    return parse(merge(content, {"model": implied}), origin)
