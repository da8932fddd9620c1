"""What the semantic tower is worth on cold-start items: the demo cycles trained again without it.

    make demo SOURCE=ifdb                                # the cycles with the tower
    python -m benchmarks.without_tower --source ifdb     # prints one line of the README's table

Trains both cycles again on the tables that the demo left in this home, without `model.modalities`, and
where the source has it without `model.network.freshness` too; nothing is written beside a temporary folder.
Cold-start items lie outside the vocabularies of both cycles; replay, delay 0.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluation.bootstrap import interval, pooled, resample, stack
from model.evaluation.names import CANDIDATE
from model.evaluation.ranking import rank_examples
from pipeline import presets
from pipeline.config import Config, overlay
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, cutoff_of, cycle_name, load_cycle
from pipeline.cycle.records import read_records
from pipeline.evaluation.models import open_contender
from pipeline.evaluation.window import Window, open_window
from pipeline.settings import Settings
from pipeline.training.fit import fit
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
    cold = window.examples.slices["cold_start"]
    cells = {"with the tower": mrr(window, ranks_of(demo, window), cold)}
    for name, changes in variants(config).items():
        bare = overlay(config, {"model": changes}, name)
        with tempfile.TemporaryDirectory(prefix="without-tower-") as folder:
            scratch = Settings.at(Path(folder), lake=settings.lake)
            cells[name] = mrr(window, ranks_of(train_cycles(settings, scratch, bare), window), cold)
    print("| source | cold-start labels | " + " | ".join(cells) + " |\n" + "|---" * (2 + len(cells)) + "|")
    print(f"| {source} | {cold.sum():,} | " + " | ".join(cells.values()) + " |")


def variants(config: Config) -> dict[str, dict[str, Any]]:
    """What is taken out of the model, by name."""
    found: dict[str, dict[str, Any]] = {"without": {"modalities": []}}
    if config.model.freshness:
        found["without tower and freshness"] = found["without"] | {"freshness": False}
    return found


def train_cycles(settings: Settings, scratch: Settings, config: Config) -> StageContext:
    """Fits both demo cycles, the second from the first; the second's context."""
    parent = None
    for cutoff in config.schedule.demo_cutoffs:
        parent, context = train_again(settings, scratch, config, cycle_name(cutoff_of(cutoff)), parent)
    return context


def train_again(
    settings: Settings, scratch: Settings, config: Config, cycle: str, parent: AcceptedVersion | None
) -> tuple[AcceptedVersion, StageContext]:
    """Fits a cycle's candidate into the scratch home; what a later cycle needs of it, and its context."""
    source = config.source.name
    records = read_records(settings.cycle_folder(source, cycle))
    resolved = replace(load_cycle(settings, source, cycle), parent=parent, reference=parent)
    context = StageContext(workflow(config)["train"], config, resolved, scratch, records)
    digest = fit(context, CANDIDATE, config.model.size).checkpoint_digest
    folder = scratch.cycle_folder(source, cycle)
    folder.mkdir(parents=True)
    for path in settings.cycle_folder(source, cycle).glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    accepted.keep(scratch, resolved, digest)
    return AcceptedVersion(0, cycle, resolved.split, digest), context


def ranks_of(context: StageContext, window: Window) -> np.ndarray:
    """Rank of every label by the context's candidate, float64 [X]."""
    candidate = open_contender(context, CANDIDATE)
    view = window.view(window.judged)
    length = context.config.sequences.context_length
    (ranking,) = rank_examples(
        candidate.recommender, candidate.catalogue, window.examples, window.candidates, [view], length
    )
    return ranking.rank


def mrr(window: Window, rank: np.ndarray, mask: np.ndarray) -> str:
    """MRR with its 95 % interval over users."""
    user = np.unique(window.examples.user, return_inverse=True)[1]
    total, count = pooled(user, 1 / rank, mask, user.max() + 1)
    drawn = resample(stack([(total, count)]), 1000)
    found = interval(drawn.point[0], drawn.samples[:, 0])
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


if __name__ == "__main__":
    main()
