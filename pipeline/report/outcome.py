"""What a cycle came to, in words: accepted, refused or unfinished, and why.

The page, the terminal screens and the cycle's run in MLflow all take their words from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from expectations.wording import listing, percent
from model.evaluation.names import CANDIDATE, ModelName, Variant, in_order
from pipeline.cycle.context import find_figures
from pipeline.cycle.figures import FunnelFigures, PromoteFigures, RegisterFigures, RungFigures
from pipeline.cycle.records import Records, StageRecord
from pipeline.gates.rules import Verdict
from pipeline.report.quality import measured

REASONS_SHOWN = 4
"""Failed checks that the headline of a refused cycle names at most; the page lists every check."""


@dataclass(frozen=True)
class Headline:
    """The outcome of a cycle."""

    outcome: str
    """`accepted`, `refused` or `unfinished`."""
    title: str
    reasons: tuple[str, ...] = ()
    """Sentences: why, what a refusal saved, what the candidate loses to and beats."""

    @property
    def tone(self) -> str:
        """Class of the style sheet."""
        return {"accepted": "pass", "refused": "fail"}.get(self.outcome, "doubt")


def headline(records: Records) -> Headline:
    """The outcome of a cycle from the records of its finished stages."""
    refusing = refusing_record(records)
    if refusing is not None:
        title = f"Refused {refused_where(refusing)}: nothing was registered"
        return Headline("refused", title, tuple(_sentence(reason) for reason in _reasons(refusing)))
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
    return Headline("accepted", title, (*_standing(records), *why))


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


def _standing(records: Records) -> tuple[str, ...]:
    """What the candidate loses to and beats over all labels, a sentence each."""
    ranked = measured(records)
    if ranked is None:
        return ()
    relative = {row.against: row.relative for row in ranked.judged_differences if row.kind == "all"}
    losses, wins, undecided = [], [], []
    for name in in_order(relative):
        difference = relative[name]
        if name.variant is Variant.EXCHANGED or difference.value is None:
            continue
        names = undecided if not difference.is_significant else wins if difference.value > 0 else losses
        names.append(f"{name.in_a_sentence} ({percent(difference.value)})")
    sentences = (
        ("It loses to", losses),
        ("It beats", wins),
        ("No significant difference from", undecided),
    )
    return tuple(f"{start} {listing(names)}." for start, names in sentences if names)


def _sentence(words: str) -> str:
    """Words with a capital and a full stop."""
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
