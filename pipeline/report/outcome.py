"""What a cycle came to, in words: accepted, refused or unfinished, and why.

The page, the terminal screens and the cycle's run in MLflow all take their words from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from expectations.wording import listing, number, percent
from model.evaluation.figures import DifferenceRow
from model.evaluation.metrics import ALL, Group
from model.evaluation.names import CANDIDATE, CHAMPION, ModelName, Variant, in_order
from pipeline.cycle.context import find_figures
from pipeline.cycle.figures import (
    AcceptedData,
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
from pipeline.gates.rules import FEWEST_USERS, Verdict
from pipeline.report.quality import Measured, measured

FALL = 0.02
"""Share of its best value by which a held-out MRR must end lower before that is said; less is noise."""
REASONS_SHOWN = 4
"""Failed checks that the headline of a refused cycle names at most; the page lists every check."""


@dataclass(frozen=True)
class Headline:
    """The outcome of a cycle."""

    outcome: str
    """`accepted`, `refused` or `unfinished`."""
    title: str
    reasons: tuple[str, ...] = ()
    """Sentences: why, what a refusal saved, what the candidate beats."""
    losses: tuple[str, ...] = ()
    """Sentences: what the candidate loses to, by task and slice, and what got worse in training."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Losses before what it beats, after why it was refused."""
        refused = self.outcome == "refused"
        return (*self.reasons, *self.losses) if refused else (*self.losses, *self.reasons)

    @property
    def tone(self) -> str:
        """Class of the style sheet."""
        return {"accepted": "pass", "refused": "fail"}.get(self.outcome, "doubt")


def headline(records: Records) -> Headline:
    """The outcome of a cycle from the records of its finished stages."""
    refusing = refusing_record(records)
    if refusing is not None:
        title = f"Refused {refused_where(refusing)}: nothing was registered"
        why = tuple(_sentence(reason) for reason in _reasons(refusing))
        return Headline("refused", title, why, _losses(records))
    registered = find_figures(records, "register", RegisterFigures)
    if registered is None:
        last = max(records.values(), key=lambda record: record.started_at, default=None)
        progress = f"The last stage to finish was {last.stage}." if last else "No stage has finished."
        return Headline("unfinished", "Not finished", (progress,))
    promoted = find_figures(records, "promote", PromoteFigures)
    title, why = f"Accepted: the candidate is now version {registered.version}", ()
    if promoted is not None and promoted.champion == registered.version:
        title += ", the new champion"
    elif promoted is not None:
        why = (_sentence(promoted.why),)
    return Headline("accepted", title, (*_standing(records), *why), _losses(records))


def accepted_data(records: Records) -> list[AcceptedData]:
    """The words by which red suites of the cycle passed."""
    judged = (
        find_figures(records, "validate_events", ValidateEventsFigures),
        find_figures(records, "validate_sequences", ValidateSequencesFigures),
    )
    return [figures.accepted for figures in judged if figures is not None and figures.accepted is not None]


def refusing_record(records: Records) -> StageRecord | None:
    """The record of the stage that refused the candidate; None when none did."""
    return next((record for record in records.values() if record.refused), None)


def refused_where(record: StageRecord) -> str:
    """Where the candidate was refused: `by rung 25k`, `in training`, `by the funnel's last gate`."""
    match record.figures:
        case RungFigures(size=size):
            return f"by {ModelName.rung(size).words}"
        case FunnelFigures():
            return "by the funnel's last gate"
        case _:
            return "in training"


def judged_model(figures: RungFigures | FunnelFigures) -> ModelName:
    """The model that a gate judged."""
    return ModelName.rung(figures.size) if isinstance(figures, RungFigures) else CANDIDATE


def failing_checks(verdicts: Iterable[Verdict]) -> list[str]:
    """The binding checks that failed, else those that were inconclusive, one line each."""
    binding = [verdict for verdict in verdicts if verdict.binding]
    failing = [verdict for verdict in binding if verdict.outcome == "fail"]
    inconclusive = [verdict for verdict in binding if verdict.outcome == "inconclusive"]
    return [verdict.words for verdict in failing or inconclusive]


def _reasons(refusing: StageRecord) -> list[str]:
    """Why a stage refused and what that saved."""
    figures = refusing.figures
    checks = failing_checks(figures.verdicts) if isinstance(figures, RungFigures | FunnelFigures) else []
    if not checks:
        return [refusing.refused]
    reasons, hidden = checks[:REASONS_SHOWN], len(checks) - REASONS_SHOWN
    if hidden > 0:
        reasons.append(f"{hidden} more {'check is' if hidden == 1 else 'checks are'} listed in the report")
    if isinstance(figures, RungFigures) and figures.saved:
        reasons.append(figures.saved)
    return reasons


def _losses(records: Records) -> tuple[str, ...]:
    """Where the model that is shown loses to a champion or yardstick, all labels first, and what got worse in
    its training; a sentence each."""
    ranked = measured(records)
    if ranked is None:
        return ()
    subject = "It" if ranked.model == CANDIDATE else ranked.model.words.capitalize()
    by_group: dict[Group, list[str]] = {}
    lost = [row for row in ranked.judged_differences if _is_loss(row)]
    for name in in_order(row.against for row in lost):
        for row in lost:
            if row.against == name:
                words = f"{name.in_a_sentence} ({percent(row.relative.value)})"
                by_group.setdefault(Group(row.kind, row.group), []).append(words)
    sentences = []
    if ALL in by_group:
        sentences.append(f"{subject} loses to {listing(by_group.pop(ALL))}.")
    measured_groups = dict.fromkeys(Group(row.kind, row.group) for row in lost)  # in the order of the rows
    parts = [f"{group.words} to {listing(by_group[group])}" for group in measured_groups if group in by_group]
    if parts:
        sentences.append(f"{subject} loses on {'; on '.join(parts)}.")
    return (*sentences, *_worse_in_training(records, ranked))


def _is_loss(row: DifferenceRow) -> bool:
    """Whether the interval of a difference, over enough users to have one, lies below 0."""
    is_exchanged = ModelName(row.against).variant is Variant.EXCHANGED
    below = row.relative.is_significant and row.relative.value is not None and row.relative.value < 0
    return below and row.users >= FEWEST_USERS and not is_exchanged


def _worse_in_training(records: Records, ranked: Measured) -> list[str]:
    """A held-out MRR that fell from its best, and a test loss above the champion's."""
    sentences = []
    training = _training(records, ranked.model)
    if training is not None and training.validation_mrr:
        best_step, best = max(training.validation_mrr, key=lambda point: point[1])
        last_step, last = training.validation_mrr[-1]
        if last < (1 - FALL) * best:
            sentences.append(
                f"In training the MRR on held-out labels fell from {number(best)} at step {best_step:,} to "
                f"{number(last)} at step {last_step:,}."
            )
    loss = {row.model: row.values["test_loss"].value for row in ranked.judged if row.kind == "all"}
    own, champion = loss.get(ranked.model), loss.get(CHAMPION)
    if own is not None and champion is not None and own > champion:
        sentences.append(
            f"The test loss over the full catalogue rose from the champion's {number(champion, 3)} to "
            f"{number(own, 3)} nats."
        )
    return sentences


def _training(records: Records, model: ModelName) -> TrainingFigures | None:
    for record in records.values():
        match record.figures:
            case TrainFigures(training=training) if model == CANDIDATE:
                return training
            case RungFigures(size=size, training=training) if model == ModelName.rung(size):
                return training
    return None


def _standing(records: Records) -> tuple[str, ...]:
    """What the candidate beats over all labels and what it does not differ from, a sentence each."""
    ranked = measured(records)
    if ranked is None:
        return ()
    relative = {row.against: row.relative for row in ranked.judged_differences if row.kind == "all"}
    wins, undecided = [], []
    for name in in_order(relative):
        difference = relative[name]
        if name.variant is Variant.EXCHANGED or difference.value is None:
            continue
        words = f"{name.in_a_sentence} ({percent(difference.value)})"
        if not difference.is_significant:
            undecided.append(words)
        elif difference.value > 0:
            wins.append(words)
    sentences = (("It beats", wins), ("No significant difference from", undecided))
    return tuple(f"{start} {listing(names)}." for start, names in sentences if names)


def _sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
