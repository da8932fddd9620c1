"""Records of made-up cycles with every figure that stages leave, for tests of reports and screens.

records = accepted()                       # the second cycle of the tiny source; one rung, promoted
records = accepted(FOUR_RUNGS)             # the same with four rungs
records = refused_by_rung(2, FOUR_RUNGS)   # the second rung refused; nothing after it ran
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from expectations.figures import Drift, JudgementRow, LateEvents, NewLines, Window
from expectations.wording import listing, percent
from model.evaluation.figures import (
    DelayCurve,
    DelayPoint,
    DifferenceRow,
    Estimate,
    Lists,
    Measures,
    MetricRow,
    Span,
    Yardstick,
)
from model.evaluation.names import CANDIDATE, CHAMPION, DECAYED, FROZEN, MARKOV, MOVING, ModelName, Variant
from model.sizes import SIZES
from pipeline.config import Config
from pipeline.cycle.context import StageContext
from pipeline.cycle.definition import AcceptedVersion, Cycle, write_cycle
from pipeline.cycle.figures import (
    Agreement,
    EvaluateFigures,
    EvaluationWindowFigures,
    FunnelFigures,
    PassesFigures,
    PromoteFigures,
    RegisterFigures,
    ReportFigures,
    RungFigures,
    TrainFigures,
    TrainingFigures,
    ValidateEventsFigures,
    ValidateSequencesFigures,
)
from pipeline.cycle.records import StageRecord, write_record
from pipeline.gates.rules import Outcome, Verdict
from pipeline.settings import Settings
from pipeline.workflows.refresh_cycle import MAX_RUNGS, refresh_cycle, rung_stage, workflow
from spark_jobs.figures import (
    CatalogueLines,
    EvaluationSequencesFigures,
    EventsFigures,
    ItemFeaturesFigures,
    ItemsFigures,
    ItemSignalsFigures,
    SequencesFigures,
    SuccessorsFigures,
    VocabularyFigures,
)
from tests.factories import tiny_config

ONE_RUNG = ("25k",)
FULL_MODEL = "400k"
FOUR_RUNGS = ("25k", "50k", "100k", "200k")
STRENGTHS = {CANDIDATE: 1.0, CHAMPION: 0.9, FROZEN: 0.4, MOVING: 0.5, MARKOV: 1.1}
"""MRR over all labels without delay, in units of 0.05."""
GROUPS = (
    ("all", "all", 900, 120),
    ("task", "A", 200, 70),
    ("task", "B", 640, 115),
    ("slice", "cold_start", 60, 30),
)
"""Kind, name, examples, users."""
GATES_READ = (("replay", 0.0),)
CONDITIONS = (*GATES_READ, ("replay", 48.0), ("cutoff", 0.0))
ALL_STAGES = [stage.name for stage in refresh_cycle([str(number) for number in range(MAX_RUNGS)])]
"""Stages of the longest funnel, in order."""


def cycle(parent: bool = True) -> Cycle:
    """The second cycle of the tiny source; without a parent, its first."""
    known = AcceptedVersion(1, "2024-02-10", datetime(2024, 1, 31, tzinfo=UTC), "ab" * 32) if parent else None
    return Cycle("tiny", datetime(2024, 2, 20, tzinfo=UTC), timedelta(days=10), known, known)


def config(rungs: Sequence[str] = ONE_RUNG) -> Config:
    """The configuration of the tiny source with these rungs below the full model."""
    tiny = tiny_config()
    return tiny_config(
        model=tiny.model.model_copy(update={"size": FULL_MODEL}),
        funnel=tiny.funnel.model_copy(update={"rungs": tuple(rungs)}),
    )


def measures(
    strengths: Mapping[ModelName, float], conditions: Sequence[tuple[str, float]] = CONDITIONS
) -> Measures:
    """Measures of some models, the first compared with the others; MRR is 0.05 times a model's strength."""
    return Measures(
        mrr={model: 0.05 * strength for model, strength in strengths.items()},
        metrics=_metrics(strengths, conditions),
        differences=_differences(strengths),
        delay_curves=_delay_curves(strengths) if len(conditions) > 1 else (),
    )


def _metrics(
    strengths: Mapping[ModelName, float], conditions: Sequence[tuple[str, float]]
) -> tuple[MetricRow, ...]:
    return tuple(
        MetricRow(
            model=model,
            protocol=protocol,
            delay_hours=delay,
            kind=kind,
            group=group,
            examples=examples,
            users=users,
            values={
                "mrr": Estimate(value, value * 0.9, value * 1.12),
                "mrr_by_user": Estimate(value * 1.1, value, value * 1.3),
                "hit_rate@10": Estimate(2 * value, 1.8 * value, 2.2 * value),
                "ndcg@10": Estimate(1.2 * value, value, 1.4 * value),
                "test_loss": Estimate(7.1, 7.0, 7.2)
                if model in (CANDIDATE, CHAMPION) or model.size
                else Estimate(None),
            },
        )
        for protocol, delay in conditions
        for number, (kind, group, examples, users) in enumerate(GROUPS)
        for model, strength in strengths.items()
        for value in [0.05 * strength * (1 - 0.2 * number) * (0.7 if delay else 1.0)]
    )


def _differences(strengths: Mapping[ModelName, float]) -> tuple[DifferenceRow, ...]:
    (first, own), *others = strengths.items()
    kind, group, examples, users = GROUPS[0]
    return tuple(
        DifferenceRow(
            model=first,
            against=other,
            protocol="replay",
            delay_hours=0.0,
            kind=kind,
            group=group,
            examples=examples,
            users=users,
            absolute=Estimate(*[0.05 * (own - strength)] * 3),
            relative=Estimate(ratio - 1, ratio - 1.08, ratio - 0.93),
            lower_bound=ratio - 1.07,
            upper_bound=ratio - 0.94,
            detectable=0.08,
        )
        for other, strength in others
        for ratio in [own / strength]
    )


def _delay_curves(strengths: Mapping[ModelName, float]) -> tuple[DelayCurve, ...]:
    return tuple(
        DelayCurve(
            model=model,
            kind=kind,
            group=group,
            examples=examples - 10,
            share=1 - 10 / examples,
            points=(
                DelayPoint(
                    0.0,
                    Estimate(0.05 * strength, 0.045 * strength, 0.056 * strength),
                    Estimate(0.0, 0.0, 0.0),
                ),
                DelayPoint(
                    48.0,
                    Estimate(0.03 * strength, 0.02 * strength, 0.04 * strength),
                    Estimate(-0.4, -0.5, -0.3),
                ),
            ),
        )
        for kind, group, examples, _ in GROUPS
        if kind != "slice"
        for model, strength in strengths.items()
    )


PASSES = PassesFigures(
    passes=3.0,
    why="held-out MRR 0.0340 is the last within 2 % of the highest, 0.0345",
    fine_tuned=True,
    most_passes=5.0,
    held_out_after="2024-02-08T00:00:00+00:00",
    held_out_until="2024-02-10T00:00:00+00:00",
    held_out_labels=120,
    held_out_mrr=((1.0, 0.02), (2.0, 0.031), (3.0, 0.034), (4.0, 0.033)),
    steps=32,
)
"""What the first rung found."""


def training(size: str) -> TrainingFigures:
    """Figures of one training of a backbone of this size."""
    parameters = SIZES[size].parameters
    return TrainingFigures(
        steps=40,
        epochs=5.0,
        tokens=50_000,
        seconds=12.5,
        tokens_per_second=4000.4,
        final_loss=5.1,
        validation_mrr=(),
        validation_examples=0,
        training_curve=tuple((step, 5.0 + 3.0 / step) for step in range(1, 41)),
        sequences=300,
        loss_positions=7000,
        labels=9000,
        negligible_label_fraction=0.25,
        packing_efficiency=0.97,
        eligible_items=800,
        vocabulary=700,
        masking_rate=0.11,
        backbone_parameters=parameters,
        parameters=parameters + 82_000,
        start="version 1, cycle 2024-02-10",
        parent_digest="cd" * 32,
        checkpoint_digest="ef" * 32,
        passes=PASSES,
    )


WINDOW = EvaluationWindowFigures(
    labels=900,
    label_users=120,
    catalogue_items=31,
    labels_outside_catalogue=2,
    tasks_not_applicable=("C",),
)
YARDSTICKS = (
    Yardstick(FROZEN, (Span(7, 3, 2), Span(28, 1204, 30))),
    Yardstick(MOVING, (Span(7, 310, 28),), lists=Lists(9000, 0.355, 0.7)),
    Yardstick(
        DECAYED,
        (Span(None, 640, 31),),
        half_life_hours=72.0,
        half_life_labels=240,
        half_life_mrr=((24.0, 0.02), (72.0, 0.03)),
    ),
    Yardstick(
        MARKOV, (Span(None, 40, 9),), "the whole log up to the split holds 40 transitions", "transitions"
    ),
)
FINITE = Verdict("scores", "pass", "every score is a finite number")


def paired_verdict(
    check: str, outcome: Outcome, value: float, margin: float = -0.02, *, binding: bool = True
) -> Verdict:
    """A verdict on a relative difference `value`, with bounds 0.05 to both sides."""
    low, high = value - 0.05, value + 0.05
    limit = f"the {percent(margin)} margin" if margin else "zero"
    if outcome == "pass":
        words = f"{percent(value)}, above {limit} at 95\u00a0% confidence (lower bound {percent(low)})"
    else:
        words = f"{percent(value)}, below {limit} at 95\u00a0% confidence (upper bound {percent(high)})"
    return Verdict(check, outcome, words, value, margin, low, high, 0.08, 120, binding)


HISTORY_FAILS = paired_verdict("own histories against other users'", "fail", -0.01, 0.05)
WORSE_THAN_CHAMPION = paired_verdict("all labels against the champion", "fail", -0.111)


def rung_figures(size: str) -> RungFigures:
    """A rung that passed; it was ranked where gates read it only."""
    own = ModelName.rung(size)
    strengths = {
        own: 1.0,
        ModelName.rung(size, Variant.OLDER): 0.95,
        ModelName.rung(size, Variant.EXCHANGED): 0.3,
        FROZEN: 0.4,
        MARKOV: 1.1,
    }
    return RungFigures(
        size=size,
        window=WINDOW,
        verdicts=(FINITE,),
        outcome="passed",
        training=training(size),
        compared_with="the same rung of cycle 2024-02-10",
        relative_difference=0.053,
        measures=measures(strengths, GATES_READ),
    )


def _judgement(table: str, outcome: str) -> JudgementRow:
    return JudgementRow(
        table, "event_id_unique", "no event twice", outcome, observed="", allowed="", message=""
    )


def figures_by_stage(rungs: Sequence[str] = ONE_RUNG) -> dict[str, Any]:
    """Figures of an accepted cycle, by stage."""
    return {
        "events": EventsFigures(
            files_new=2,
            files_read_again=1,
            files_skipped=1,
            files_landed_again=1,
            bytes=120_000,
            lines=703,
            accepted=700,
            rejected=3,
            rejected_by_reason={"missing user": 1, "not JSON": 2},
            absent_columns=("device",),
            repeated=4,
            replaced=2,
        ),
        "items": ItemsFigures(
            items=31,
            items_new=1,
            items_with_title=31,
            items_with_description=26,
            items_with_launch=25,
            items_with_tags=31,
            items_with_edges=31,
            rejected=2,
            rejected_by_reason={"missing item": 2},
            kept_without=5,
            kept_without_by_reason={"kept without launched_at, which is a year without a day": 5},
            catalogue=(CatalogueLines("items", 33, 2, 5), CatalogueLines("tags", 90, 0, 0)),
        ),
        "validate_events": ValidateEventsFigures(
            window=Window(10.0, {"viewed": 300, "played": 900}),
            new_lines=NewLines(703, 3),
            drift=Drift(volume_ratio=1.25, action_mix_distance=0.0421),
            compared_with=("2024-02-10",),
            judgements=(_judgement("events", "passed"),),
            page="validate_events.html",
            late=LateEvents("2024-02-10T00:00:00+00:00", 700, {"up to an hour": 4, "up to a day": 2}, 1, 1),
        ),
        "vocabulary": VocabularyFigures(cold_start_rate=0.11, masking_rate=0.11, labels=450, cold_labels=50),
        "item_features": ItemFeaturesFigures(
            known_items=30,
            texts_encoded=30,
            items=31,
            vectors_by_modality={"language": 30, "graph": 29, "annotation": 7},
        ),
        "sequences": SequencesFigures(
            events=640,
            rows=45,
            users=40,
            stored_tokens=700,
            loss_positions=640,
            targets=300,
            tail_targets=20,
            bytes_on_disk=6300,
            bytes_per_token=9.0,
            overlap_fraction=0.0857,
        ),
        "evaluation_sequences": EvaluationSequencesFigures(
            users=120, stored_tokens=2700, labels=900, labels_dropped=0
        ),
        "item_signals": ItemSignalsFigures(
            half_lives_days=(1.0, 7.0),
            bucket_us=600_000_000,
            events=840,
            items=31,
            rows=700,
            rows_after_split=180,
            bytes_on_disk=21_000,
        ),
        "successors": SuccessorsFigures(
            events=840, users=40, rows=800, rows_after_split=200, pairs=6000, bytes_on_disk=9600
        ),
        "validate_sequences": ValidateSequencesFigures(
            judgements=(_judgement("sequences", "not_applicable"),), page="validate_sequences.html"
        ),
        **{rung_stage(number): rung_figures(size) for number, size in enumerate(rungs, 1)},
        "train": TrainFigures(training(FULL_MODEL)),
        "evaluate": EvaluateFigures(
            window=WINDOW,
            checkpoint_digest="ef" * 32,
            size_megabytes=3.4,
            latency_milliseconds=4.2,
            not_finite=None,
            reference_not_comparable=None,
            measures=measures(STRENGTHS),
            yardsticks=YARDSTICKS,
            lists={CANDIDATE: Lists(9000, 0.871, 0.42), CHAMPION: Lists(9000, 0.839, 0.4567)},
        ),
        "funnel": FunnelFigures(
            verdicts=(
                FINITE,
                paired_verdict("all labels against the champion", "pass", 0.111),
                paired_verdict("all labels against the Markov chain", "fail", -0.091, 0.0, binding=False),
                Verdict("latency", "pass", "4.2 ms, within the budget of 200 ms", 4.2, 200.0),
            ),
            outcome="passed",
            agreement=tuple(Agreement(size, 2, 1, ()) for size in rungs),
            loses_to=(MARKOV,),
            relative_difference=0.111,
        ),
        "register": RegisterFigures(version=2, model="reprise-tiny", checkpoint_digest="ef" * 32),
        "promote": PromoteFigures(version=2, champion=2, moved=True, why=""),
        "report": ReportFigures(
            "accepted", "Accepted: the candidate is now version 2, the new champion", "cycle.html"
        ),
    }


def record(stage: str, figures: Any, refused: str | None = None) -> StageRecord:
    """The record of a finished stage; records start in the order of the stages."""
    return StageRecord(
        stage=stage,
        inputs_digest="0" * 16,
        inputs={},
        versions={stage: 3},
        figures=figures,
        refused=refused,
        seconds=10.0 + len(stage),
        started_at=f"2024-02-20T00:{ALL_STAGES.index(stage):02d}:00",
        peak_megabytes=812.4,
    )


def accepted(rungs: Sequence[str] = ONE_RUNG) -> dict[str, StageRecord]:
    """Every stage ran and the version is champion."""
    return {stage: record(stage, figures) for stage, figures in figures_by_stage(rungs).items()}


def until(records: Mapping[str, StageRecord], stage: str) -> dict[str, StageRecord]:
    """The records up to and with that of a stage."""
    names = list(records)
    return {name: records[name] for name in names[: names.index(stage) + 1]}


def refused_by_rung(number: int = 1, rungs: Sequence[str] = ONE_RUNG) -> dict[str, StageRecord]:
    """A rung refused, counted from 1; nothing after it ran."""
    stage = rung_stage(number)
    records = until(accepted(rungs), stage)
    skipped = [*(f"rung {size}" for size in rungs[number:]), f"the full model {FULL_MODEL}"]
    ratio = SIZES[FULL_MODEL].parameters / SIZES[rungs[number - 1]].parameters
    saved = f"This saved training {listing(skipped)} ({ratio:.0f} times this rung's backbone)"
    figures = replace(records[stage].figures, outcome="refused", verdicts=(HISTORY_FAILS,), saved=saved)
    return records | {stage: record(stage, figures, refused=f"{HISTORY_FAILS.words}. {saved}")}


def refused_by_first_rung() -> dict[str, StageRecord]:
    """The first rung of two refused; nothing after it ran."""
    return refused_by_rung(1, ("25k", "50k"))


def refused_by_training() -> dict[str, StageRecord]:
    """The loss of the full model was not finite; nothing after `train` ran."""
    problem = "the loss of step 7 is not a finite number"
    return until(accepted(), "train") | {
        "train": record("train", TrainFigures(None, problem), refused=problem)
    }


def refused_by_funnel() -> dict[str, StageRecord]:
    """The full model loses to the champion; nothing was registered."""
    records = until(accepted(), "funnel")
    figures = replace(
        records["funnel"].figures,
        outcome="refused",
        verdicts=(FINITE, WORSE_THAN_CHAMPION),
        relative_difference=-0.111,
    )
    return records | {"funnel": record("funnel", figures, refused=WORSE_THAN_CHAMPION.words)}


def context(
    settings: Settings,
    stage: str,
    records: Mapping[str, StageRecord],
    rungs: Sequence[str] = ONE_RUNG,
    *,
    parent: bool = True,
    say: Callable[[str], None] = print,
) -> StageContext:
    """What a stage of the cycle is given after these records."""
    whole = config(rungs)
    return StageContext(workflow(whole)[stage], whole, cycle(parent), settings, records, say)


def write(
    settings: Settings, of: Cycle, records: Mapping[str, StageRecord], rungs: Sequence[str] = ONE_RUNG
) -> None:
    """Puts a cycle and its records into a home, as `resolve` and the stages do."""
    write_cycle(settings, of, config(rungs), cold_start=of.parent is None)
    for finished in records.values():
        write_record(settings.cycle_folder(of.source, of.name), finished)
