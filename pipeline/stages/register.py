"""Registers an accepted model: weights, frozen features, code and lineage as one loadable version.

    python -m pipeline register --source my.toml --cutoff 2026-03-01

Reads the candidate's checkpoint, the tables that name its items, and every earlier record. Leaves a
registered version with the alias `challenger`, and what later cycles need of it under `accepted/`. Run
again, even after a kill between logging and recording, it finds the version and makes no second one.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version as installed
from pathlib import Path

from expectations.crash_points import reach
from pipeline.cycle import accepted
from pipeline.cycle.context import StageContext
from pipeline.cycle.figures import EvaluateFigures, FunnelFigures, RegisterFigures, RungFigures, TrainFigures
from pipeline.cycle.lineage import lineage
from pipeline.cycle.records import StageResult
from pipeline.registry import serving_folder, tracking
from pipeline.registry.served_code import importable, write_served_code

REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "safetensors",
    "scipy",
    "torch",
    "xxhash",
    "deltalake",
)
"""What a loaded version needs, at the versions it was made with."""


def register(context: StageContext) -> StageResult:
    """The stage: registers this cycle's candidate and gives it the alias `challenger`."""
    digest = context.figures("train", TrainFigures).training.checkpoint_digest
    accepted.keep(context.settings, context.cycle, digest)
    reach("after-kept")
    version = tracking.find_version(context, digest)
    if version is None:
        facts = {
            **lineage(context),
            "checkpoint_digest": digest,
            "verdicts": _outcomes(context),
            "mrr": dict(context.figures("evaluate", EvaluateFigures).measures.mrr),
        }
        note = f"Cycle {context.cycle.name}, {context.cycle.origin}."
        model = _log_model(context)
        reach("after-logged")
        version = tracking.create_version(context, model, facts, note)
        reach("after-version")
    if context.cycle.run_type != "backfill":
        tracking.set_alias(context.settings, context.cycle.source, tracking.CHALLENGER_ALIAS, version)
        reach("after-challenger")
    name = tracking.model_name(context.cycle.source)
    context.say(f"version {version} of {name}")
    return StageResult(RegisterFigures(version, name, digest))


def _outcomes(context: StageContext) -> dict[str, str]:
    """Outcome of every gate, by stage."""
    return {
        record.stage: record.figures.outcome
        for record in context.records.values()
        if isinstance(record.figures, RungFigures | FunnelFigures)
    }


def _log_model(context: StageContext) -> str:
    """Logs the serving folder with the code that loads it. Returns the model's URI."""
    context.settings.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=context.settings.home, prefix=".serving-") as temporary:
        weights, code = Path(temporary) / "weights", Path(temporary) / "code"
        serving_folder.write(context, weights)
        entry, package = write_served_code(code)
        with importable(package):
            return tracking.log_model(
                context,
                code=entry,
                packages=[package],
                weights=weights,
                requirements=[f"{name}=={installed(name)}" for name in REQUIREMENTS],
            )
