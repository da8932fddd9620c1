"""The tables of a finished cycle, for benchmarks that train on them and change nothing in their home."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import presets
from pipeline.config import Config
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import Cycle, cutoff_of, cycle_name, load_cycle
from pipeline.cycle.records import Records, read_records
from pipeline.settings import Settings
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
