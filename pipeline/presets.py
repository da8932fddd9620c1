"""Named runs, and how the configuration of a source is put together.

Three layers, of which the later ones win: the values tuned for a packaged source, the named run (the
preset), and a person's TOML file. The preset is the one given to `load`, else the file's `preset`, else
`laptop`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import Config, ConfigError, merge, parse, read_toml
from pipeline.sources import SOURCES, packaged

DEFAULT = "laptop"


def laptop(tuned: dict[str, Any]) -> dict[str, Any]:
    """Two cores and a few minutes a cycle; changes nothing of what a source was tuned to."""
    return tuned


def workstation(tuned: dict[str, Any]) -> dict[str, Any]:
    """One GPU: a backbone of 10M parameters in bf16, rungs of 0.2M and 2M."""
    larger = {
        "model": {"size": "10m", "item_width": 256, "semantic_output_width": 64},
        "training": {"precision": "bf16-mixed", "batch_tokens": 32768, "threads": 8},
        "sequences": {"max_length": 512, "context_length": 256},
        "funnel": {"rungs": ["200k", "2m"]},
    }
    return merge(tuned, larger)


def quick(tuned: dict[str, Any]) -> dict[str, Any]:
    """Seconds a cycle: for trying a mapping and for tests, not for quality."""
    smaller = {
        "model": {"size": "100k", "item_width": 32, "semantic_output_width": 32},
        "training": {"epochs": 2.0, "finetune_epochs": 1.0, "threads": 1},
        "funnel": {"rungs": ["25k", "50k"], "strictness": "lenient"},
        "evaluation": {"bootstrap_samples": 200},
    }
    return merge(tuned, smaller)


def paper(tuned: dict[str, Any]) -> dict[str, Any]:
    """The paper's own model: no signals, no time of the request, a loss at every event; the rest as tuned."""
    plain = {
        "model": {"item_signals": False, "pair_signals": False, "request_time": False},
        "objective": {
            "positions": "all",
            "tied_positions": "last",
            "negatives_minimum": 2048,
            "young_rate": 0.0,
        },
    }
    return merge(tuned, plain)


PRESETS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    function.__name__: function for function in (laptop, workstation, quick, paper)
}
"""Each lays its values over those tuned for a source."""


def load(source: str, preset: str | None = None) -> Config:
    """The configuration of a packaged source by name, or of a TOML file by path.

    A file with `extends = "ml-100k"` is laid over that packaged source, and its `preset` counts unless one
    is given here. Raises ConfigError when there is no such source, file or preset, or a value is refused.
    """
    if source in SOURCES:
        origin, address, tuned, file = f"source {source}", source, packaged(source).configuration(), {}
    elif source.endswith(".toml"):
        path = Path(source)
        origin, address, file = source, str(path.absolute()), read_toml(path)
        if (base := file.pop("extends", None)) is None:
            tuned = {"source": {"landing": str(path.absolute().parent)}}
        else:
            tuned = packaged(_one_of(SOURCES, base, f"{origin}: extends")).configuration()
    else:
        raise ConfigError(
            f"source {source!r} is unknown; pass {', '.join(SOURCES)}, or the path of a TOML file"
        )
    chosen = _one_of(PRESETS, preset or file.get("preset", DEFAULT), f"{origin}: preset")
    content = merge(PRESETS[chosen](tuned), file) | {"preset": chosen}
    given = ["--preset", preset] if preset else []
    return parse(content, origin).loaded_by(shlex.join(["--source", address, *given]))


def _one_of(allowed: dict[str, Any], given: Any, what: str) -> str:
    """`given`, when it is a key of `allowed`. Raises ConfigError otherwise."""
    if given not in list(allowed):
        raise ConfigError(f"{what} is {given!r}; allowed are {', '.join(allowed)}")
    return given
