"""What the cycle report says: the records of a cycle as headline, tables and charts.

Makes the values of the template `cycle.html.j2`. A part whose stage did not run is None, and the page
says so. It reads no table and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from expectations.figures import JudgementRow
from pipeline.config import Config
from pipeline.cycle.context import figures_of
from pipeline.cycle.definition import Cycle
from pipeline.cycle.figures import (
    FunnelFigures,
    PromoteFigures,
    RegisterFigures,
    RungFigures,
    TrainFigures,
    TrainingFigures,
    ValidateEventsFigures,
    ValidateSequencesFigures,
)
from pipeline.cycle.records import Records, StageRecord
from pipeline.gates.rules import Verdict
from pipeline.report import charts
from pipeline.report.quality import delays, measured, quality, standing
from pipeline.report.table_facts import TableFacts
from pipeline.wording import megabytes, number, percent, seconds
from pipeline.workflows.refresh_cycle import workflow
from pipeline.workflows.stage import Workflow
from spark_jobs.figures import (
    EvaluationSequencesFigures,
    EventsFigures,
    ItemFeaturesFigures,
    SequencesFigures,
    VocabularyFigures,
)

T = TypeVar("T")

REASONS_SHOWN = 4
"""Checks that the headline of a refused cycle names at most."""


@dataclass(frozen=True)
class Headline:
    """What the cycle came to."""

    outcome: str
    """`accepted`, `refused` or `unfinished`."""
    title: str
    reasons: tuple[str, ...] = ()
    """Sentences: why, what was saved, what the model loses to and beats."""

    @property
    def tone(self) -> str:
        """Class of the style sheet."""
        return {"accepted": "pass", "refused": "fail"}.get(self.outcome, "doubt")


@dataclass(frozen=True)
class Trained:
    """One trained model on the page."""

    name: str
    figures: TrainingFigures
    charts: tuple[Any, ...]
    """SVG of the loss and of the held-out MRR over steps."""


def values(
    cycle: Cycle, config: Config, records: Records, facts: TableFacts, lineage: dict[str, Any]
) -> dict[str, Any]:
    """Everything that the template needs."""
    stages, ranked = workflow(config), measured(records)
    funnel = _figures(records, "funnel", FunnelFigures)
    events = _figures(records, "events", EventsFigures)
    return {
        "cycle": cycle,
        "config": config,
        "headline": headline(records),
        "facts": facts,
        "not_run": [stage for stage in stages.stages if stage.name not in records and not stage.always],
        "quality": quality(ranked) if ranked else None,
        "delays": delays(ranked) if ranked else None,
        "gates": [gate(records[stage.name]) for stage in stages.gates if stage.name in records],
        "agreement": funnel.agreement if funnel else (),
        "events": events,
        "rejected_by_reason": by_frequency(events.rejected_by_reason) if events else [],
        "expectations": expectations(records),
        "drift": _figures(records, "validate_events", ValidateEventsFigures),
        "sequences": _figures(records, "sequences", SequencesFigures),
        "evaluation_sequences": _figures(records, "evaluation_sequences", EvaluationSequencesFigures),
        "lengths_chart": lengths_chart(facts),
        "vocabulary": _figures(records, "vocabulary", VocabularyFigures),
        "item_features": _figures(records, "item_features", ItemFeaturesFigures),
        "training": trained_models(records),
        "lineage": lineage,
        "costs": costs(stages, records),
        "total_seconds": sum(record.seconds for record in records.values()),
        "percent": percent,
        "number": number,
        "seconds": seconds,
        "megabytes": megabytes,
    }


def headline(records: Records) -> Headline:
    """The outcome of the whole cycle in words."""
    refused = next((record for record in records.values() if record.refused), None)
    if refused is not None:
        reasons = failing_checks(verdicts_of(refused)) or [refused.refused]
        saved = getattr(refused.figures, "saved", None)
        sentences = [sentence(words) for words in (*reasons, *([saved] if saved else []))]
        return Headline("refused", f"Refused by {refuser(refused)}: nothing was registered", tuple(sentences))
    registered = _figures(records, "register", RegisterFigures)
    if registered is None:
        last = max(records.values(), key=lambda record: record.started_at, default=None)
        words = f"{last.stage} was the last stage to finish" if last else "no stage has finished"
        return Headline("unfinished", "Not finished", (sentence(words),))
    version, promoted = registered.version, _figures(records, "promote", PromoteFigures)
    is_champion = promoted is not None and (promoted.moved or promoted.champion == version)
    title = (
        f"Accepted: version {version} is the champion"
        if is_champion
        else f"Accepted: registered as version {version}"
    )
    why = (sentence(promoted.why),) if promoted and promoted.why else ()
    return Headline("accepted", title, (*standing(records), *why))


def refuser(record: StageRecord) -> str:
    """Which gate refused, for people: `rung 25k`, `the full model's training`, `the funnel's last gate`."""
    match record.figures:
        case RungFigures(size=size):
            return f"rung {size}"
        case TrainFigures():
            return "the full model's training"
        case _:
            return "the funnel's last gate"


def verdicts_of(record: StageRecord) -> tuple[Verdict, ...]:
    """Verdicts of a gate; none of a stage that judges nothing."""
    return record.figures.verdicts if isinstance(record.figures, RungFigures | FunnelFigures) else ()


def failing_checks(verdicts: Iterable[Verdict]) -> list[str]:
    """The binding checks that failed, else those that were inconclusive, a line each."""
    binding = [verdict for verdict in verdicts if verdict.binding]
    refusing = [verdict for verdict in binding if verdict.outcome == "fail"] or [
        verdict for verdict in binding if verdict.outcome == "inconclusive"
    ]
    return [
        f"{verdict.check}: {verdict.outcome}, {verdict.explanation}" for verdict in refusing[:REASONS_SHOWN]
    ]


def gate(record: StageRecord) -> dict[str, Any]:
    """One gate's checks."""
    figures = record.figures
    is_rung = isinstance(figures, RungFigures)
    return {
        "title": f"Rung of {figures.size} backbone parameters" if is_rung else "Full model",
        "outcome": figures.outcome,
        "compared_with": figures.compared_with if is_rung else None,
        "checks": figures.verdicts,
        "seconds": record.seconds,
    }


def by_frequency(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Names with their counts, the largest first."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def expectations(records: Records) -> list[dict[str, Any]]:
    """Counts of outcomes by table, and the page with every judgement."""
    rows: dict[str, dict[str, Any]] = {}
    for record in records.values():
        if not isinstance(record.figures, ValidateEventsFigures | ValidateSequencesFigures):
            continue
        for judgement in record.figures.judgements:
            row = rows.setdefault(judgement.table, _no_judgements(judgement, record.figures.page))
            row[judgement.outcome] += 1
    return list(rows.values())


def _no_judgements(judgement: JudgementRow, page: str) -> dict[str, Any]:
    outcomes = dict.fromkeys(("passed", "failed", "crashed", "not_applicable"), 0)
    return {"table": judgement.table, "page": page, **outcomes}


def trained_models(records: Records) -> list[Trained]:
    """Every model that was trained, the full model first, then the rungs from the largest."""
    models = []
    for record in records.values():
        if isinstance(record.figures, TrainFigures):
            models.append(("full model", record.figures.training))
        elif isinstance(record.figures, RungFigures):
            models.append((f"rung {record.figures.size}", record.figures.training))
    return [
        Trained(name, training, _curves(name, training))
        for name, training in reversed(models)
        if training is not None
    ]


def _curves(name: str, training: TrainingFigures) -> tuple[Any, ...]:
    curves = (
        (f"Training loss, {name}", training.training_curve, 0),
        (f"MRR on held-out labels, {name}", training.validation_mrr, 3),
    )
    return tuple(charts.curve(title, pairs, "step", colour) for title, pairs, colour in curves if pairs)


def costs(stages: Workflow, records: Records) -> list[dict[str, Any]]:
    """Seconds and memory by stage, in the map's order."""
    longest = max((record.seconds for record in records.values()), default=0) or 1
    return [
        {
            "stage": stage.name,
            "title": stage.title,
            "seconds": records[stage.name].seconds,
            "megabytes": records[stage.name].peak_megabytes,
            "share": records[stage.name].seconds / longest,
        }
        for stage in stages.stages
        if stage.name in records
    ]


def lengths_chart(facts: TableFacts) -> Any:
    """Users by length of their history, as bars; None without users."""
    if not facts.history_lengths:
        return None
    names, counts = zip(*facts.history_lengths, strict=True)
    return charts.bars("Users by events up to the split", names, counts, "events of a user")


def sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _figures(records: Records, stage: str, kind: type[T]) -> T | None:
    """A stage's figures; None when it did not run."""
    return figures_of(records[stage], kind) if stage in records else None
