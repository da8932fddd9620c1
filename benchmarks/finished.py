"""The tables of a finished cycle, for benchmarks that train on them and change nothing in their home."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from model.evaluation.names import CANDIDATE
from pipeline import presets
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, Cycle, cutoff_of, cycle_name, load_cycle
from pipeline.cycle.records import Records, read_records
from pipeline.settings import Settings
from pipeline.training.fit import fit
from pipeline.training.search import found_passes
from pipeline.workflows.refresh_cycle import workflow


@dataclass(frozen=True)
class FinishedCycle:
    """A cycle of this home that has run, as one without a parent: models are trained from scratch."""

    settings: Settings
    config: Config
    cycle: Cycle
    records: Records

    def context(self, changed: Config, home: Path) -> StageContext:
        """Of `evaluate` under another configuration, with checkpoints in another home."""
        elsewhere = replace(self.settings, home=home)
        return StageContext(
            workflow(changed)["evaluate"], changed, self.cycle, elsewhere, self.records, lambda _: None
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--source` and `--cutoff`, which `finished_cycle` reads."""
    parser.add_argument("--source", default="ml-100k")
    parser.add_argument("--cutoff", help="a finished cycle's; by default that of the second demo cycle")


def finished_cycle(options: argparse.Namespace) -> FinishedCycle:
    """The cycle that was asked for."""
    settings, config = Settings.from_environment(), presets.load(options.source)
    name = options.cutoff or cycle_name(cutoff_of(config.schedule.demo_cutoffs[1]))
    cycle = replace(load_cycle(settings, options.source, name), parent=None)
    return FinishedCycle(settings, config, cycle, read_records(settings.cycle_folder(options.source, name)))


def changes(words: str) -> dict[str, dict[str, object]]:
    """`section.key=value,…` as a layer of configuration; values are JSON without commas."""
    changed: dict[str, dict[str, object]] = {}
    for change in words.split(",") if words else ():
        place, _, value = change.partition("=")
        section, _, key = place.partition(".")
        changed.setdefault(section, {})[key] = json.loads(value)
    return changed


def train_again(
    settings: Settings,
    scratch: Settings,
    config: Config,
    cycle: str,
    parent: AcceptedVersion | None,
    beside: Callable[[StageContext], None] = lambda context: None,
) -> tuple[AcceptedVersion, StageContext]:
    """Trains a finished cycle's candidate in the scratch home; returns it as a parent, and the context. `beside` trains
    further models of the cycle, for the next one to start from."""
    source = config.source.name
    records = read_records(settings.cycle_folder(source, cycle))
    resolved = replace(load_cycle(settings, source, cycle), parent=parent, reference=parent)
    context = StageContext(workflow(config)["evaluate"], config, resolved, scratch, records)
    digest = fit(context, CANDIDATE, config.model.size, passes=found_passes(context)).checkpoint_digest
    beside(context)
    folder = scratch.cycle_folder(source, cycle)
    folder.mkdir(parents=True)
    for path in settings.cycle_folder(source, cycle).glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    accepted.keep(scratch, resolved, digest)
    return AcceptedVersion(0, cycle, resolved.split, digest), context
