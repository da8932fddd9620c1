"""What a stage is: its name, what it reads and writes, and how it is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Engine = Literal["python", "spark", "torch"]
LANDED = "landed files"
"""What a stage of the ingestion reads from outside."""


@dataclass(frozen=True)
class Stage:
    """One step of a cycle: a command that Airflow calls and a person can call.

    `reads`, `writes` and `records` are enforced: `pipeline.cycle.context` hands out what is declared and
    raises for anything else, and the runner refuses a result with an undeclared table.
    """

    name: str
    title: str
    """What it does, for people."""
    function: str
    """`module:name` of a `StageContext → StageResult` function, or of a Spark job's `main(spark, job)`."""
    engine: Engine
    after: tuple[str, ...]
    """Stages that must have finished; stages after the same ones may run side by side."""
    phase: str | None = None
    """The task group it belongs to; None: it stands outside the groups."""
    reads: tuple[str, ...] = ()
    """Tables and other artifacts that it reads."""
    records: tuple[str, ...] = ()
    """Stages whose records it reads: their figures, or the table versions that they wrote."""
    continues: bool = False
    """Whether its result depends on the versions that the cycle continues and is compared with."""
    writes: tuple[str, ...] = ()
    """Tables and other artifacts that it writes."""
    sections: tuple[str, ...] = ()
    """Sections of the configuration that its result depends on."""
    is_job: bool = False
    """Whether `function` is a Spark job's `main(spark, job)`."""
    rung: int | None = None
    """Place in `funnel.rungs`, from 1; None: the stage trains no rung."""
    retries: int = 0
    """How often Airflow runs it again after a crash; waiting for a busy source uses up none."""
    always: bool = False
    """Whether it runs after a refusal too."""
    settles_landing: bool = False
    """Whether its success settles which landed files the cycle is made of: until then, stages that read
    them run again when they change."""

    def load(self) -> Callable[..., Any]:
        """The stage's function; imports its module, and with it the engine."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Workflow:
    """The stages of a DAG: `resolve` first, then the others in the order of the data's way."""

    resolve: Stage
    """Runs before any record exists."""
    stages: tuple[Stage, ...]

    def __iter__(self) -> Iterator[Stage]:
        return iter((self.resolve, *self.stages))

    def __getitem__(self, name: str) -> Stage:
        """The stage of this name. Raises KeyError with the names there are."""
        for stage in self:
            if stage.name == name:
                return stage
        raise KeyError(
            f"there is no stage {name!r}; the stages are {', '.join(stage.name for stage in self)}"
        )

    def __contains__(self, name: str) -> bool:
        return any(stage.name == name for stage in self)

    @property
    def ingestion(self) -> tuple[Stage, ...]:
        """The stages that read landed files."""
        return tuple(stage for stage in self.stages if LANDED in stage.reads)

    @property
    def settling(self) -> Stage:
        """The stage that settles which landed files a cycle is made of."""
        return next(stage for stage in self.stages if stage.settles_landing)

    @property
    def last(self) -> Stage:
        """The stage whose record makes a cycle finished."""
        return self.stages[-1]

    @property
    def rungs(self) -> tuple[Stage, ...]:
        """The stages that train a rung, smallest first."""
        return tuple(stage for stage in self.stages if stage.rung is not None)

    @property
    def gates(self) -> tuple[Stage, ...]:
        """The stages that judge a model: the rungs and the funnel."""
        return tuple(stage for stage in self.stages if stage.rung is not None or stage.name == "funnel")

    def writer(self, name: str, before: Stage) -> Stage | None:
        """The last stage ahead of `before` that writes a table or artifact; None: it comes from outside."""
        earlier = self.stages[: self.stages.index(before)]
        return next((stage for stage in reversed(earlier) if name in stage.writes), None)

    def listing(self) -> list[tuple[str, str, str, str, str]]:
        """Rows of the map for people: stage, what it does, reads, writes, engine."""
        return [
            (stage.name, stage.title, self._reads(stage), ", ".join(stage.writes), stage.engine)
            for stage in self
        ]

    def _reads(self, stage: Stage) -> str:
        earlier = (
            [other.name for other in self.stages[: self.stages.index(stage)]] if stage in self.stages else []
        )
        if stage.records and len(stage.records) == len(earlier):
            records = ["every record"]
        elif stage.records:
            records = [f"{'record' if len(stage.records) == 1 else 'records'} of {', '.join(stage.records)}"]
        else:
            records = []
        return ", ".join([*stage.reads, *records])
