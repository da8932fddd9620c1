"""Whole cycles over the tiny log, in one process with the one Spark session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from model.config import TrainingConfig
from pipeline.config import Config
from pipeline.cycle import lease
from pipeline.cycle.definition import Cycle, cycle_name
from pipeline.runner import Outcome, run_cycle
from pipeline.settings import Settings
from pipeline.stages.resolve import pin_cycle
from tests.factories import CUTOFFS, tiny_config, tiny_log

TRAINING = TrainingConfig(
    batch_tokens=256,
    epochs=30,
    finetune_epochs=2,
    learning_rate=5e-3,
    finetune_learning_rate=5e-4,
    embedding_learning_rate=5e-3,
    validation_days=0,
    checkpoint_every_steps=20,
    threads=1,
)
"""Enough for the tiny log: its models beat frozen popularity, so that both cycles are accepted."""


def configuration() -> Config:
    """The tiny configuration with everything that a model reads by default."""
    config = tiny_config(training=TRAINING)
    signals = dict.fromkeys(("item_signals", "pair_signals", "request_time"), True)
    return config.model_copy(update={"model": config.model.model_copy(update=signals)})


class House:
    """A home with the tiny log landed in it, and the cycles that ran there."""

    def __init__(self, home: Path, config: Config, jars: Path, planted: bool = False):
        self.settings = Settings.at(home)
        self.config = config
        self.log = tiny_log(self.settings.landing(config.source.name), planted=planted)
        self.lines: list[str] = []
        home.joinpath("jars").symlink_to(jars)

    def run(
        self, cutoff: datetime, config: Config | None = None, **options
    ) -> tuple[Cycle, dict[str, Outcome]]:
        """One whole cycle, as the command `cycle` runs it."""
        config = config or self.config
        with lease.holding(self.settings, config.source.name, cycle_name(cutoff)):
            cycle = pin_cycle(config, cutoff, self.settings, **options)
            return cycle, run_cycle(config, cycle, self.settings, self.lines.append)


@pytest.fixture(scope="session")
def make_house(tmp_path_factory, spark) -> Callable[..., House]:
    """Makes an empty home; `spark` is asked for first so that every stage finds its session."""
    default_jars = Settings.from_environment().jars

    def make(config: Config | None = None, **options) -> House:
        return House(tmp_path_factory.mktemp("home"), config or configuration(), default_jars, **options)

    return make


@pytest.fixture(scope="session")
def three_cycles(make_house) -> tuple[House, list[tuple[Cycle, dict[str, Outcome]]]]:
    """A home in which three cycles have run, each fine-tuned from the one before."""
    house = make_house()
    return house, [house.run(cutoff) for cutoff in CUTOFFS]
