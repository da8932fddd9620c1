"""The value of the semantic tower for cold-start items: the demo cycles, trained again without it.

    make demo SOURCE=ifdb                                # the cycles with the tower
    python -m benchmarks.without_tower --source ifdb     # prints one line of the README's table

Trains both cycles on the tables of the demo in this home without `model.modalities`, and, for a source with
`model.freshness`, without that too. Writes to a temporary folder only. Cold-start items are outside the
vocabularies of both cycles; replay, delay 0.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.finished import train_again
from model.evaluation.bootstrap import interval, pooled, resample, stack
from model.evaluation.names import CANDIDATE, COLD_START
from model.evaluation.ranking import rank_examples
from pipeline import presets
from pipeline.config import Config, overlay
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import cutoff_of, cycle_name, load_cycle
from pipeline.cycle.records import read_records
from pipeline.evaluation.models import open_contender
from pipeline.evaluation.window import Window, open_window
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", default="ifdb")
    source = parser.parse_args().source
    settings = Settings.from_environment()
    config = presets.load(source)
    second = cycle_name(cutoff_of(config.schedule.demo_cutoffs[1]))
    records = read_records(settings.cycle_folder(source, second))
    stages = workflow(config)
    demo = StageContext(stages["evaluate"], config, load_cycle(settings, source, second), settings, records)
    window = open_window(demo)
    cold = window.examples.slices[COLD_START]
    cells = {"with the tower": mrr(window, ranks_of(demo, window), cold)}
    for name, changes in variants(config).items():
        bare = overlay(config, {"model": changes}, name)
        with tempfile.TemporaryDirectory(prefix="without-tower-") as folder:
            scratch = Settings.at(Path(folder), lake=settings.lake)
            cells[name] = mrr(window, ranks_of(train_cycles(settings, scratch, bare), window), cold)
    print("| source | cold-start labels | " + " | ".join(cells) + " |\n" + "|---" * (2 + len(cells)) + "|")
    print(f"| {source} | {cold.sum():,} | " + " | ".join(cells.values()) + " |")


def variants(config: Config) -> dict[str, dict[str, Any]]:
    """Changes to the section `model`, by column of the table."""
    without_tower: dict[str, Any] = {"modalities": []}
    if not config.model.freshness:
        return {"without": without_tower}
    return {"without": without_tower, "without tower and freshness": without_tower | {"freshness": False}}


def train_cycles(settings: Settings, scratch: Settings, config: Config) -> StageContext:
    """Trains both demo cycles, the second from the first; returns the second's context."""
    parent = None
    for cutoff in config.schedule.demo_cutoffs:
        parent, context = train_again(settings, scratch, config, cycle_name(cutoff_of(cutoff)), parent)
    return context


def ranks_of(context: StageContext, window: Window) -> np.ndarray:
    """Rank of every label by the candidate of a context's cycle, float64 [X]."""
    candidate = open_contender(context, CANDIDATE)
    view = window.view(window.judged)
    (ranking,) = rank_examples(
        candidate.recommender,
        candidate.catalogue,
        window.examples,
        window.eligible,
        [view],
        candidate.context_length,
    )
    return ranking.rank


def mrr(window: Window, rank: np.ndarray, mask: np.ndarray) -> str:
    """MRR of the masked labels, with its 95 % interval over users."""
    user = np.unique(window.examples.user, return_inverse=True)[1]
    total, count = pooled(user, 1 / rank, mask, user.max() + 1)
    drawn = resample(stack([(total, count)]), 1000)
    estimate = interval(drawn.point[0], drawn.samples[:, 0])
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


if __name__ == "__main__":
    main()
