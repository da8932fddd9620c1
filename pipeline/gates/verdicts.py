"""Verdicts on a model, from its measured ranks and the configured margins.

The rules are in `rules`. Nothing is ranked or trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from expectations.wording import percent
from model.evaluation.figures import Yardstick
from model.evaluation.metrics import ALL, Group, Summary
from model.evaluation.names import FROZEN, MARKOV, MOVING, ModelName
from pipeline.config import Config
from pipeline.gates import rules
from pipeline.gates.rules import Strictness, Verdict

HISTORY_WORTH = 0.05
"""Relative MRR that a rung must gain from ranking by the right user's history …"""
HISTORY_CARRIES = 0.25
"""… where the Markov chain, which reads histories, surpasses moving popularity, which reads none, by this much."""
NOTHING_BEFORE = "no version was accepted before this cycle"
NOTHING_TO_BEAT = "anything to beat"
NOTHING_COUNTED = (
    "no yardstick has enough events to count and there is no earlier model to compare with, so that nothing "
    "shows the model to be of use; a longer log is needed"
)


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
    window has a single user. `measured` holds the Markov chain and moving popularity, where they have enough
    to count.
    """
    check = "own histories against other users'"
    if exchanged is None:
        return rules.not_applicable(check, "the window has a single user")
    verdict = rules.paired(
        check, measured.difference(name, exchanged, ALL), HISTORY_WORTH, measured.users(ALL)
    )
    if not {MARKOV, MOVING} <= set(measured.models):
        gain = "cannot be compared with moving popularity: too little was counted"
    elif measured.difference(MARKOV, MOVING, ALL).lower_bound > HISTORY_CARRIES:
        return verdict
    else:
        gain = (
            f"is {percent(relative(measured, MARKOV, MOVING))} beside moving popularity, not surely above "
            f"{percent(HISTORY_CARRIES)}"
        )
    why = f"reported only, since the Markov chain {gain}: histories need not tell more than recency does"
    return replace(verdict, explanation=f"{verdict.explanation}; {why}", binding=False)


def against_yardsticks(
    measured: Summary,
    model: str,
    described: Sequence[Yardstick],
    *,
    must_beat: bool,
    has_other: bool,
    all_binding: bool = False,
) -> list[Verdict]:
    """Verdicts of `model` against every yardstick that has enough to count, over all labels.

    With `must_beat` frozen popularity must be beaten, or where it is not applicable every yardstick that is;
    with `all_binding` every yardstick must be. Where none is applicable, and the model is compared with no other one either (`has_other`), the last verdict fails:
    nothing that could speak against the model was counted.
    """
    known = [one.model for one in described if one.not_applicable is None]
    required: set[str] = set()
    if all_binding or must_beat:
        required = {FROZEN} if FROZEN in known and not all_binding else set(known)
    verdicts = []
    for one in described:
        name = ModelName(one.model)
        check = f"{ALL.words} against {name.in_a_sentence}"
        if one.not_applicable is not None:
            verdicts.append(rules.not_applicable(check, one.not_applicable))
            continue
        difference, users = measured.difference(model, name, ALL), measured.users(ALL)
        verdict = rules.beats(check, difference, users, binding=name in required)
        if one.is_longer:
            verdict = replace(verdict, explanation=f"{verdict.explanation}; the yardstick {one.words}")
        verdicts.append(verdict)
    if not known and not has_other:
        verdicts.append(Verdict(NOTHING_TO_BEAT, "fail", NOTHING_COUNTED))
    return verdicts


def relative(measured: Summary, model: str, reference: str) -> float:
    """(MRR of `model` − MRR of `reference`) / MRR of `reference`, over all labels."""
    return measured.difference(model, reference, ALL).relative.value


def refusal(verdicts: Sequence[Verdict], strictness: Strictness, say: Callable[[str], None]) -> str | None:
    """Shows every verdict. Returns why they refuse the model; None when they do not."""
    for verdict in verdicts:
        say(verdict.words)
    return rules.refusal(verdicts, strictness)
