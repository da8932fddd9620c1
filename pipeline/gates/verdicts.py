"""Verdicts on a model, made from its measured ranks and the configured margins.

The rules themselves are in `rules`; nothing is ranked or trained here.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.evaluation.metrics import ALL, Group, Summary
from model.evaluation.names import ModelName
from pipeline.config import Config
from pipeline.cycle.context import StageContext
from pipeline.gates import rules
from pipeline.gates.rules import Verdict

HISTORY_WORTH = 0.05
"""A rung must gain more than this (relative MRR) by reading the right user's history."""
NOTHING_BEFORE = "nothing was accepted before this cycle"


def non_inferiority(
    measured: Summary,
    model: str,
    reference: str,
    words: str,
    config: Config,
    tasks_not_applicable: tuple[str, ...],
) -> list[Verdict]:
    """One verdict for all labels, one a task and one a slice, of `model` against `reference`.

    A task without a label event in this window is not judged, nor is a task or slice of too few users.
    """
    funnel = config.funnel
    verdicts = [
        rules.paired(
            f"all labels against {words}",
            measured.difference(model, reference, ALL),
            funnel.task_margin,
            measured.users(ALL),
        )
    ]
    for task in config.evaluation.tasks:
        check, group = f"task {task.name} against {words}", Group("task", task.name)
        if task.name in tasks_not_applicable:
            verdicts.append(rules.not_applicable(check, "the source cannot have it"))
        elif group not in measured.groups:
            verdicts.append(rules.not_judged(check, "no label event of this window counts for it"))
        else:
            difference = measured.difference(model, reference, group)
            users = measured.users(group)
            verdicts.append(
                rules.paired_part(check, difference, funnel.task_margin, users, rules.FEWEST_USERS)
            )
    for group in measured.groups:
        if group.kind == "slice":
            verdicts.append(
                rules.paired_part(
                    f"slice {group.name} against {words}",
                    measured.difference(model, reference, group),
                    funnel.slice_margin,
                    measured.users(group),
                    funnel.min_users,
                )
            )
    return verdicts


def reads_history(measured: Summary, name: str, exchanged: str | None) -> Verdict:
    """A model whose labels had nothing to do with its contexts ranks as well by anybody's history."""
    check = "own histories against other users'"
    if exchanged is None:
        return rules.not_applicable(check, "the window has one user")
    return rules.paired(check, measured.difference(name, exchanged, ALL), HISTORY_WORTH, measured.users(ALL))


def beats(measured: Summary, model: str, yardstick: str, *, binding: bool) -> Verdict:
    """Whether all labels rank better than by a yardstick; `binding`: whether the funnel refuses otherwise."""
    return rules.beats(
        f"all labels against {ModelName(yardstick).in_a_sentence}",
        measured.difference(model, yardstick, ALL),
        measured.users(ALL),
        binding=binding,
    )


def relative(measured: Summary, model: str, reference: str) -> float:
    """(MRR of `model` − MRR of `reference`) / MRR of `reference`, over all labels."""
    return measured.difference(model, reference, ALL).relative.value


def refusal(context: StageContext, verdicts: Sequence[Verdict]) -> str | None:
    """Why the verdicts refuse the model, in words; None when they do not. Shows every verdict."""
    for verdict in verdicts:
        context.say(f"{verdict.check}: {verdict.outcome}; {verdict.explanation}")
    return rules.refusal(verdicts, context.config.funnel.strictness)
