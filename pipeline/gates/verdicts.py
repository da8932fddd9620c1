"""Verdicts on a model, from its measured ranks and the configured margins.

The rules are in `rules`. Nothing is ranked or trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from expectations.wording import percent
from model.evaluation.metrics import ALL, Group, Summary
from model.evaluation.names import MARKOV, MOVING, ModelName
from pipeline.config import Config
from pipeline.gates import rules
from pipeline.gates.rules import Strictness, Verdict

HISTORY_WORTH = 0.05
"""Relative MRR that a rung must gain from ranking by the right user's history …"""
HISTORY_CARRIES = 0.25
"""… where the Markov chain, which reads histories, surpasses moving popularity, which reads none, by this much."""
NOTHING_BEFORE = "no version was accepted before this cycle"


def non_inferiority(
    measured: Summary,
    model: str,
    reference: str,
    words: str,
    config: Config,
    tasks_not_applicable: Sequence[str],
    with_slices: bool = True,
) -> list[Verdict]:
    """Verdicts of `model` against `reference`: one for all labels, one a task, one a slice (if wanted).

    `words` names the reference for people. A task or slice with too few users is not judged, nor is a
    task without a label in this window.
    """
    funnel = config.funnel
    verdicts = [
        rules.paired(
            f"{ALL.words} against {words}",
            measured.difference(model, reference, ALL),
            funnel.task_margin,
            measured.users(ALL),
        )
    ]
    for task in config.evaluation.tasks:
        group = Group("task", task.name)
        check = f"{group.words} against {words}"
        if task.name in tasks_not_applicable:
            why = "it needs launch dates or gaps between events, which this log does not have"
            verdicts.append(rules.not_applicable(check, why))
        elif group not in measured.groups:
            verdicts.append(rules.not_judged(check, "no label of this window belongs to it"))
        else:
            difference = measured.difference(model, reference, group)
            users = measured.users(group)
            verdicts.append(
                rules.paired_part(check, difference, funnel.task_margin, users, rules.FEWEST_USERS)
            )
    verdicts += [
        rules.paired_part(
            f"{group.words} against {words}",
            measured.difference(model, reference, group),
            funnel.slice_margin,
            measured.users(group),
            funnel.min_users,
        )
        for group in measured.groups
        if with_slices and group.kind == "slice"
    ]
    return verdicts


def reads_history(measured: Summary, name: str, exchanged: str | None) -> Verdict:
    """Whether a model ranks better from its users' own histories than from other users'.

    A model whose labels have nothing to do with its inputs ranks as well from any history; so does a good
    one where what is new or popular explains the labels. The check refuses only where histories are shown
    to carry more. `exchanged` is the name under which other users' histories were ranked; None where the
    window has a single user. `measured` holds the Markov chain and moving popularity.
    """
    check = "own histories against other users'"
    if exchanged is None:
        return rules.not_applicable(check, "the window has a single user")
    verdict = rules.paired(
        check, measured.difference(name, exchanged, ALL), HISTORY_WORTH, measured.users(ALL)
    )
    if measured.difference(MARKOV, MOVING, ALL).lower_bound > HISTORY_CARRIES:
        return verdict
    gain = percent(relative(measured, MARKOV, MOVING))
    why = (
        f"reported only, since the Markov chain is {gain} beside moving popularity, not surely above "
        f"{percent(HISTORY_CARRIES)}: histories need not tell more than recency does"
    )
    return replace(verdict, explanation=f"{verdict.explanation}; {why}", binding=False)


def beats(measured: Summary, model: str, yardstick: str, *, binding: bool) -> Verdict:
    """Whether a model is better than a yardstick over all labels; `binding`: whether it must be."""
    return rules.beats(
        f"{ALL.words} against {ModelName(yardstick).in_a_sentence}",
        measured.difference(model, yardstick, ALL),
        measured.users(ALL),
        binding=binding,
    )


def relative(measured: Summary, model: str, reference: str) -> float:
    """(MRR of `model` − MRR of `reference`) / MRR of `reference`, over all labels."""
    return measured.difference(model, reference, ALL).relative.value


def refusal(verdicts: Sequence[Verdict], strictness: Strictness, say: Callable[[str], None]) -> str | None:
    """Shows every verdict. Returns why they refuse the model; None when they do not."""
    for verdict in verdicts:
        say(verdict.words)
    return rules.refusal(verdicts, strictness)
