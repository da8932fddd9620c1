"""The serving folder of a version: weights, frozen features, names and meanings, all safetensors or JSON."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from expectations.instants import microseconds
from expectations.tables import SEQUENCES
from model.data.cycle_items import load_items
from model.data.cycle_tables import CycleTables
from model.data.delta import PinnedTable
from model.data.signals import SignalsShape, window_signals
from model.evaluation.names import CANDIDATE
from model.serving.scoring import Meaning, write_serving_folder
from model.training.checkpoint import WEIGHTS
from pipeline.cycle.context import StageContext
from pipeline.cycle.signals import network, signals_shape


def write(context: StageContext, folder: Path) -> None:
    """Writes this cycle's candidate as it will be served."""
    _write(context, folder, _typical_rewards(context))


def megabytes(context: StageContext) -> float:
    """Size of this cycle's candidate as it will be served: weights, frozen features, items and their names.

    The folder is written and removed again, as nothing else says what its formats come to.
    """
    context.settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.settings.home, prefix=".serving-") as temporary:
        # The typical rewards, a number an action, cost a pass over the sequences and weigh next to nothing.
        _write(context, Path(temporary), (0.0,) * len(context.config.source.actions))
        return sum(path.stat().st_size for path in Path(temporary).iterdir()) / 1e6


def _write(context: StageContext, folder: Path, rewards: tuple[float, ...]) -> None:
    config, cycle, settings = context.config, context.cycle, context.settings
    model = network(context)
    tables = CycleTables(settings.lake, cycle.source, cycle.name, context.versions)
    items = load_items(tables, model.features)
    shape, signals = SignalsShape((), 0), None
    if model.reads_signals:
        shape = signals_shape(context)
        signals = window_signals(
            settings.lake, cycle.source, cycle.name, context.versions, shape, items.items.count
        )
    write_serving_folder(
        folder,
        settings.checkpoint_folder(cycle.source, cycle.name, CANDIDATE) / WEIGHTS,
        model,
        items,
        Meaning(
            source=cycle.source,
            cycle=cycle.name,
            actions=config.source.actions,
            rewards=rewards,
            context_length=config.sequences.context_length,
            known_until_us=microseconds(cycle.cutoff),
            half_lives_days=shape.half_lives_days,
            bucket_us=shape.bucket_us,
        ),
        signals,
    )


def _typical_rewards(context: StageContext) -> tuple[float, ...]:
    """Median reward weight of every action among the training sequences; 0 for an action never seen."""
    cycle, version = context.cycle, context.versions[SEQUENCES.name]
    table = PinnedTable(context.settings.lake, cycle.source, SEQUENCES, version)
    rows = table.read(["action", "reward"], cycle=cycle.name)
    tokens = pa.table({name: pc.list_flatten(rows[name]) for name in ("action", "reward")})
    medians = tokens.group_by("action").aggregate([("reward", "approximate_median")]).to_pylist()
    by_action = {row["action"]: float(row["reward_approximate_median"]) for row in medians}
    return tuple(by_action.get(code, 0.0) for code in range(len(context.config.source.actions)))
