"""Fine-tuned chains of several seeds and serving delays, on the tables of the demo cycles of a source.

    make demo SOURCE=ifdb                                          # the tables, once
    python -m benchmarks.chains --source ifdb                      # seeds 1, 2, 3; delays 0, 1, 6, 24, 48 h
    python -m benchmarks.chains --source ifdb --preset paper --seeds 1
    python -m benchmarks.chains --source ifdb --cycles 2025-03-02 2025-09-02 --changed training.finetune_learning_rate=1e-3

For every seed trains the first demo cycle from scratch and the second from it, the full model and the learned mixture,
with the passes that the cycles found, and ranks the second window by replay. Choose hyperparameters on two earlier
cycles of the home, with `--cycles` and `--changed`. Nothing of the home is changed:
checkpoints go to a temporary folder.

The model's MRR is the mean over seeds. Differences are the mean of the model's reciprocal ranks over seeds less that of
the mixture's, or less a yardstick's, with a 95 % interval over users.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.finished import changes, train_again
from benchmarks.quality import signed
from model.arrays import Floats
from model.evaluation.bootstrap import difference, pooled, resample, stack
from model.evaluation.names import CANDIDATE, MIXTURE, ModelName
from model.evaluation.ranks import Condition
from pipeline import presets
from pipeline.config import Config, overlay
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import cutoff_of, cycle_name
from pipeline.evaluation.models import open_contender
from pipeline.evaluation.ranking import rank_views, yardstick_ranks
from pipeline.evaluation.window import Window, open_window
from pipeline.settings import Settings
from pipeline.training.fit import fit
from pipeline.training.search import found_passes

DELAYS = (0.0, 1.0, 6.0, 24.0, 48.0)
"""Hours."""
SAMPLES = 1000

Reciprocal = dict[ModelName, dict[Condition, Floats]]
"""Reciprocal ranks of the window's labels, float64 [X], by model and condition."""


def chain(settings: Settings, scratch: Settings, config: Config, cycles: Sequence[str]) -> StageContext:
    """Trains the cycles in turn, each with its learned mixture; returns the context of the last."""
    parent = None
    for cycle in cycles:
        parent, context = train_again(settings, scratch, config, cycle, parent, beside=train_mixture)
    return context


def train_mixture(context: StageContext) -> None:
    """The learned mixture as `evaluate` fits it; nothing for a model that reads no signals."""
    if context.config.model.item_signals:
        size, passes = context.config.funnel.rungs[0], found_passes(context)
        fit(context, MIXTURE, size, passes=passes, history=False)


def replayed(window: Window) -> list[Condition]:
    """Replay at each delay."""
    return [condition for condition in window.ends if condition.protocol == "replay"]


def ranked(context: StageContext, window: Window) -> Reciprocal:
    """By the models that the context's cycle trained."""
    found: Reciprocal = {}
    conditions = replayed(window)
    views = [window.view(condition) for condition in conditions]
    for name in (CANDIDATE, MIXTURE) if context.config.model.item_signals else (CANDIDATE,):
        rankings = rank_views(context, window, open_contender(context, name), views)
        found[name] = {
            condition: 1 / ranking.rank for condition, ranking in zip(conditions, rankings, strict=True)
        }
    return found


def compared(window: Window, first: Floats, second: Floats) -> str:
    """The mean of the first less that of the second, with its interval over users."""
    user = np.unique(window.examples.user, return_inverse=True)[1]
    every, users = np.ones(first.size, bool), int(user.max()) + 1
    columns = stack([pooled(user, value, every, users) for value in (first, second)])
    drawn = resample(columns, SAMPLES)
    absolute = difference(tuple(drawn.point), tuple(drawn.samples.T)).absolute
    return signed((absolute.value, absolute.low, absolute.high))


def best(yardsticks: Reciprocal, condition: Condition) -> ModelName:
    """The yardstick with the highest MRR."""
    return max(yardsticks, key=lambda name: float(yardsticks[name][condition].mean()))


def print_table(source: str, window: Window, seeds: list[Reciprocal], yardsticks: Reciprocal) -> None:
    """One line per delay."""
    for condition in replayed(window):
        model = [found[CANDIDATE][condition] for found in seeds]
        each = ", ".join(f"{value.mean():.4f}" for value in model)
        name = best(yardsticks, condition)
        other = yardsticks[name][condition]
        mean = np.mean(model, axis=0)
        cells = [source, f"{condition.delay_hours:g} h", f"{mean.mean():.4f} ({each})"]
        if MIXTURE in seeds[0]:
            mixture = np.mean([found[MIXTURE][condition] for found in seeds], axis=0)
            cells += [f"{mixture.mean():.4f}", compared(window, mean, mixture)]
        else:
            cells += ["–", "–"]
        cells += [f"{name.words}: {other.mean():.4f}", compared(window, mean, other)]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="ml-100k")
    parser.add_argument("--preset", help="of the models; the tables are those of the cycles that ran")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cycles", nargs=2, help="names of finished cycles; by default the demo's")
    parser.add_argument("--changed", default="", help="section.key=value,…")
    options = parser.parse_args()
    settings = Settings.from_environment()
    config = presets.load(options.source, options.preset)
    config = overlay(config, changes(options.changed), options.changed)
    cycles = options.cycles or [cycle_name(cutoff_of(day)) for day in config.schedule.demo_cutoffs]
    config = overlay(config, {"evaluation": {"delays_hours": list(DELAYS)}}, "the delays")
    seeds: list[Reciprocal] = []
    window, yardsticks = None, {}
    for seed in options.seeds:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="chains-") as folder:
            scratch = Settings.at(Path(folder), lake=settings.lake)
            seeded = overlay(config, {"training": {"seed": seed}}, f"seed {seed}")
            context = chain(settings, scratch, seeded, cycles)
            if window is None:
                # Without a parent in the scratch home to read vocabularies from, slices are not needed.
                alone = replace(context, cycle=replace(context.cycle, reference=None))
                window = open_window(alone)
                ranks, _ = yardstick_ranks(alone, window)
                yardsticks = {
                    name: {condition: 1 / ranking.rank for condition, ranking in by_condition.items()}
                    for name, by_condition in ranks.items()
                }
            seeds.append(ranked(context, window))
        judged = seeds[-1][CANDIDATE][window.judged].mean()
        print(f"seed {seed}: {judged:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    print(
        "| source | delay | model (each seed) | learned mixture | − mixture | best other yardstick | − it |"
    )
    print("|---" * 7 + "|")
    print_table(options.source, window, seeds, yardsticks)


if __name__ == "__main__":
    main()
