"""What each ingredient of the model is worth: MRR of models trained from scratch on the tables of a finished cycle.

    make demo SOURCE=ifdb                                       # the cycle, once
    python -m benchmarks.ablation --source ifdb                 # each ingredient off, one line each
    python -m benchmarks.ablation --source ifdb training.seed=2 mixture model.pair_signals=false,training.seed=2

Every variant is trained up to the split with the configured passes and ranked on the window of the second demo
cycle, or of `--cutoff`, by replay without a delay. Nothing of the home is changed: checkpoints go to a temporary
folder. The variants that other data are needed for (half-lives, buckets, reach) need a home of their own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.finished import add_options, changes, finished_cycle
from model.evaluation.names import CANDIDATE
from pipeline.config import overlay
from pipeline.cycle.context import StageContext
from pipeline.evaluation.models import open_contender
from pipeline.evaluation.ranking import rank_views
from pipeline.evaluation.window import Window, open_window
from pipeline.training.fit import fit

VARIANTS: tuple[tuple[str, dict[str, dict[str, object]], bool], ...] = (
    ("as configured", {}, True),
    ("without pair signals", {"model": {"pair_signals": False}}, True),
    ("without item signals", {"model": {"item_signals": False}}, True),
    ("without the time of the request", {"model": {"request_time": False}}, True),
    ("learned mixture: no history, no item vectors", {}, False),
    ("five labels", {"objective": {"label_window": 5}}, True),
    ("a loss at every event", {"objective": {"positions": "all", "tied_positions": "last"}}, True),
    ("no signals, a loss at every event (the paper)", {
        "model": {"item_signals": False, "pair_signals": False, "request_time": False},
        "objective": {"positions": "all", "tied_positions": "last"},
    }, True),
    ("one step count for the ID table", {"training": {"row_step_counts": False}}, True),
)  # fmt: skip
"""Name, changed keys, and whether histories are read."""


def variants(given: list[str]) -> Iterator[tuple[str, dict[str, dict[str, object]], bool]]:
    """The table's variants, or those given as `section.key=value,…`, of which `mixture` reads no histories."""
    if not given:
        yield from VARIANTS
    for words in given:
        parts = words.split(",")
        yield words, changes(",".join(part for part in parts if part != "mixture")), "mixture" not in parts


def measure(context: StageContext, window: Window, history: bool) -> tuple[np.ndarray, float, float]:
    """Reciprocal ranks of the labels, float64 [X], seconds of training and tokens a second."""
    started = time.perf_counter()
    fitted = fit(context, CANDIDATE, context.config.model.size, history=history)
    seconds = time.perf_counter() - started
    contender = open_contender(context, CANDIDATE)
    rank = rank_views(context, window, contender, [window.view(window.judged)])[0].rank
    return 1 / rank, seconds, fitted.figures.tokens_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("variant", nargs="*", help="section.key=value,…")
    options = parser.parse_args()
    finished = finished_cycle(options)
    print("| variant | MRR | tasks | tokens/s | seconds, pair signals included |")
    print("|---|---|---|---|---|")
    window = None
    for words, changed, history in variants(options.variant):
        with tempfile.TemporaryDirectory(prefix="ablation-") as home:
            context = finished.context(overlay(finished.config, changed, words), Path(home))
            window = window or open_window(finished.context(finished.config, finished.settings.home))
            reciprocal, seconds, tokens = measure(context, window, history)
        tasks = ", ".join(
            f"{task} {reciprocal[flags].mean():.4f}"
            for task, flags in window.examples.tasks.items()
            if flags.any()
        )
        print(f"| {words} | {reciprocal.mean():.4f} | {tasks} | {tokens:,.0f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
