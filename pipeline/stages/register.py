"""Registers an accepted model: weights, frozen features and lineage as one loadable version.

Only a candidate that the funnel accepted comes here. Doing it again finds the version and makes no
second one, even when the first attempt was killed between logging and recording.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from expectations.tables import ITEMS, SEQUENCES, location
from model.data.cycle_tables import CycleTables
from model.data.items import load_items
from model.evaluation.names import CANDIDATE
from model.serving.scoring import Meaning, write_serving_folder
from pipeline.cycle import accepted
from pipeline.cycle.lineage import lineage
from pipeline.cycle.records import StageContext, StageResult
from pipeline.registry import tracking
from pipeline.settings import CHECKOUT

REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "torch",
    "xxhash",
    "deltalake",
)
"""What a loaded version needs, at the versions it was made with."""
PACKAGES = ("model", "expectations")
"""Source folders that travel with the version."""


def register(context: StageContext) -> StageResult:
    """Registers this cycle's candidate and gives it the alias `challenger`."""
    trained = context.figures("train")
    digest = trained["checkpoint_digest"]
    accepted.keep(context.settings, context.cycle, digest)
    version = tracking.find_version(context, digest)
    if version is None:
        facts = {
            **lineage(context),
            "checkpoint_digest": digest,
            "verdicts": {
                name: context.figures(name).get("outcome", "passed")
                for name in ("rung_1", "rung_2", "funnel")
            },
            "mrr": context.figures("evaluate").get("mrr", {}),
        }
        version = tracking.create_version(context, _log_model(context), facts, _note(context))
    if context.cycle.run_type != "backfill":
        tracking.set_alias(context.settings, context.cycle.source, tracking.CHALLENGER_ALIAS, version)
    name = tracking.model_name(context.cycle.source)
    context.say(f"version {version} of {name}")
    return StageResult(figures={"version": version, "model": name, "checkpoint_digest": digest})


def _note(context: StageContext) -> str:
    parent = context.cycle.parent
    origin = (
        f"fine-tuned from version {parent.version} (cycle {parent.cycle})"
        if parent
        else "trained from scratch"
    )
    return f"Cycle {context.cycle.name}, {origin}."


def _log_model(context: StageContext) -> str:
    """Writes the serving folder and logs it with the code that loads it. Returns the model's URI."""
    context.settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.settings.home, prefix=".serving-") as temporary:
        folder = Path(temporary) / "weights"
        _write_serving_folder(context, folder)
        return tracking.log_model(
            context,
            code=CHECKOUT / "pipeline" / "served_model.py",
            packages=[CHECKOUT / name for name in PACKAGES],
            weights=folder,
            requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
        )


def _write_serving_folder(context: StageContext, folder: Path) -> None:
    config, cycle, settings = context.config, context.cycle, context.settings
    network = config.network()
    tables = CycleTables(settings.lake, cycle.source, cycle.name, context.versions)
    items = load_items(tables, network.features)
    write_serving_folder(
        folder,
        settings.checkpoint_folder(cycle.source, cycle.name, CANDIDATE) / "model.safetensors",
        network,
        items.catalogue,
        _named(context, items.retired),
        Meaning(
            source=cycle.source,
            cycle=cycle.name,
            actions=config.source.actions,
            rewards=_typical_rewards(context),
            context_length=config.sequences.context_length,
        ),
    )


def _read(context: StageContext, table: str, columns: list[str], cycle: str | None) -> pa.Table:
    address = location(context.settings.lake, context.cycle.source, table)
    partitions = [("cycle", "=", cycle)] if cycle else None
    delta = DeltaTable(address, version=context.versions[table])
    return delta.to_pyarrow_table(partitions=partitions, columns=columns)


def _named(context: StageContext, retired: np.ndarray) -> pa.Table:
    """item_id, title, launched_at_us and retired, in order of item_index."""
    rows = _read(context, ITEMS.name, ["item_index", "item_id", "title", "launched_at"], None).sort_by(
        "item_index"
    )
    launched = rows["launched_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return rows.append_column("launched_at_us", launched).append_column("retired", pa.array(retired))


def _typical_rewards(context: StageContext) -> tuple[float, ...]:
    """Median reward weight of every action among the training sequences; 0 for an action never seen."""
    rows = _read(context, SEQUENCES.name, ["action", "reward"], context.cycle.name)
    tokens = pa.table({name: pc.list_flatten(rows[name]) for name in ("action", "reward")})
    medians = tokens.group_by("action").aggregate([("reward", "approximate_median")]).to_pylist()
    by_action = {row["action"]: float(row["reward_approximate_median"]) for row in medians}
    return tuple(by_action.get(code, 0.0) for code in range(len(context.config.source.actions)))
