"""The map of a refresh cycle: every stage, what it reads and writes, and how it is run.

The DAG, `--list`, `cycle`, the README's table and the tests are all made from `refresh_cycle`. A stage's
function is named, not imported, so that reading the map loads neither Spark nor torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Config
from pipeline.workflows.stage import LANDED, Stage, Workflow

MAX_RUNGS = 8

RESOLVE = Stage(
    "resolve",
    "decide the cutoff, pin the parent, land the source's files",
    "pipeline.stages.resolve:resolve",
    "python",
    after=(),
    reads=("registry",),
    writes=("cycle record", LANDED),
    retries=1,
)
"""Under Airflow it waits up to an hour for another cycle of the source."""

_DATA = ("source", "schedule")
_MODEL = ("source", "schedule", "model", "objective", "training", "vocabulary")
_TRAINED = ("items", "sequences", "vocabulary", "item_features", "item_signals", "successors")
"""Tables that training reads."""
_EVALUATED = ("events", "evaluation_sequences", *_TRAINED)
"""Tables that ranking a window reads."""


def workflow(config: Config) -> Workflow:
    """The stages of a source's refresh cycle."""
    return refresh_cycle(config.funnel.rungs)


def rung_stage(number: int) -> str:
    """Name of the stage that trains and judges a rung; `number` counts from 1."""
    return f"rung_{number}"


def refresh_cycle(rungs: Sequence[str]) -> Workflow:
    """The stages of a refresh cycle whose funnel has these rungs (backbone sizes, smallest first)."""
    names = [rung_stage(number) for number in range(1, len(rungs) + 1)]
    stages = [*_preparation(), *_rungs(rungs), *_full_model(names)]
    stages += _registry(names, [stage.name for stage in stages])
    return Workflow(RESOLVE, tuple(stages))


def _preparation() -> list[Stage]:
    return [
        Stage(
            "events",
            "parse, type and deduplicate newly landed lines",
            "spark_jobs.events:main",
            "spark",
            is_job=True,
            after=("resolve",),
            phase="ingestion",
            reads=(LANDED,),
            writes=("events", "rejected_events", "ingested_files"),
            sections=("source",),
            retries=1,
        ),
        Stage(
            "items",
            "number new items, refresh titles, tags and graph edges",
            "spark_jobs.items:main",
            "spark",
            is_job=True,
            after=("events",),
            phase="ingestion",
            reads=("events", LANDED),
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
            reads=("events", "items", "ingested_files", "rejected_events"),
            records=("items",),
            continues=True,
            writes=("expectation report",),
            sections=("source", "schedule", "expectations"),
            settles_landing=True,
        ),
        Stage(
            "vocabulary",
            "add items with enough events; measure the cold-start rate",
            "spark_jobs.vocabulary:main",
            "spark",
            is_job=True,
            after=("validate_events",),
            phase="preparation",
            reads=("events", "items", "vocabulary"),
            continues=True,
            writes=("vocabulary",),
            sections=(*_DATA, "vocabulary"),
            retries=1,
        ),
        Stage(
            "item_features",
            "language, graph and annotation vectors",
            "spark_jobs.item_features:main",
            "spark",
            is_job=True,
            after=("validate_events",),
            phase="preparation",
            reads=("events", "items", "text_vectors"),
            writes=("item_features", "text_vectors"),
            sections=(*_DATA, "features"),
            retries=1,
        ),
        Stage(
            "sequences",
            "single-token sequences and their targets up to the split",
            "spark_jobs.sequences:main",
            "spark",
            is_job=True,
            after=("validate_events",),
            phase="preparation",
            reads=("events", "items", "sequences"),
            continues=True,
            writes=("sequences",),
            sections=(*_DATA, "sequences"),
            retries=1,
        ),
        Stage(
            "evaluation_sequences",
            "histories of the users who have a label in the window",
            "spark_jobs.evaluation_sequences:main",
            "spark",
            is_job=True,
            after=("validate_events",),
            phase="preparation",
            reads=("events", "items"),
            writes=("evaluation_sequences",),
            sections=(*_DATA, "sequences"),
            retries=1,
        ),
        Stage(
            "item_signals",
            "decayed counts of every item, as of the end of each bucket of time",
            "spark_jobs.item_signals:main",
            "spark",
            is_job=True,
            after=("validate_events",),
            phase="preparation",
            reads=("events", "items"),
            continues=True,
            writes=("item_signals",),
            sections=(*_DATA, "signals"),
            retries=1,
        ),
        Stage(
            "successors",
            "what each event of a user came after",
            "spark_jobs.successors:main",
            "spark",
            is_job=True,
            after=("validate_events",),
            phase="preparation",
            reads=("events", "items"),
            writes=("successors",),
            sections=(*_DATA, "signals"),
            retries=1,
        ),
        Stage(
            "validate_sequences",
            "judge vocabulary, sequences and signals by their expectations",
            "pipeline.stages.validate:validate_sequences",
            "spark",
            after=(
                "vocabulary",
                "item_features",
                "sequences",
                "evaluation_sequences",
                "item_signals",
                "successors",
            ),
            phase="preparation",
            reads=("events", "items", "vocabulary", "sequences", "item_signals", "successors"),
            records=("sequences", "item_signals"),
            continues=True,
            writes=("expectation report",),
            sections=("source", "schedule", "vocabulary", "sequences", "signals", "expectations"),
        ),
    ]


def _rungs(rungs: Sequence[str]) -> list[Stage]:
    return [
        Stage(
            rung_stage(number),
            f"train and judge the rung of {size} backbone parameters",
            "pipeline.stages.rungs:rung",
            "torch",
            rung=number,
            after=("validate_sequences" if number == 1 else rung_stage(number - 1),),
            phase="small_models",
            reads=_EVALUATED,
            records=("vocabulary", "item_signals", *((rung_stage(1),) if number > 1 else ())),
            continues=True,
            writes=("checkpoint", "ranks"),
            sections=(*_MODEL, "sequences", "features", "evaluation", "funnel"),
            retries=1,
        )
        for number, size in enumerate(rungs, 1)
    ]


def _full_model(rungs: Sequence[str]) -> list[Stage]:
    return [
        Stage(
            "train",
            "train the full model from its parent",
            "pipeline.stages.train:train",
            "torch",
            after=(rungs[-1],),
            phase="full_model",
            reads=_TRAINED,
            records=("vocabulary", "item_signals", rungs[0]),
            continues=True,
            writes=("checkpoint",),
            sections=(*_MODEL, "sequences"),
            retries=1,
        ),
        Stage(
            "evaluate",
            "rank every label of the window, yardsticks beside it",
            "pipeline.stages.evaluate:evaluate",
            "torch",
            after=("train",),
            phase="full_model",
            reads=(*_EVALUATED, "checkpoint"),
            records=("vocabulary", "item_signals", rungs[0]),
            continues=True,
            writes=("checkpoint", "ranks"),
            sections=(*_MODEL, "sequences", "features", "evaluation", "funnel"),
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
            records=(*rungs, "evaluate"),
            continues=True,
            writes=("verdicts",),
            sections=("source", "evaluation", "funnel"),
        ),
    ]


def _registry(rungs: Sequence[str], earlier: Sequence[str]) -> list[Stage]:
    return [
        Stage(
            "register",
            "register the accepted version with its lineage",
            "pipeline.stages.register:register",
            "python",
            after=("funnel",),
            phase="registry",
            reads=(*_TRAINED, "checkpoint", "verdicts"),
            records=tuple(earlier),
            continues=True,
            writes=("registered version",),
            sections=("source", "model", "sequences"),
            retries=1,
        ),
        Stage(
            "promote",
            "move the champion alias, when it may move",
            "pipeline.stages.promote:promote",
            "python",
            after=("register",),
            phase="registry",
            reads=("registered version",),
            records=("funnel", "register"),
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
            reads=("rejected_events", "ingested_files", "sequences", "vocabulary"),
            records=(*earlier, "register", "promote"),
            continues=True,
            writes=("report",),
            sections=("source", "schedule", "evaluation", "funnel"),
            always=True,
        ),
    ]
