"""A home with one or two cycles of tiny tables, written without Spark, and the context of `train` there.

Run as a program (`python -m tests.pipeline.tiny_training HOME`) it fits the first cycle's candidate,
slowly enough to be killed on the way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.instants import microseconds
from model.config import ModelSection, ObjectiveConfig, TrainingConfig
from model.data.cycle_tables import READABLE
from model.evaluation.names import CANDIDATE
from model.training import checkpoint
from pipeline.config import Config
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, Cycle
from pipeline.cycle.records import StageRecord, write_record
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import workflow
from spark_jobs.config import FeaturesConfig
from spark_jobs.figures import ItemSignalsFigures, VocabularyFigures
from tests.factories import tiny_config, tiny_source
from tests.model import lake
from tests.model.signal_rows import BUCKET_US, HALF_LIVES

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = EPOCH + timedelta(days=30)
SECOND = EPOCH + timedelta(days=40)
WINDOW = timedelta(days=10)
ITEMS = 48


def config(**training: Any) -> Config:
    """Two epochs of about five steps on the smallest backbone."""
    settings = {
        "batch_tokens": 102,
        "epochs": 2.0,
        "finetune_epochs": 1.0,
        "checkpoint_every_steps": 3,
        "validation_days": 2.0,
        "threads": 1,
        "accelerator": "cpu",
    }
    source = tiny_source()
    events = source.events.model_copy(update={"position": None, "country": None, "watch_seconds": None})
    return tiny_config(
        source=source.model_copy(update={"events": events}),
        features=FeaturesConfig(language_encoder="none", graph_width=8),
        model=ModelSection(
            size="25k",
            item_width=16,
            semantic_output_width=32,
            dropout=0.2,
            modalities=("graph",),
            item_signals=False,  # `with_signals` turns them on
            pair_signals=False,
            request_time=False,
        ),
        objective=ObjectiveConfig(label_window=3, half_life_hours=48.0),
        training=TrainingConfig(**(settings | training)),
    )


def with_signals(configuration: Config) -> Config:
    """The same configuration of a model that reads item signals, pair signals and the time of the request."""
    signals = {"item_signals": True, "pair_signals": True, "request_time": True}
    model = configuration.model.model_copy(update=signals)
    return configuration.model_copy(update={"model": model})


def histories(until_day: int) -> dict[str, list[lake.Event]]:
    """Events up to a day; those of a later day continue those of an earlier one."""
    everything = lake.histories(users=16, items=40, days=30, hours=24)
    until = until_day * lake.DAY
    cut = {user: [event for event in events if event[1] <= until] for user, events in everything.items()}
    return {user: events for user, events in cut.items() if events}


def first_cycle(
    home: Path,
    configuration: Config | None = None,
    users: dict[str, list[lake.Event]] | None = None,
    say: Callable[[str], None] = print,
) -> StageContext:
    """The cycle whose cutoff is FIRST: split on day 20, 30 items in the vocabulary."""
    settings = Settings.at(home)
    cycle = Cycle(lake.SOURCE, FIRST, WINDOW, None)
    users = users or histories(20)
    split_us = microseconds(cycle.split)
    versions = lake.write_cycle(
        Path(settings.lake), users, ITEMS, in_vocabulary=30, cycle=cycle.name, split_us=split_us
    )
    return context(settings, configuration or config(), cycle, versions, say)


def second_cycle(
    first: StageContext, checkpoint_digest: str, say: Callable[[str], None] = print
) -> StageContext:
    """The cycle whose cutoff is SECOND, fine-tuned from the first: split on day 30, 4 items more."""
    folder = first.settings.cycle_folder(first.cycle.source, first.cycle.name)
    for record in first.finished.values():
        write_record(folder, record)
    accepted.keep(first.settings, first.cycle, checkpoint_digest)
    parent = AcceptedVersion(1, first.cycle.name, first.cycle.split, checkpoint_digest)
    cycle = Cycle(lake.SOURCE, SECOND, WINDOW, parent, parent)
    versions = lake.write_cycle(
        Path(first.settings.lake),
        histories(30),
        ITEMS,
        in_vocabulary=34,
        cycle=cycle.name,
        features_seed=1,
        split_us=microseconds(cycle.split),
    )
    return context(first.settings, first.config, cycle, versions, say)


def context(
    settings: Settings,
    configuration: Config,
    cycle: Cycle,
    versions: dict[str, int],
    say: Callable[[str], None],
) -> StageContext:
    """The context of `train`, with these table versions pinned."""
    figures = VocabularyFigures(cold_start_rate=0.2, masking_rate=0.2, labels=100, cold_labels=20)
    signals = ItemSignalsFigures(HALF_LIVES, BUCKET_US, 0, 0, 0, 0, 0)
    finished = {
        "vocabulary": StageRecord("vocabulary", "", {}, versions, figures, None, 0.0, "", 0.0),
        "item_signals": StageRecord("item_signals", "", {}, {}, signals, None, 0.0, "", 0.0),
    }
    return StageContext(workflow(configuration)["train"], configuration, cycle, settings, finished, say)


class Killed(BaseException):
    """Stands for a kill: nothing in the program may catch it."""


def die_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """Training ends right after this many resumable states."""
    save, left = checkpoint.save_partial, iter(range(saves - 1, -1, -1))

    def dying(*args: Any) -> None:
        save(*args)
        if next(left) == 0:
            raise Killed

    monkeypatch.setattr(checkpoint, "save_partial", dying)


def main(home: str) -> None:
    """Fits the first cycle's candidate over existing tables, pausing after every saved state."""
    from pipeline.training.fit import fit

    save = checkpoint.save_partial

    def slowly(*args: Any) -> None:
        save(*args)
        print("saved", flush=True)
        time.sleep(0.6)

    checkpoint.save_partial = slowly
    settings = Settings.at(Path(home))
    cycle = Cycle(lake.SOURCE, FIRST, WINDOW, None)
    versions = dict.fromkeys((table.name for table in READABLE), 0)
    fit(context(settings, config(), cycle, versions, print), CANDIDATE, "25k")


if __name__ == "__main__":
    main(sys.argv[1])
