"""The cycle report: the records of a cycle as one self-contained page of headline, tables and charts.

A part of the page whose stage did not run says so. Reads no table and writes no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expectations.page import render
from expectations.wording import by_frequency, megabytes, number, percent, seconds, size
from model.evaluation.names import CANDIDATE, ModelName
from pipeline.config import Config
from pipeline.cycle.context import find_figures
from pipeline.cycle.definition import Cycle
from pipeline.cycle.figures import (
    FunnelFigures,
    RungFigures,
    TrainFigures,
    TrainingFigures,
    ValidateEventsFigures,
    ValidateSequencesFigures,
)
from pipeline.cycle.records import Records, StageRecord
from pipeline.gates.rules import Verdict
from pipeline.report import charts
from pipeline.report.outcome import accepted_data, headline, judged_model
from pipeline.report.quality import delays, measured, quality
from pipeline.report.table_facts import TableFacts
from pipeline.workflows.refresh_cycle import rung_stage, workflow
from pipeline.workflows.stage import Workflow
from spark_jobs.figures import (
    EvaluationSequencesFigures,
    EventsFigures,
    ItemFeaturesFigures,
    ItemsFigures,
    SequencesFigures,
    SparkWork,
    VocabularyFigures,
)

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Gate:
    """One gate's checks."""

    title: str
    """The model that it judged."""
    outcome: str
    """`passed` or `refused`."""
    compared_with: str | None
    """What a rung was compared with."""
    verdicts: tuple[Verdict, ...]
    seconds: float
    """Wall time of the stage."""


@dataclass(frozen=True)
class Expectations:
    """Outcomes of the expectations on one table."""

    table: str
    page: str
    """File name of the page with every judgement."""
    counts: Counter[str]
    """By outcome: `passed`, `failed`, `crashed`, `not_applicable`."""


@dataclass(frozen=True)
class Trained:
    """One trained model."""

    name: str
    figures: TrainingFigures
    charts: tuple[Markup, ...]
    """The loss over steps, and for the model that searched held-out MRR over passes."""


@dataclass(frozen=True)
class Cost:
    """What one stage cost."""

    stage: str
    title: str
    seconds: float
    megabytes: float
    """Peak memory."""
    share: float
    """Wall time as a fraction of the longest stage's."""
    spark: SparkWork | None
    """None: the stage has no Spark, or its record is from before this was kept."""


def cycle_page(
    cycle: Cycle, config: Config, records: Records, facts: TableFacts, lineage: dict[str, Any]
) -> str:
    """The report as HTML that fetches nothing."""
    return render("cycle.html.j2", _values(cycle, config, records, facts, lineage), TEMPLATES)


def _values(
    cycle: Cycle, config: Config, records: Records, facts: TableFacts, lineage: dict[str, Any]
) -> dict[str, Any]:
    """Everything that the template needs; None for a part whose stage did not run."""
    stages, ranked = workflow(config), measured(records)
    funnel = find_figures(records, "funnel", FunnelFigures)
    return {
        "cycle": cycle,
        "config": config,
        "headline": headline(records),
        "facts": facts,
        "not_run": [stage for stage in stages.stages if not stage.always and stage.name not in records],
        "quality": quality(ranked) if ranked else None,
        "delays": delays(ranked) if ranked else None,
        "gates": [_gate(records[stage.name]) for stage in stages.gates if stage.name in records],
        "agreement": funnel.agreement if funnel else (),
        "events": find_figures(records, "events", EventsFigures),
        "catalogue": find_figures(records, "items", ItemsFigures),
        "expectations": _expectations(records),
        "accepted_data": accepted_data(records),
        "validation": find_figures(records, "validate_events", ValidateEventsFigures),
        "sequences": find_figures(records, "sequences", SequencesFigures),
        "evaluation_sequences": find_figures(records, "evaluation_sequences", EvaluationSequencesFigures),
        "lengths_chart": _lengths_chart(facts),
        "vocabulary": find_figures(records, "vocabulary", VocabularyFigures),
        "item_features": find_figures(records, "item_features", ItemFeaturesFigures),
        "training": _trained_models(records),
        "lineage": lineage,
        "costs": _costs(stages, records),
        "total_seconds": sum(record.seconds for record in records.values()),
        "by_frequency": by_frequency,
        "percent": percent,
        "number": number,
        "seconds": seconds,
        "megabytes": megabytes,
        "moved": lambda records, size_bytes: f"{number(records)} rows, {size(size_bytes)}",
    }


def _gate(record: StageRecord) -> Gate:
    figures: RungFigures | FunnelFigures = record.figures
    return Gate(
        title=judged_model(figures).words,
        outcome=figures.outcome,
        compared_with=figures.compared_with if isinstance(figures, RungFigures) else None,
        verdicts=figures.verdicts,
        seconds=record.seconds,
    )


def _expectations(records: Records) -> list[Expectations]:
    """One row a table, in the order in which the tables were judged."""
    rows: dict[str, Expectations] = {}
    for record in records.values():
        if isinstance(record.figures, ValidateEventsFigures | ValidateSequencesFigures):
            for judgement in record.figures.judgements:
                row = Expectations(judgement.table, record.figures.page, Counter())
                rows.setdefault(judgement.table, row).counts[judgement.outcome] += 1
    return list(rows.values())


def _trained_models(records: Records) -> list[Trained]:
    """Every model that was trained, the largest first."""
    return [
        Trained(name.words, training, _curves(training, searched))
        for name, training, searched in reversed(list(_trainings(records)))
        if training is not None
    ]


def _trainings(records: Records) -> Iterator[tuple[ModelName, TrainingFigures | None, bool]]:
    """Every model, its figures, and whether it is the one that found the passes."""
    for record in records.values():
        match record.figures:
            case TrainFigures(training=training):
                yield CANDIDATE, training, False
            case RungFigures(size=size, training=training):
                yield ModelName.rung(size), training, record.stage == rung_stage(1)


def _curves(training: TrainingFigures, searched: bool) -> tuple[Markup, ...]:
    found = training.passes.held_out_mrr if searched and training.passes is not None else ()
    curves = (
        ("Training loss", training.training_curve, "step", 0),
        ("MRR on held-out labels", training.validation_mrr, "step", 3),
        ("MRR on held-out labels, search for the passes", found, "pass", 3),
    )
    return tuple(
        charts.curve(title, points, x_name, colour) for title, points, x_name, colour in curves if points
    )


def _costs(stages: Workflow, records: Records) -> list[Cost]:
    """One row a finished stage, in the order of the stages."""
    longest = max((record.seconds for record in records.values()), default=0) or 1
    return [
        Cost(
            stage=record.stage,
            title=stages[record.stage].title,
            seconds=record.seconds,
            megabytes=record.peak_megabytes,
            share=record.seconds / longest,
            spark=record.spark,
        )
        for record in records.values()
    ]


def _lengths_chart(facts: TableFacts) -> Markup | None:
    """Users by length of their history, as bars; None without users."""
    if not facts.history_lengths:
        return None
    names, counts = zip(*facts.history_lengths, strict=True)
    return charts.bars("Users by events up to the split", names, counts, "events of a user")
