"""The map: every stage of a refresh cycle, what it reads and writes, and how it is run.

The DAG, `--list`, `cycle`, the README's table and the tests are all made from `STAGES`. A stage's
function is named, not imported, so that reading the map loads neither Spark nor torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.cycle.records import StageContext, StageResult

Engine = Literal["python", "spark", "torch"]


@dataclass(frozen=True)
class Stage:
    """One step of a cycle: a command of its own, that Airflow calls and a person can call."""

    name: str
    title: str
    """What it does, for people."""
    function: str
    """`module:name` of `StageContext → StageResult`, or of a Spark job's `main`."""
    engine: Engine
    after: tuple[str, ...]
    """Stages that must have finished; stages after the same ones may run side by side."""
    phase: str | None = None
    """The part of the cycle it belongs to, for people who look at the whole; None: it stands alone."""
    reads: tuple[str, ...] = ()
    """Tables and files read."""
    writes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    """Sections of the configuration that change its result."""
    refusable: bool = False
    """Whether it may refuse the candidate (exit code 99, a result and not an error)."""
    retries: int = 0
    """Times Airflow runs it again after a crash; waiting for a busy source uses up none."""
    always: bool = False
    """Whether it runs after a refusal too."""

    @property
    def is_spark_job(self) -> bool:
        """Whether the function is a Spark job's `main(spark, job)`."""
        return self.function.startswith("spark_jobs.")

    def load(self) -> Callable[[StageContext], StageResult]:
        """The stage's function; imports its module, and with it the engine."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


RESOLVE = Stage(
    "resolve",
    "decide the cutoff, pin the parent, land the source's files",
    "pipeline.cycle.definition:resolve",
    "python",
    after=(),
    reads=("registry",),
    writes=("cycle record",),
    retries=1,
)
"""Runs before any record exists; under Airflow it waits up to an hour for another cycle of the source."""

_DATA = ("source", "schedule")
_MODEL = ("source", "schedule", "model", "objective", "training", "vocabulary")

STAGES: tuple[Stage, ...] = (
    Stage(
        "events",
        "parse, type and deduplicate newly landed lines",
        "spark_jobs.events:main",
        "spark",
        after=("resolve",),
        phase="ingestion",
        reads=("landed files",),
        writes=("events", "rejected_events", "ingested_files"),
        sections=("source",),
        retries=1,
    ),
    Stage(
        "items",
        "number new items, refresh titles, tags and graph edges",
        "spark_jobs.items:main",
        "spark",
        after=("events",),
        phase="ingestion",
        reads=("events", "landed files"),
        writes=("items", "rejected_items"),
        sections=("source",),
        retries=1,
    ),
    Stage(
        "validate_events",
        "judge events and items by their expectations",
        "pipeline.stages.validate:validate_events",
        "spark",
        after=("items",),
        phase="ingestion",
        reads=("events", "items", "ingested_files"),
        writes=("expectation report",),
        sections=("source", "schedule", "expectations"),
    ),
    Stage(
        "vocabulary",
        "add items with enough events; measure the cold-start rate",
        "spark_jobs.vocabulary:main",
        "spark",
        after=("validate_events",),
        phase="preparation",
        reads=("events", "items", "vocabulary"),
        writes=("vocabulary",),
        sections=(*_DATA, "vocabulary"),
        retries=1,
    ),
    Stage(
        "item_features",
        "language, graph and annotation vectors",
        "spark_jobs.item_features:main",
        "spark",
        after=("validate_events",),
        phase="preparation",
        reads=("events", "items", "text_vectors"),
        writes=("item_features", "text_vectors"),
        sections=(*_DATA, "features"),
        retries=1,
    ),
    Stage(
        "sequences",
        "single-token sequences and label sets up to the split",
        "spark_jobs.sequences:main",
        "spark",
        after=("validate_events",),
        phase="preparation",
        reads=("events", "items"),
        writes=("sequences",),
        sections=(*_DATA, "sequences"),
        retries=1,
    ),
    Stage(
        "evaluation_sequences",
        "histories of the users who have a label in the window",
        "spark_jobs.evaluation_sequences:main",
        "spark",
        after=("validate_events",),
        phase="preparation",
        reads=("events", "items"),
        writes=("evaluation_sequences",),
        sections=(*_DATA, "sequences"),
        retries=1,
    ),
    Stage(
        "validate_sequences",
        "judge vocabulary and sequences by their expectations",
        "pipeline.stages.validate:validate_sequences",
        "spark",
        after=("vocabulary", "item_features", "sequences", "evaluation_sequences"),
        phase="preparation",
        reads=("events", "vocabulary", "sequences"),
        writes=("expectation report",),
        sections=("source", "schedule", "sequences", "expectations"),
    ),
    Stage(
        "rung_1",
        "train and judge the smallest backbone",
        "pipeline.stages.rungs:rung_1",
        "torch",
        after=("validate_sequences",),
        phase="small_models",
        reads=("events", "items", "sequences", "evaluation_sequences", "vocabulary", "item_features"),
        writes=("checkpoint", "ranks"),
        sections=(*_MODEL, "evaluation", "funnel"),
        refusable=True,
        retries=1,
    ),
    Stage(
        "rung_2",
        "train and judge the second rung",
        "pipeline.stages.rungs:rung_2",
        "torch",
        after=("rung_1",),
        phase="small_models",
        reads=("events", "items", "sequences", "evaluation_sequences", "vocabulary", "item_features"),
        writes=("checkpoint", "ranks"),
        sections=(*_MODEL, "evaluation", "funnel"),
        refusable=True,
        retries=1,
    ),
    Stage(
        "train",
        "train the full model from its parent",
        "pipeline.training.fit:train",
        "torch",
        after=("rung_2",),
        phase="full_model",
        reads=("items", "sequences", "vocabulary", "item_features"),
        writes=("checkpoint",),
        sections=_MODEL,
        refusable=True,
        retries=1,
    ),
    Stage(
        "evaluate",
        "rank every label of the window, yardsticks beside it",
        "pipeline.evaluation.ranking:evaluate",
        "torch",
        after=("train",),
        phase="full_model",
        reads=(
            "events",
            "items",
            "sequences",
            "evaluation_sequences",
            "vocabulary",
            "item_features",
            "checkpoint",
        ),
        writes=("ranks",),
        sections=(*_MODEL, "evaluation"),
        retries=1,
    ),
    Stage(
        "funnel",
        "judge the full model",
        "pipeline.stages.funnel:funnel",
        "torch",
        after=("evaluate",),
        phase="full_model",
        reads=("ranks",),
        writes=("verdicts",),
        sections=("source", "evaluation", "funnel"),
        refusable=True,
    ),
    Stage(
        "register",
        "register the accepted version with its lineage",
        "pipeline.stages.register:register",
        "python",
        after=("funnel",),
        phase="registry",
        reads=("checkpoint", "verdicts"),
        writes=("registered version",),
        sections=("source", "model"),
        retries=1,
    ),
    Stage(
        "promote",
        "move the champion alias, when it may move",
        "pipeline.registry.promotion:promote",
        "python",
        after=("register",),
        phase="registry",
        reads=("registered version",),
        writes=("alias",),
        sections=("registry",),
        retries=1,
    ),
    Stage(
        "report",
        "write the cycle report and the cycle's run in the registry",
        "pipeline.stages.report:report",
        "python",
        after=("promote",),
        reads=("every record", "ranks"),
        writes=("report",),
        sections=("source", "evaluation", "funnel"),
        always=True,
    ),
)
"""In the order of the data's way; `resolve` comes before, `release` after."""

BY_NAME: dict[str, Stage] = {stage.name: stage for stage in (RESOLVE, *STAGES)}


def listing() -> list[tuple[str, str, str, str, str]]:
    """Rows of the map for people: stage, what it does, reads, writes, engine."""
    return [
        (stage.name, stage.title, ", ".join(stage.reads), ", ".join(stage.writes), stage.engine)
        for stage in BY_NAME.values()
    ]
